import Foundation

/// How many false alarms a node may raise, and the alarm levels that follow from it.
///
/// The level of a statistic that is evaluated once per closed bucket is the one passed with probability
/// budget / evaluations per day. What shares a node's budget (its edges, the lags tried) divides that probability.
public struct AlarmBudget: Sendable, Hashable, Codable {
    /// False alarms per node and day of event time, above 0. Default 0.05: one in twenty days.
    public var alarmsPerNodeDay: Double

    public init(alarmsPerNodeDay: Double = 0.05) {
        precondition(alarmsPerNodeDay > 0 && alarmsPerNodeDay.isFinite, "no level keeps a budget of nothing")
        self.alarmsPerNodeDay = alarmsPerNodeDay
    }

    /// Probability with which one evaluation may pass its level by chance.
    ///
    /// - Parameter sharers: how many statistics share the budget of the node, 1 or more.
    public func tailProbability(bucketMs: Int64, sharers: Int) -> Double {
        let evaluationsPerDay = max(1, 86_400_000 / Double(bucketMs))
        return min(0.05, self.alarmsPerNodeDay / evaluationsPerDay / Double(max(1, sharers)))
    }

    /// The two-sided level of a statistic that is standard normal when nothing happened, in standard deviations.
    public func normalLevel(bucketMs: Int64, sharers: Int) -> Double {
        NormalQuantile.upper(self.tailProbability(bucketMs: bucketMs, sharers: sharers) / 2)
    }

    /// The two-sided level of a standard normal statistic that moves over a window of `window` buckets, in standard
    /// deviations: its excursions, not its buckets, are what the budget counts.
    ///
    /// Successive values share window - 1 buckets, so passing the level comes in clumps; these begin at a rate of
    /// 2 h phi(h) / window x nu(h sqrt(2 / window)) a bucket with nu(x) = exp(-0.583 x) (Siegmund 1985, Sequential Analysis,
    /// chapter 10). At 1-minute buckets and a window of 30 this gives 3.85 instead of 4.14; simulated episodes (three in a
    /// row) at that level come at 0.035 a day for a budget of 0.05, and 0.017 at 4.14.
    public func excursionLevel(bucketMs: Int64, sharers: Int, window: Int) -> Double {
        let rate = self.tailProbability(bucketMs: bucketMs, sharers: sharers)
        let width = Double(max(1, window))
        // The rate falls in h from 1 on.
        var low = 1.0
        var high = 38.0
        for _ in 0..<60 {
            let middle = (low + high) / 2
            let density = exp(-middle * middle / 2) / (2 * Double.pi).squareRoot()
            let clumps = 2 * middle * density / width * exp(-0.583 * middle * (2 / width).squareRoot())
            if clumps > rate { low = middle } else { high = middle }
        }
        return (low + high) / 2
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
