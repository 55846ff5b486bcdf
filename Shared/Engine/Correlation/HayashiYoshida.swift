import Foundation
import Model

/// Correlation and lead of two irregular tick series without a grid (Hayashi and Yoshida 2005, Bernoulli 11; with lags:
/// Hoffmann, Rosenbaum and Yoshida 2013, Bernoulli 19).
///
///     rho(lag) = sum of dx dy over increments that overlap in time, y moved back by lag / sqrt(sum dx^2 sum dy^2)
///
/// A lag costs O(n + m) for n and m ticks: both lists are walked once.
public enum HayashiYoshida {
    public struct Options: Hashable, Sendable, Codable {
        /// Lags -lagLimitMs ... lagLimitMs are tried in steps of lagStepMs.
        public var lagStepMs: Int64
        public var lagLimitMs: Int64
        /// Length of a bootstrap block.
        public var blockMs: Int64
        /// Bootstrap draws.
        public var draws: Int
        /// Random circular shifts that give the threshold.
        public var shifts: Int
        public var seed: UInt64

        /// - Precondition: a step above 0, a limit of 0 to 100,000 steps, blocks that have a length, two draws and shifts at least.
        public init(
            lagStepMs: Int64, lagLimitMs: Int64, blockMs: Int64 = 600_000, draws: Int = 200, shifts: Int = 150,
            seed: UInt64 = 1
        ) {
            precondition(lagStepMs > 0 && lagLimitMs >= 0, "lags are a grid around 0")
            precondition(lagLimitMs / lagStepMs <= 100_000, "no more lags than can be tried")
            precondition(blockMs > 0 && draws > 1 && shifts > 1, "a bootstrap and a null need draws")
            self.lagStepMs = lagStepMs
            self.lagLimitMs = lagLimitMs
            self.blockMs = blockMs
            self.draws = draws
            self.shifts = shifts
            self.seed = seed
        }

        /// All lags, ascending, 0 in the middle.
        var lags: [Int64] {
            let steps = self.lagLimitMs / self.lagStepMs
            return (-steps...steps).map { $0 * self.lagStepMs }
        }
    }

    /// Positive `lagMs`: the first series moves first.
    public struct Estimate: Hashable, Sendable {
        /// rho at the lag of largest |rho|, and at lag 0; -1 ... 1.
        public var rho: Double
        public var rhoAtZero: Double
        public var lagMs: Int64
        /// 95 % bootstrap intervals.
        public var rhoLow: Double
        public var rhoHigh: Double
        public var lagLowMs: Int64
        public var lagHighMs: Int64
        /// Bootstrap standard deviation of rho at the lag.
        public var deviation: Double
        /// Two-sided p of no correlation, simultaneous over all lags tried.
        public var pValue: Double
        /// The 99 % quantile of the largest |rho| under random circular shifts.
        public var threshold: Double
        /// Units of the second series per unit of the first.
        public var beta: Double
        /// Increments of each series.
        public var firstIncrements: Int
        public var secondIncrements: Int
    }

    /// Nil when a series has fewer than 10 increments, does not move, or both span fewer than 4 bootstrap blocks.
    ///
    /// - Parameter threshold: from an earlier estimate of the same pair, to save its random shifts; nil: find it anew.
    /// - Precondition: a threshold that is given is in 0 ... 1.
    public static func estimate(
        _ first: TickSeries, _ second: TickSeries, options: Options, threshold: Double? = nil
    ) -> Estimate? {
        precondition(threshold.map((0...1).contains) ?? true, "a threshold is a size of rho")
        guard first.times.count > 10, second.times.count > 10, let blocks = TickBlocks(first, second, options.blockMs)
        else { return nil }
        let lags = options.lags
        let curve = lags.map { blocks.contributions(first, second, lag: $0) }
        let scale = (blocks.firstVariation.reduce(0, +) * blocks.secondVariation.reduce(0, +)).squareRoot()
        // Values whose squares are beyond what Double holds give no estimate.
        guard scale > 0, scale.isFinite else { return nil }
        let rhos = curve.map { Self.clamped($0.reduce(0, +) / scale).roundedToNine }
        let peak = Self.largest(rhos, lags)
        let sample = self.bootstrap(curve, blocks, peak, lags, options)
        let deviation = Self.deviation(sample.rhos)
        guard deviation > 0 else { return nil }
        let p = erfc(abs(rhos[peak]) / deviation / 2.0.squareRoot())
        let ratio = blocks.secondVariation.reduce(0, +) / blocks.firstVariation.reduce(0, +)
        guard ratio.isFinite else { return nil }
        let sorted = (sample.rhos.sorted(), sample.lags.sorted().map(Double.init))
        return Estimate(
            rho: rhos[peak], rhoAtZero: rhos[lags.count / 2], lagMs: lags[peak],
            rhoLow: Self.quantile(sorted.0, 0.025).roundedToNine, rhoHigh: Self.quantile(sorted.0, 0.975).roundedToNine,
            lagLowMs: Int64(Self.quantile(sorted.1, 0.025).rounded()),
            lagHighMs: Int64(Self.quantile(sorted.1, 0.975).rounded()), deviation: deviation.roundedToNine,
            pValue: (p >= 1 ? 1 : -expm1(Double(lags.count) * log1p(-p))).significantNine,
            threshold: (threshold ?? self.shiftThreshold(first, second, options: options)).roundedToNine,
            beta: (rhos[peak] * ratio.squareRoot()).significantNine, firstIncrements: first.times.count - 1,
            secondIncrements: second.times.count - 1)
    }

