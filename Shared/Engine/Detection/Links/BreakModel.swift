import Foundation

/// Sequential test of one link: is its correlation still that of the baseline, or at most half of it?
///
/// u and v are the whitened values of both ends in robust standard deviations. Every bucket adds log f(u, v; rho / 2) - log f(u, v;
/// rho) to a sum that never falls below 0 (Page 1954, Biometrika 41), f being Student's bivariate t with 3 degrees of freedom:
/// where tails are heavy the Gaussian ratio is ruled by single values, and where they are not this one loses little.
///
/// How fast a sum grows by chance differs with the tails. Multiplied by its Lundberg exponent s > 0, the root of mean exp(s g)
/// = 1 over the increments g of the baseline, it passes h at a rate of about C exp(-h) whatever the tails (Asmussen and
/// Albrecher 2010, Ruin Probabilities, chapter IV), so one level serves all links.
///
/// A second sum looks at the angle of (u, v) alone, w = 2uv / (u^2 + v^2), which no common change of scale can move. The evidence
/// is the lesser of the first and 1.75 times the second.
package struct BreakModel: Sendable, Hashable, Codable {
    /// rho of the baseline, from the mean of w: rho = 2m / (1 + m^2) for any elliptical law.
    package var rho: Double
    /// Lundberg exponents of the increments of both sums.
    package var exponent: Double
    package var angleExponent: Double

    /// The largest |rho|: beyond it a single value off the line would decide.
    private static let rhoLimit = 0.98
    /// Below this there is too little to lose.
    private static let leastRho = 0.1
    private static let freedom = 3.0
    /// Increments are cut here: no single bucket makes an alarm.
    private static let incrementLimit = 3.0
    private static let exponents = 0.05...6.0

    /// - Parameters:
    ///   - baseline: u and v of the baseline's buckets, known ones only.
    ///   - least: fewest buckets.
    /// - Returns: nil without enough buckets or correlation.
    package init?(baseline: [SIMD2<Double>], least: Int) {
        guard baseline.count >= max(1, least), let rho = Self.correlation(of: baseline), abs(rho) >= Self.leastRho
        else { return nil }
        self.rho = min(Self.rhoLimit, max(-Self.rhoLimit, rho))
        self.exponent = 1
        self.angleExponent = 1
        let increments = baseline.map { self.increment($0) }
        self.exponent = Self.root(increments.map(\.x))
        self.angleExponent = Self.root(increments.map(\.y))
    }

    /// rho by the angles alone, -1 ... 1, which no single value rules; nil without values.
    static func correlation(of values: [SIMD2<Double>]) -> Double? {
        guard !values.isEmpty else { return nil }
        let mean = values.reduce(0) { $0 + Self.angle($1) } / Double(values.count)
        return 2 * mean / (1 + mean * mean)
    }

    /// Both sums after one more bucket, each in 0 ... limit.
    package func advance(_ sums: SIMD2<Double>, by value: SIMD2<Double>, limit: Double) -> SIMD2<Double> {
        let increment = self.increment(value) * SIMD2(self.exponent, self.angleExponent)
        return (sums + increment).clamped(lowerBound: .zero, upperBound: SIMD2(repeating: limit))
    }

    /// What both sums say together.
    package static func evidence(_ sums: SIMD2<Double>) -> Double { min(sums.x, 1.75 * sums.y) }

    private static func angle(_ value: SIMD2<Double>) -> Double {
        2 * value.x * value.y / max(1e-12, value.x * value.x + value.y * value.y)
    }

    /// The increments of both sums, before their exponents.
    private func increment(_ value: SIMD2<Double>) -> SIMD2<Double> {
        let half = self.rho / 2
        let (squares, product) = (value.x * value.x + value.y * value.y, value.x * value.y)
        func logDensity(_ rho: Double) -> Double {
            let free = 1 - rho * rho
            let distance = (squares - 2 * rho * product) / free
            return -0.5 * log(free) - (Self.freedom + 2) / 2 * log1p(distance / Self.freedom)
        }
        let plain = logDensity(half) - logDensity(self.rho)
        let angle = Self.angle(value)
        let turned =
            0.5 * log((1 - half * half) / (1 - self.rho * self.rho)) + log((1 - self.rho * angle) / (1 - half * angle))
        return SIMD2(plain, turned).clamped(
            lowerBound: SIMD2(repeating: -Self.incrementLimit), upperBound: SIMD2(repeating: Self.incrementLimit))
    }

    /// The s > 0 with mean exp(s g) = 1, within the bounds; the least one where the sum does not fall by itself.
    ///
    /// The mean is convex in s and 1 at s = 0: from beyond the root Newton's steps come down to it.
    private static func root(_ increments: [Double]) -> Double {
        func mean(_ s: Double) -> (value: Double, slope: Double) {
            var (value, slope) = (0.0, 0.0)
            for increment in increments {
                let power = exp(s * increment)
                value += power
                slope += power * increment
            }
            return (value / Double(increments.count), slope / Double(increments.count))
        }
        var s = 0.75
        var current = mean(s)
        while current.value <= 1, s < Self.exponents.upperBound {
            s = min(Self.exponents.upperBound, 2 * s)
            current = mean(s)
        }
        for _ in 0..<8 where current.value > 1 && current.slope > 0 {
            let next = max(Self.exponents.lowerBound, s - (current.value - 1) / current.slope)
            guard s - next > 1e-4 * s else { break }
            s = next
            current = mean(s)
        }
        return s
    }
}
