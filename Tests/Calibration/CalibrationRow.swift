import Engine
import Foundation

/// One measured figure beside what was promised of it.
struct CalibrationRow: Codable {
    enum Goal: Codable {
        case atMost(Double)
        case atLeast(Double)
        case between(Double, Double)
        /// Stated, without a promise.
        case none
    }

    enum Verdict: String, Codable {
        case met
        /// The goal lies within the figure's own 95 % interval.
        case withinNoise = "within noise"
        case missed
        case stated
    }

    var section: String
    var cell: String
    var value: Double
    /// 95 % interval of the figure: Wilson for shares.
    var low: Double
    var high: Double
    /// What the figure is taken from.
    var count: Int
    var goal: Goal

    init(_ section: String, _ cell: String, value: Double, low: Double, high: Double, count: Int, goal: Goal) {
        (self.section, self.cell, self.value, self.low, self.high) = (section, cell, value, low, high)
        (self.count, self.goal) = (count, goal)
    }

    /// A share of trials.
    init(_ section: String, _ cell: String, hits: Int, of trials: Int, goal: Goal = .none) {
        let share = Proportion(hits: hits, of: trials)
        self.init(
            section, cell, value: share?.value ?? .nan, low: share?.low ?? .nan, high: share?.high ?? .nan,
            count: trials, goal: goal)
    }

    /// A mean of numbers.
    init(_ section: String, _ cell: String, mean values: [Double], goal: Goal = .none) {
        let mean = values.reduce(0, +) / Double(max(1, values.count))
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(max(1, values.count - 1))
        let half = 1.96 * (variance / Double(max(1, values.count))).squareRoot()
        self.init(section, cell, value: mean, low: mean - half, high: mean + half, count: values.count, goal: goal)
    }

    /// Events counted over an exposure; the interval is Poisson's, by the square root.
    init(_ section: String, _ cell: String, events: Int, per exposure: Double, goal: Goal = .none) {
        let (root, half) = (Double(events).squareRoot(), 0.98)
        self.init(
            section, cell, value: Double(events) / exposure, low: max(0, root - half) * max(0, root - half) / exposure,
            high: (root + half) * (root + half) / exposure, count: events, goal: goal)
    }

    var verdict: Verdict {
        guard self.value.isFinite else { return .missed }
        switch self.goal {
        case .none: return .stated
        case .atMost(let limit): return self.value <= limit ? .met : self.low <= limit ? .withinNoise : .missed
        case .atLeast(let limit): return self.value >= limit ? .met : self.high >= limit ? .withinNoise : .missed
        case .between(let least, let most):
            if (least...most).contains(self.value) { return .met }
            return self.high >= least && self.low <= most ? .withinNoise : .missed
        }
    }

    /// A line of a Markdown table.
    var line: String {
        func number(_ value: Double) -> String { String(format: "%.3f", value) }
        let goal =
            switch self.goal {
            case .none: ""
            case .atMost(let limit): "<= \(number(limit))"
            case .atLeast(let limit): ">= \(number(limit))"
            case .between(let least, let most): "\(number(least)) to \(number(most))"
            }
        return "| \(self.cell) | \(number(self.value)) | \(number(self.low)) to \(number(self.high)) | \(self.count) "
            + "| \(goal) | \(self.verdict.rawValue) |"
    }
}
