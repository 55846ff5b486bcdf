import Engine
import Model

/// Raw observations of one node in the window, by time and value.
struct TickBuffer: Sendable {
    /// Readings kept of one bucket, 16 bytes each. Counted by the bucket and not by the buffer, so that what an evaluation
    /// sees does not depend on how much else is in memory.
    static let perBucket = 64
    /// The newest readings of one window that are looked at.
    static let perWindow = 50_000

    private(set) var readings: [Reading] = []

    /// Sorted readings, evenly thinned to ``perBucket`` a bucket; a bucket's last one stays.
    static func thinned(_ readings: [Reading], bucket: (Int64) -> Int64) -> [Reading] {
        var thinned: [Reading] = []
        var start = 0
        while start < readings.count {
            let index = bucket(readings[start].timeMs)
            let count = readings[start...].prefix { bucket($0.timeMs) == index }.count
            if count <= Self.perBucket {
                thinned += readings[start..<start + count]
            } else {
                thinned += (1...Self.perBucket).map { readings[start + $0 * count / Self.perBucket - 1] }
            }
            start += count
        }
        return thinned
    }

    /// Replaces everything in `fromMs ..< toMs` by `fresh`, which is sorted.
    mutating func replace(fromMs: Int64, toMs: Int64, with fresh: [Reading]) {
        let start = self.readings.partitionIndex { $0.timeMs >= fromMs }
        let end = self.readings.partitionIndex { $0.timeMs >= toMs }
        self.readings.replaceSubrange(start..<end, with: fresh)
    }

    mutating func removeBefore(_ timeMs: Int64) {
        self.readings.removeFirst(self.readings.partitionIndex { $0.timeMs >= timeMs })
    }

    /// The readings in `fromMs ..< toMs`, the newest ``perWindow`` of them.
    func slice(fromMs: Int64, toMs: Int64) -> ArraySlice<Reading> {
        let start = self.readings.partitionIndex { $0.timeMs >= fromMs }
        let end = self.readings.partitionIndex { $0.timeMs >= toMs }
        return self.readings[start..<max(start, end)].suffix(Self.perWindow)
    }

    /// Whether times are anything but a beat: more than half of the gaps differ from their median by more than a tenth.
    static func isIrregular(_ readings: ArraySlice<Reading>) -> Bool {
        var gaps: [Double] = []
        gaps.reserveCapacity(readings.count)
        var last = readings.first?.timeMs ?? 0
        for reading in readings {
            if reading.timeMs > last { gaps.append(Double(reading.timeMs - last)) }
            last = reading.timeMs
        }
        guard gaps.count >= 20, let median = RobustScale.upperMedian(gaps) else { return false }
        return gaps.count { abs($0 - median) * 10 > median } * 2 > gaps.count
    }
}
