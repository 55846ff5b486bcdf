/// How one forecast did at its horizon.
public struct ForecastScore: Sendable, Hashable, Codable {
    /// The target's change over (movedAt, horizonAt], target units.
    public var outcome: Double
    /// Whether the outcome lay inside the 80 % interval; nil when the forecast had none.
    public var covered: Bool?
    /// Whether the outcome had the expected sign; nil when the target did not change or no change was expected.
    public var signHit: Bool?
    /// How often the target's changes had that sign anyway, 0 ... 1; nil when not known.
    public var baseRate: Double?

    public init(_ forecast: Forecast, outcome: Double, baseRate: Double?) {
        self.outcome = outcome
        if let low = forecast.intervalLow, let high = forecast.intervalHigh {
            self.covered = low <= outcome && outcome <= high
        } else {
            self.covered = nil
        }
        self.signHit =
            outcome == 0 || forecast.expectedChange == 0 ? nil : (outcome > 0) == (forecast.expectedChange > 0)
        self.baseRate = baseRate
    }

    /// For a scored forecast read back from storage.
    public init(outcome: Double, covered: Bool?, signHit: Bool?, baseRate: Double?) {
        self.outcome = outcome
        self.covered = covered
        self.signHit = signHit
        self.baseRate = baseRate
    }

    /// Share of the target's nonzero changes over the same horizon that had the expected sign; nil for no such change.
    public static func baseRate(expectedChange: Double, ofChanges changes: [Double]) -> Double? {
        var up = 0
        var down = 0
        for change in changes where change.isFinite && change != 0 {
            if change > 0 { up += 1 } else { down += 1 }
        }
        guard up + down > 0, expectedChange != 0 else { return nil }
        return Double(expectedChange > 0 ? up : down) / Double(up + down)
    }
}

/// How many forecasts did.
public struct ForecastSummary: Sendable, Hashable, Codable {
    public var scored: Int
    /// Forecasts that had an interval, and the share of outcomes inside it with its 95 % Wilson interval; nil for none.
    public var withInterval: Int
    public var coverage: Proportion?
    /// Forecasts whose target changed, and the share that went the expected way.
    public var withChange: Int
    public var signHits: Proportion?
    /// What the sign hits would be by chance: the mean base rate over the same forecasts, 0.5 where none is known.
    public var baseRate: Double?

    public init(_ scores: [ForecastScore]) {
        self.scored = scores.count
        let covered = scores.compactMap(\.covered)
        self.withInterval = covered.count
        self.coverage = Proportion(hits: covered.count(where: { $0 }), of: covered.count)
        let changed = scores.filter { $0.signHit != nil }
        self.withChange = changed.count
        self.signHits = Proportion(hits: changed.count(where: { $0.signHit == true }), of: changed.count)
        self.baseRate =
            changed.isEmpty ? nil : changed.reduce(0) { $0 + ($1.baseRate ?? 0.5) } / Double(changed.count)
    }
}

/// A share with its 95 % Wilson interval (Wilson 1927).
public struct Proportion: Sendable, Hashable, Codable {
    public var value: Double
    public var low: Double
    public var high: Double

    /// Nil for no trials.
    ///
    /// - Precondition: hits are some of the trials.
    public init?(hits: Int, of trials: Int) {
        guard trials > 0 else { return nil }
        precondition((0...trials).contains(hits), "hits are some of the trials")
        let z = 1.959_963_984_540_054
        let n = Double(trials)
        let share = Double(hits) / n
        let scale = 1 + z * z / n
        let centre = (share + z * z / (2 * n)) / scale
        let half = z * (share * (1 - share) / n + z * z / (4 * n * n)).squareRoot() / scale
        self.value = share
        self.low = max(0, centre - half)
        self.high = min(1, centre + half)
    }
}
