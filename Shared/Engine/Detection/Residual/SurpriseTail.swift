import Foundation

/// How surprising a value is against past ones: -ln of the share of past values at least as large.
///
/// Up to the 98 % quantile u the share is counted; beyond it the tail is exponential with the mean excess b (extreme value
/// theory with shape 0): -ln 0.02 + (value - u) / b. At most `tableLimit` order statistics are kept; below that many past
/// values the counted share is exact.
struct SurpriseTail: Sendable, Hashable, Codable {
    static let share = 0.98
    static let tableLimit = 1_024

    /// Order statistics, ascending.
    private let table: PackedDoubles
    private let threshold: Double
    private let excess: Double

    /// - Parameter past: past values, in any order, at least one.
    init(past: [Double]) {
        let sorted = past.sorted()
        let threshold = sorted[min(sorted.count - 1, Int(Self.share * Double(sorted.count)))]
        var sum = 0.0
        var beyond = 0
        for value in sorted.reversed() {
            guard value > threshold else { break }
            sum += value - threshold
            beyond += 1
        }
        self.threshold = threshold
        self.excess = max(sum / Double(max(beyond, 1)), 0.05 * threshold, 1e-3)
        if sorted.count <= Self.tableLimit {
            self.table = PackedDoubles(sorted)
        } else {
            self.table = PackedDoubles(
                (0..<Self.tableLimit).map { sorted[$0 * sorted.count / Self.tableLimit] })
        }
    }

    /// 0 or more; not capped.
    func surprise(_ value: Double) -> Double {
        if value > self.threshold { return -log(1 - Self.share) + (value - self.threshold) / self.excess }
        let values = self.table.values
        var low = 0
        var high = values.count
        while low < high {
            let middle = (low + high) / 2
            if values[middle] < value { low = middle + 1 } else { high = middle }
        }
        return -log(max(1 - Double(low) / Double(values.count), 1 - Self.share))
    }
}
