/// A share of hits with its 95 % interval by Wilson (1927, JASA 22).
struct HitShare: Codable, Sendable, Equatable {
    let hits: Int
    let of: Int
    /// Bounds of the interval, 0 ... 1; 0 and 1 without cases.
    let low: Double
    let high: Double

    init(hits: Int, of trials: Int) {
        self.hits = hits
        self.of = trials
        guard trials > 0 else {
            (self.low, self.high) = (0, 1)
            return
        }
        let (n, z) = (Double(trials), 1.959963984540054)
        let share = Double(hits) / n
        let centre = share + z * z / (2 * n)
        let half = z * (share * (1 - share) / n + z * z / (4 * n * n)).squareRoot()
        let scale = 1 + z * z / n
        self.low = max(0, (centre - half) / scale)
        self.high = min(1, (centre + half) / scale)
    }

    /// `21/24 = 88 % [69-96]`
    var text: String {
        guard self.of > 0 else { return "no cases" }
        func percent(_ value: Double) -> String { Figure.fixed(100 * value, 0) }
        return "\(self.hits)/\(self.of) = \(percent(Double(self.hits) / Double(self.of))) % "
            + "[\(percent(self.low))-\(percent(self.high))]"
    }
}
