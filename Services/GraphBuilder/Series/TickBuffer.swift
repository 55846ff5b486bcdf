import Engine
import Model

/// Raw observations of one node in the window, by time and value; the oldest go first when it is full.
struct TickBuffer: Sendable {
    /// 16 bytes each.
    static let limit = 50_000

    private(set) var readings: [Reading] = []

    /// Replaces everything in `fromMs ..< toMs` by `fresh`, which is sorted.
    mutating func replace(fromMs: Int64, toMs: Int64, with fresh: [Reading]) {
        let start = self.readings.partitionIndex { $0.timeMs >= fromMs }
        let end = self.readings.partitionIndex { $0.timeMs >= toMs }
        self.readings.replaceSubrange(start..<end, with: fresh)
        if self.readings.count > Self.limit { self.readings.removeFirst(self.readings.count - Self.limit) }
    }

    mutating func removeBefore(_ timeMs: Int64) {
        self.readings.removeFirst(self.readings.partitionIndex { $0.timeMs >= timeMs })
    }

    /// The readings in `fromMs ..< toMs`.
    func slice(fromMs: Int64, toMs: Int64) -> ArraySlice<Reading> {
        let start = self.readings.partitionIndex { $0.timeMs >= fromMs }
        let end = self.readings.partitionIndex { $0.timeMs >= toMs }
        return self.readings[start..<max(start, end)]
    }

    /// Whether times are anything but a beat: more than half of the gaps differ from their median by more than a tenth.
    static func isIrregular(_ readings: ArraySlice<Reading>) -> Bool {
        let gaps = zip(readings.dropFirst(), readings).map { $0.timeMs - $1.timeMs }.filter { $0 > 0 }
        guard gaps.count >= 20 else { return false }
        let median = gaps.sorted()[gaps.count / 2]
        return gaps.count { abs($0 - median) * 10 > median } * 2 > gaps.count
    }
}
