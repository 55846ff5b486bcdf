import Foundation
import Model

/// How fast the correlation of a link decays over successive windows.
///
/// Model: Fisher's z of r falls as z0 exp(-lambda t). Estimate of lambda: the slope of ln z over time by least squares, each
/// window weighted by 1 / var(ln z) = (n_eff - 3) z^2 (delta method). Windows whose z is not surely above 0 say nothing
/// about its logarithm and are left out. Windows that overlap repeat each other: the variance of the slope is multiplied by
/// how many begin within one. The half-life is ln 2 / lambda where lambda is above 0 at 95 %.
package struct HalfLife {
    /// Readings looked at, the newest ones; half of them on either side of a comparison.
    package static let length = 16
    private static let leastPoints = 5

    package struct Point: Hashable, Sendable {
        package var timeMs: Int64
        /// Towards the sign the link had.
        package var z: Double
        package var effectiveSize: Double

        package init(timeMs: Int64, z: Double, effectiveSize: Double) {
            self.timeMs = timeMs
            self.z = z
            self.effectiveSize = effectiveSize
        }
    }

    /// Decay per millisecond and its variance.
    package struct Decay: Hashable, Sendable {
        package var rate: Double
        package var variance: Double

        /// Nil while it cannot be told from no decay.
        package var halfLifeMs: Double? {
            self.rate > 1.645 * self.variance.squareRoot() ? (log(2) / self.rate).rounded() : nil
        }
    }

    /// - Parameter overlap: windows that begin within one, 1 or more.
    package static func decay(_ points: some Collection<Point>, overlap: Int) -> Decay? {
        let kept = points.filter { $0.effectiveSize > 3 && $0.z > 2 / ($0.effectiveSize - 3).squareRoot() }
        guard kept.count >= Self.leastPoints, let start = kept.first?.timeMs else { return nil }
        var (weights, times, logs) = (0.0, 0.0, 0.0)
        for point in kept {
            let weight = (point.effectiveSize - 3) * point.z * point.z
            weights += weight
            times += weight * Double(point.timeMs - start)
            logs += weight * log(point.z)
        }
        let (middle, level) = (times / weights, logs / weights)
        var (square, product) = (0.0, 0.0)
        for point in kept {
            let weight = (point.effectiveSize - 3) * point.z * point.z
            let distance = Double(point.timeMs - start) - middle
            square += weight * distance * distance
            product += weight * distance * (log(point.z) - level)
        }
        guard square > 0 else { return nil }
        return Decay(rate: -product / square, variance: Double(max(1, overlap)) / square)
    }

    /// Whether the newer half surely decays, and faster than the older one at 99.5 %.
    package static func hasShrunk(_ points: [Point], overlap: Int) -> Bool {
        guard points.count >= Self.length else { return false }
        let half = points.count / 2
        guard let older = Self.decay(points[..<half], overlap: overlap),
            let newer = Self.decay(points[half...], overlap: overlap), newer.halfLifeMs != nil
        else { return false }
        // A link that got stronger decayed by nothing.
        return newer.rate - max(0, older.rate) > 2.576 * (older.variance + newer.variance).squareRoot()
    }
}
