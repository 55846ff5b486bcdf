import Model

/// Learns from the past moves of one pair how wide its forecast intervals must be.
///
/// Adaptive conformal calibration (Gibbs and Candes 2021): the half width is the (1 - a) quantile of |error| / sd(source)
/// over the last 100 moves, by the rank (1 - a)(n + 1) of n that makes it hold for the next of exchangeable errors (Vovk,
/// Gammerman and Shafer 2005, chapter 2; the plain quantile of 20 holds for 77 % instead of 80), x the present sd(source); after every scored interval a += 0.03 (0.2 - miss), so the share of
/// misses goes to 20 % whatever the law of the errors. With fewer than 20 past moves there is no interval. A normal interval
/// fitted on all buckets covers 50-86 % after moves instead of 80.
public struct ForecastCalibrator: Sendable, Hashable, Codable {
    /// Past moves the quantile is taken over.
    public static let memory = 100
    /// Past moves needed for an interval.
    public static let leastMoves = 20
    /// Share of outcomes that may lie outside.
    public static let missTarget = 0.2
    /// How far one outcome moves the level.
    public static let step = 0.03

    /// |error| / sd(source) of past moves, oldest first, at most `memory`.
    public private(set) var ratios: [Double]
    /// Scored forecasts that had an interval, ever, and how many of these missed: counted, so that what was read back from storage
    /// goes on to the last digit as what never stopped.
    private var intervals: Int
    private var misses: Int
    /// Horizon of the pair's newest forecast; no other is made before.
    public var pendingUntil: Timestamp?

    /// The share of misses aimed at next; may leave 0 ... 1, the quantile is then the largest or the smallest error.
    public var miss: Double {
        Self.missTarget + Self.step * (Self.missTarget * Double(self.intervals) - Double(self.misses))
    }

    public init() { self.init(ratios: [], intervals: 0, misses: 0, pendingUntil: nil) }

    /// What a pair's stored forecasts taught, as ``learn(_:outcome:)`` would have left it.
    ///
    /// - Parameters:
    ///   - ratios: |error| / sd(source) of the newest scored moves, oldest first.
    ///   - intervals: how many scored forecasts had an interval, ever, and how many of these missed.
    /// - Precondition: misses are some of the intervals, ratios are numbers of 0 and more.
    public init(ratios: [Double], intervals: Int, misses: Int, pendingUntil: Timestamp?) {
        precondition(0 <= misses && misses <= intervals, "misses are some of the intervals")
        precondition(ratios.allSatisfy { $0 >= 0 }, "an error has a size")
        self.ratios = Array(ratios.suffix(Self.memory))
        self.intervals = intervals
        self.misses = misses
        self.pendingUntil = pendingUntil
    }

    /// Whether the last forecast of the pair has come to its horizon.
    public func isFree(at time: Timestamp) -> Bool { self.pendingUntil.map { $0 <= time } ?? true }

    /// Half width of the 80 % interval in target units; nil before `leastMoves` scored moves.
    public func halfWidth(sourceSd: Double) -> Double? {
        guard self.ratios.count >= Self.leastMoves else { return nil }
        let count = Double(self.ratios.count)
        let place = ((1 - self.miss) * (count + 1) - 1) / (count - 1)
        return RobustScale.quantile(ofSorted: self.ratios.sorted(), place) * sourceSd
    }

    /// Takes in the outcome of a forecast that has come to its horizon.
    ///
    /// - Parameter outcome: the target's change over (movedAt, horizonAt], target units. Not finite: ignored.
    public mutating func learn(_ forecast: Forecast, outcome: Double) {
        guard outcome.isFinite, forecast.sourceSd > 0 else { return }
        let score = ForecastScore(forecast, outcome: outcome, baseRate: nil)
        if let covered = score.covered {
            self.intervals += 1
            if !covered { self.misses += 1 }
        }
        self.ratios.append(abs(outcome - forecast.expectedChange) / forecast.sourceSd)
        if self.ratios.count > Self.memory { self.ratios.removeFirst(self.ratios.count - Self.memory) }
    }
}
