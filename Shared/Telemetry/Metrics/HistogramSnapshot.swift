/// The counts of a histogram at one moment, or between two.
public struct HistogramSnapshot: Hashable, Sendable {
    /// Upper bounds, ascending; what is above the last one has a count of its own.
    public var bounds: [Double]
    /// One more than bounds; not cumulative.
    public var counts: [UInt64]
    public var sum: Double

    public init(bounds: [Double], counts: [UInt64], sum: Double) {
        precondition(counts.count == bounds.count + 1, "every bound has a count, and what is above them all has one")
        self.bounds = bounds
        self.counts = counts
        self.sum = sum
    }

    public var count: UInt64 { self.counts.reduce(0, &+) }
    public var mean: Double { self.count > 0 ? self.sum / Double(self.count) : 0 }

    /// What came since an earlier one of the same histogram; all of it when that is of another kind or newer.
    public func since(_ earlier: HistogramSnapshot?) -> HistogramSnapshot {
        guard let earlier, earlier.bounds == self.bounds, zip(self.counts, earlier.counts).allSatisfy({ $0 >= $1 })
        else { return self }
        return HistogramSnapshot(
            bounds: self.bounds, counts: zip(self.counts, earlier.counts).map { $0 - $1 },
            sum: max(0, self.sum - earlier.sum))
    }

    public static func + (left: Self, right: Self) -> Self {
        guard left.bounds == right.bounds else { return left }
        return HistogramSnapshot(
            bounds: left.bounds, counts: zip(left.counts, right.counts).map { $0 &+ $1 }, sum: left.sum + right.sum)
    }

    /// The value that a share `q` of all does not exceed, as if values were even between two bounds; the last bound for whatever
    /// lies above it. nil: there are none.
    public func quantile(_ q: Double) -> Double? {
        let total = self.count
        guard total > 0 else { return nil }
        let rank = min(1, max(0, q)) * Double(total)
        var below: UInt64 = 0
        for (index, count) in self.counts.enumerated() where count > 0 {
            guard Double(below + count) >= rank else {
                below += count
                continue
            }
            guard index < self.bounds.count else { return self.bounds.last }
            let low = index == 0 ? 0 : self.bounds[index - 1]
            return low + (self.bounds[index] - low) * max(0, (rank - Double(below)) / Double(count))
        }
        return self.bounds.last
    }
}
