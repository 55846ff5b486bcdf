import Foundation

/// The alarm level of node scores: learnt from past scores, moved by the alarms it really gave.
///
/// Learnt: the least level at which the scores of the learning rows would have opened no more episodes (three successive
/// buckets beyond) than a fifth of the budget allows. The fifth is there because normal data drift, so the tails of the rows
/// learnt from are too short for the rows to come. Where the learning rows are too few to show one allowed episode, the level
/// is the least without any, plus ln(1 / allowed): scores are in nats.
///
/// Moved: at every refresh the level goes up or down by ln((alarms + 1/2) / (allowed + 1/2)) of the time since the last one,
/// within -0.5 ... 2, the sum of moves staying in 0 ... 20.
struct ResidualAlarm: Sendable, Hashable, Codable {
    /// Share of the budget the level is learnt at.
    static let margin = 5.0
    static let highest = 55.0
    static let openAfter = 3

    let budget: AlarmBudget
    private(set) var learnt: Double?
    private(set) var moved = 0.0
    /// Alarms (three successive buckets beyond) since the last refresh, and node-buckets watched.
    private(set) var alarms = 0
    private(set) var watched = 0
    /// Successive buckets beyond the level, per scored node.
    private var runs: [Int]

    init(budget: AlarmBudget) {
        self.budget = budget
        self.runs = []
    }

    /// Nil before anything was learnt.
    var level: Double? { self.learnt.map { min(Self.highest, $0 + self.moved) } }

    /// Learns the level anew. `nodeScores`: rows x k.
    mutating func learn(nodeScores: [Double], count: Int, bucketMs: Int64) {
        guard count > 0 else { return }
        let nodeDays = Double(nodeScores.count) * Double(bucketMs) / 86_400_000
        let allowed = self.budget.alarmsPerNodeDay / Self.margin * nodeDays
        let lowest = Self.triples(nodeScores, count: count)
        var low = 0.0
        var high = 3 * ResidualModel.surpriseCap
        for _ in 0..<14 {
            let middle = (low + high) / 2
            if Self.episodes(in: lowest, count: count, beyond: middle) > Int(allowed) {
                low = middle
            } else {
                high = middle
            }
        }
        self.learnt = allowed < 1 ? high + log(1 / max(allowed, 1e-6)) : high
    }

    /// Moves the level by what it gave since the last refresh.
    mutating func settle(bucketMs: Int64) {
        guard self.watched > 0 else { return }
        let allowed = self.budget.alarmsPerNodeDay * Double(self.watched) * Double(bucketMs) / 86_400_000
        let step = log((Double(self.alarms) + 0.5) / (allowed + 0.5))
        self.moved = min(20, max(0, self.moved + min(2, max(-0.5, step))))
        self.alarms = 0
        self.watched = 0
    }

    /// Counts one bucket of scores; returns which of them are beyond the level.
    mutating func observe(_ scores: [Double]) -> [Bool] {
        guard let level = self.level else { return [Bool](repeating: false, count: scores.count) }
        if self.runs.count != scores.count { self.runs = [Int](repeating: 0, count: scores.count) }
        self.watched += scores.count
        return scores.indices.map { index in
            let isBeyond = scores[index] > level
            let run = self.runs[index]
            if isBeyond {
                self.runs[index] = run + 1
                if self.runs[index] == Self.openAfter { self.alarms += 1 }
            } else {
                self.runs[index] = 0
            }
            return isBeyond
        }
    }

    /// Least score of each row and the two before it, per column.
    private static func triples(_ scores: [Double], count: Int) -> [Double] {
        var lowest = scores
        for index in scores.indices {
            guard index >= 2 * count else {
                lowest[index] = 0
                continue
            }
            lowest[index] = min(scores[index], min(scores[index - count], scores[index - 2 * count]))
        }
        return lowest
    }

    /// How many runs of rows beyond the level the columns have.
    private static func episodes(in lowest: [Double], count: Int, beyond level: Double) -> Int {
        var episodes = 0
        for index in lowest.indices where lowest[index] > level {
            if index < count || lowest[index - count] <= level { episodes += 1 }
        }
        return episodes
    }
}
