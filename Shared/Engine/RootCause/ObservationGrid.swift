import Model

/// Raw observations of n nodes put into buckets, the newest value of each, in whatever order they arrive.
///
/// A period is a half-open span (after, through]. A bucket belongs to the period in which its newest observation over all
/// nodes lies, so it is used whole or not at all; an empty bucket between others goes with the one before it.
/// Several values of a node at its newest millisecond count by their mean.
public struct ObservationGrid: Sendable {
    public let nodeCount: Int
    /// Milliseconds, 1 ... 86,400,000.
    public let bucketMs: Int64
    /// Start of the first bucket: the caller reads observations from here ...
    public let start: Timestamp
    /// ... up to but not including here.
    public let end: Timestamp
    /// Buckets of the grid.
    public let bucketCount: Int
    /// nodeCount x bucketCount: sum and number of the values at the newest millisecond, and that millisecond in the bucket.
    private var sums: [Double]
    private var counts: [Int32]
    private var offsets: [Int32]

    /// The grid of whole buckets that touch (after, through].
    ///
    /// - Precondition: `nodeCount` is 0 or more, `bucketMs` a millisecond to a day, `through` after `after`; both times are such
    ///   as observations have (``Timestamp/isRepresentable``), and the memory for all cells was thought of before.
    public init(nodeCount: Int, bucketMs: Int64, after: Timestamp, through: Timestamp) {
        precondition(nodeCount >= 0, "a number of nodes")
        precondition((1...86_400_000).contains(bucketMs), "a bucket is a millisecond to a day wide")
        precondition(through > after, "a period has a length")
        self.nodeCount = nodeCount
        self.bucketMs = bucketMs
        let first = Self.bucket(of: after.advanced(byMilliseconds: 1), bucketMs)
        let last = Self.bucket(of: through, bucketMs)
        self.start = Timestamp(milliseconds: first * bucketMs)
        self.end = Timestamp(milliseconds: (last + 1) * bucketMs)
        self.bucketCount = Int(last - first + 1)
        self.sums = [Double](repeating: 0, count: nodeCount * self.bucketCount)
        self.counts = [Int32](repeating: 0, count: self.sums.count)
        self.offsets = [Int32](repeating: -1, count: self.sums.count)
    }

    /// Buckets that a grid over (after, through] would have, for limits checked before it is made.
    ///
    /// - Precondition: as for the grid.
    public static func bucketCount(bucketMs: Int64, after: Timestamp, through: Timestamp) -> Int {
        precondition((1...86_400_000).contains(bucketMs), "a bucket is a millisecond to a day wide")
        return Int(
            Self.bucket(of: through, bucketMs) - Self.bucket(of: after.advanced(byMilliseconds: 1), bucketMs) + 1)
    }

    private static func bucket(of time: Timestamp, _ bucketMs: Int64) -> Int64 {
        let quotient = time.milliseconds / bucketMs
        return time.milliseconds % bucketMs < 0 ? quotient - 1 : quotient
    }

    /// Takes in one observation; one outside the grid in time or not finite is passed over.
    ///
    /// - Precondition: `node` is one of the grid, 0 ..< ``nodeCount``.
    public mutating func add(node: Int, time: Timestamp, value: Double) {
        guard time >= self.start, time < self.end, value.isFinite else { return }
        let elapsed = time.milliseconds - self.start.milliseconds
        let cell = node * self.bucketCount + Int(elapsed / self.bucketMs)
        let offset = Int32(elapsed % self.bucketMs)
        if offset > self.offsets[cell] {
            self.offsets[cell] = offset
            self.sums[cell] = value
            self.counts[cell] = 1
        } else if offset == self.offsets[cell] {
            self.sums[cell] += value
            self.counts[cell] += 1
        }
    }

    /// Whether a node has a value in any of the given buckets.
    ///
    /// - Precondition: node and buckets are of the grid.
    public func hasValue(node: Int, in buckets: [Int]) -> Bool {
        precondition((0..<self.nodeCount).contains(node), "a node of the grid")
        precondition(buckets.allSatisfy { (0..<self.bucketCount).contains($0) }, "buckets of the grid")
        return buckets.contains { self.counts[node * self.bucketCount + $0] > 0 }
    }

    /// The buckets of (after, through], in order.
    public func buckets(after: Timestamp, through: Timestamp) -> [Int] {
        let newest = self.newestByBucket()
        guard let last = newest.lastIndex(where: { $0 != nil }) else { return [] }
        var selected: [Int] = []
        var carried: Int64?
        for bucket in 0...last {
            carried = newest[bucket] ?? carried
            guard let carried, carried > after.milliseconds, carried <= through.milliseconds else { continue }
            selected.append(bucket)
        }
        return selected
    }

    private func newestByBucket() -> [Int64?] {
        var newest = [Int32](repeating: -1, count: self.bucketCount)
        for node in 0..<self.nodeCount {
            for bucket in 0..<self.bucketCount {
                newest[bucket] = max(newest[bucket], self.offsets[node * self.bucketCount + bucket])
            }
        }
        return newest.enumerated().map { bucket, offset in
            offset < 0 ? nil : self.start.milliseconds + Int64(bucket) * self.bucketMs + Int64(offset)
        }
    }

    /// A row per given node over the given buckets; NaN where there is no value.
    ///
    /// - Precondition: nodes and buckets are of the grid.
    public func values(nodes: [Int], buckets: [Int]) -> [Double] {
        precondition(nodes.allSatisfy { (0..<self.nodeCount).contains($0) }, "nodes of the grid")
        precondition(buckets.allSatisfy { (0..<self.bucketCount).contains($0) }, "buckets of the grid")
        var values: [Double] = []
        values.reserveCapacity(nodes.count * buckets.count)
        for node in nodes {
            for bucket in buckets {
                let cell = node * self.bucketCount + bucket
                values.append(self.counts[cell] > 0 ? self.sums[cell] / Double(self.counts[cell]) : .nan)
            }
        }
        return values
    }
}
