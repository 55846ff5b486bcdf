import Engine

/// A share of hits with its 95 % interval.
struct HitShare: Codable, Sendable, Equatable {
    let hits: Int
    let of: Int
    /// Bounds of the interval, 0 ... 1; 0 and 1 without cases.
    let low: Double
    let high: Double

    init(hits: Int, of trials: Int) {
        self.hits = hits
        self.of = trials
        let proportion = Proportion(hits: hits, of: trials)
        self.low = proportion?.low ?? 0
        self.high = proportion?.high ?? 1
    }

    /// `21/24 = 88 % [69-96]`
    var text: String {
        guard self.of > 0 else { return "no cases" }
        func percent(_ value: Double) -> String { Figure.fixed(100 * value, 0) }
        return "\(self.hits)/\(self.of) = \(percent(Double(self.hits) / Double(self.of))) % "
            + "[\(percent(self.low))-\(percent(self.high))]"
    }
}
