import Foundation

/// How many false alarms a node may raise, and the alarm levels that follow from it.
///
/// The level of a statistic that is evaluated once per closed bucket is the one passed with probability
/// budget / evaluations per day. What shares a node's budget (its edges, the lags tried) divides that probability.
public struct AlarmBudget: Sendable, Hashable, Codable {
    /// False alarms per node and day of event time, above 0. Default 0.05: one in twenty days.
    public var alarmsPerNodeDay: Double

    var isValid: Bool { self.alarmsPerNodeDay > 0 && self.alarmsPerNodeDay.isFinite }

    /// - Precondition: it is above 0 and finite.
    public init(alarmsPerNodeDay: Double = 0.05) {
        precondition(alarmsPerNodeDay > 0 && alarmsPerNodeDay.isFinite, "no level keeps a budget of nothing")
        self.alarmsPerNodeDay = alarmsPerNodeDay
    }

    /// Probability with which one evaluation may pass its level by chance.
    ///
    /// - Parameter sharers: how many statistics share the budget of the node; below 1 counts as 1.
    /// - Precondition: `bucketMs` is above 0.
    public func tailProbability(bucketMs: Int64, sharers: Int) -> Double {
        precondition(bucketMs > 0, "a bucket has a width")
        let evaluationsPerDay = max(1, 86_400_000 / Double(bucketMs))
        return min(0.05, self.alarmsPerNodeDay / evaluationsPerDay / Double(max(1, sharers)))
    }

    /// The two-sided level of a statistic that is standard normal when nothing happened, in standard deviations.
    ///
    /// - Precondition: `bucketMs` is above 0.
    public func normalLevel(bucketMs: Int64, sharers: Int) -> Double {
        NormalQuantile.upper(self.tailProbability(bucketMs: bucketMs, sharers: sharers) / 2)
    }

    /// The level of a sum that is 0 or more, falls by itself, and whose increments have the Lundberg exponent 1: it passes h by
    /// chance about C exp(-h) times a bucket.
    ///
    /// C = 0.06 bounds what simulated links show as episodes of three buckets, for Gaussian, autocorrelated and heavy-tailed series
    /// (`make calibration`). One-minute buckets and one link give 7.5, twenty links 10.4.
    ///
    /// - Precondition: `bucketMs` is above 0.
    public func sequentialLevel(bucketMs: Int64, sharers: Int) -> Double {
        // Below 3 the rule of the tail does not hold yet.
        max(3, log(0.06 / self.tailProbability(bucketMs: bucketMs, sharers: sharers)))
    }
}

/// Quantiles of the standard normal distribution.
public enum NormalQuantile {
    /// The z that a standard normal value exceeds with probability `tail`, for tail in 1e-300 ... 0.5.
    ///
    /// Bisection on `erfc`, so it is as exact as the platform's `erfc`; 60 halvings, meant for tables and not for inner loops.
    public static func upper(_ tail: Double) -> Double {
        let tail = min(0.5, max(1e-300, tail))
        var low = 0.0
        var high = 38.0
        for _ in 0..<60 {
            let middle = (low + high) / 2
            if 0.5 * erfc(middle / 2.0.squareRoot()) > tail { low = middle } else { high = middle }
        }
        return (low + high) / 2
    }
}