    /// The 99 % quantile of the largest |rho| over about 41 lags when the second series is shifted in a circle by random
    /// times far from 0: what two series of these paces show without any relation.
    public static func shiftThreshold(_ first: TickSeries, _ second: TickSeries, options: Options) -> Double {
        guard let start = second.times.first, let end = second.times.last, end > start else { return 1 }
        let span = end - start
        let margin = min(span / 4, 20 * options.lagLimitMs)
        let all = options.lags
        let stride = max(1, all.count / 40)
        let lags = all.indices.filter { ($0 - all.count / 2) % stride == 0 }.map { all[$0] }
        var random = RandomStream(seed: options.seed ^ 0x5348_4946_5453)
        var largest: [Double] = []
        for _ in 0..<options.shifts {
            let shift = margin + Int64(random.uniform() * Double(max(1, span - 2 * margin)))
            let moved = second.rotated(by: shift, span: span)
            guard let blocks = TickBlocks(first, moved, .max) else { continue }
            let scale = (blocks.firstVariation.reduce(0, +) * blocks.secondVariation.reduce(0, +)).squareRoot()
            guard scale > 0, scale.isFinite else { continue }
            largest.append(
                lags.reduce(0) { top, lag in
                    max(top, abs(blocks.contributions(first, moved, lag: lag).reduce(0, +)) / scale)
                })
        }
        return largest.isEmpty ? 1 : min(1, self.quantile(largest.sorted(), 0.99))
    }

    private static func bootstrap(
        _ curve: [[Double]], _ blocks: TickBlocks, _ peak: Int, _ lags: [Int64], _ options: Options
    ) -> (rhos: [Double], lags: [Int64]) {
        let count = blocks.firstVariation.count
        var random = RandomStream(seed: options.seed)
        var result: (rhos: [Double], lags: [Int64]) = ([], [])
        for _ in 0..<options.draws {
            var weights = [Double](repeating: 0, count: count)
            for _ in 0..<count { weights[random.below(count)] += 1 }
            func weighted(_ values: [Double]) -> Double {
                var total = 0.0
                for index in 0..<count { total += values[index] * weights[index] }
                return total
            }
            let scale = (weighted(blocks.firstVariation) * weighted(blocks.secondVariation)).squareRoot()
            guard scale > 0 else { continue }
            let rhos = curve.map { Self.clamped(weighted($0) / scale).roundedToNine }
            result.rhos.append(rhos[peak])
            result.lags.append(lags[Self.largest(rhos, lags)])
        }
        return result
    }

    private static func clamped(_ value: Double) -> Double { min(1, max(-1, value)) }

    /// Position of the largest |rho|; of equals the lag nearest to 0, then the positive one.
    private static func largest(_ rhos: [Double], _ lags: [Int64]) -> Int {
        var best = lags.count / 2
        for index in rhos.indices {
            let sizes = (abs(rhos[index]), abs(rhos[best]))
            if sizes.0 > sizes.1
                || (sizes.0 == sizes.1 && (abs(lags[index]), -lags[index]) < (abs(lags[best]), -lags[best]))
            {
                best = index
            }
        }
        return best
    }

    private static func deviation(_ values: [Double]) -> Double {
        guard values.count > 1 else { return 0 }
        let mean = values.reduce(0, +) / Double(values.count)
        return (values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count - 1)).squareRoot()
    }

    /// Linear between order statistics (type 7).
    private static func quantile(_ sorted: [Double], _ share: Double) -> Double {
        guard let last = sorted.indices.last else { return 0 }
        let position = share * Double(last)
        let lower = Int(position)
        let upper = min(lower + 1, last)
        return sorted[lower] + (position - Double(lower)) * (sorted[upper] - sorted[lower])
    }
}
