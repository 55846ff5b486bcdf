import Engine
import Model

/// The part of a domain's clock that is kept in memory: bucket aggregates of all its nodes over `base ..< base + capacity`,
/// with what is needed to fill and digest them. A value without I/O.
///
/// An aggregate is what one bucket's observations come to under the domain's fill rule, NaN without any. Buckets are always
/// replaced whole from all their observations, so neither order nor batches of arrival leave a trace.
struct BucketWindow: Sendable {
    /// Buckets per node.
    let capacity: Int
    /// Index of the first bucket kept.
    private(set) var base: Int64
    /// Everything before this bucket has been read from storage; nothing at or after it has.
    var loadedEnd: Int64
    /// Nodes x capacity, a row a node, in slot order.
    private(set) var aggregates: [Double] = []
    /// Sum modulo 2^128 of the hashes of a bucket's observations; same shape.
    private(set) var digests: [Digest128] = []
    /// Sums of the digests of all nodes, a bucket each.
    private var totals: [Digest128]
    /// Per node: the aggregate of its last bucket before `base`, NaN when there is none.
    var held: [Double] = []
    /// Per bucket: bit s is set when shard s has data in it.
    private(set) var shardMasks: [UInt64]

    init(base: Int64, capacity: Int) {
        precondition(capacity > 0, "a window keeps at least one bucket")
        self.base = base
        self.capacity = capacity
        self.loadedEnd = base
        self.shardMasks = Array(repeating: 0, count: capacity)
        self.totals = Array(repeating: .zero, count: capacity)
    }

    var end: Int64 { self.base + Int64(self.capacity) }
    var nodeCount: Int { self.held.count }
    /// Bytes of the arrays above.
    var byteCount: Int { self.aggregates.count * 24 + self.held.count * 8 + self.shardMasks.count * 8 }

    /// Adds a row without data.
    mutating func appendNode() {
        self.aggregates.append(contentsOf: repeatElement(.nan, count: self.capacity))
        self.digests.append(contentsOf: repeatElement(Digest128.zero, count: self.capacity))
        self.held.append(.nan)
    }

    /// Replaces one bucket of one node; buckets outside the window are ignored.
    mutating func set(slot: Int, bucket: Int64, aggregate: Double, digest: Digest128, shard: Shard) {
        guard bucket >= self.base, bucket < self.end else { return }
        let offset = Int(bucket - self.base)
        self.aggregates[slot * self.capacity + offset] = aggregate
        self.totals[offset].remove(self.digests[slot * self.capacity + offset])
        self.totals[offset].add(digest)
        self.digests[slot * self.capacity + offset] = digest
        if !aggregate.isNaN { self.shardMasks[offset] |= 1 << UInt64(shard.rawValue) }
    }

    func aggregate(slot: Int, bucket: Int64) -> Double {
        guard bucket >= self.base, bucket < self.end else { return .nan }
        return self.aggregates[slot * self.capacity + Int(bucket - self.base)]
    }

    func shardMask(_ bucket: Int64) -> UInt64 {
        guard bucket >= self.base, bucket < self.end else { return 0 }
        return self.shardMasks[Int(bucket - self.base)]
    }

    /// The first bucket at or after `start` in which one of the shards of `mask` has data.
    func firstOccupied(from start: Int64, mask: UInt64) -> Int64? {
        var bucket = max(start, self.base)
        while bucket < self.end {
            if self.shardMasks[Int(bucket - self.base)] & mask != 0 { return bucket }
            bucket += 1
        }
        return nil
    }

    /// Occupied buckets in `range`.
    func occupiedCount(in range: Range<Int64>, mask: UInt64) -> Int {
        let range = range.clamped(to: self.base..<self.end)
        return range.reduce(0) { $0 + (self.shardMasks[Int($1 - self.base)] & mask != 0 ? 1 : 0) }
    }

    /// Moves the window forward; what falls out at its beginning is held.
    mutating func advance(to newBase: Int64) {
        let shift = Int(min(newBase - self.base, Int64(self.capacity)))
        guard shift > 0 else { return }
        for slot in 0..<self.nodeCount {
            let row = slot * self.capacity
            for index in stride(from: row + shift - 1, through: row, by: -1) where !self.aggregates[index].isNaN {
                self.held[slot] = self.aggregates[index]
                break
            }
            for index in row..<row + self.capacity - shift {
                self.aggregates[index] = self.aggregates[index + shift]
                self.digests[index] = self.digests[index + shift]
            }
            for index in row + self.capacity - shift..<row + self.capacity {
                self.aggregates[index] = .nan
                self.digests[index] = .zero
            }
        }
        self.shardMasks.removeFirst(shift)
        self.shardMasks.append(contentsOf: repeatElement(0, count: shift))
        self.totals.removeFirst(shift)
        self.totals.append(contentsOf: repeatElement(.zero, count: shift))
        self.base = newBase
        self.loadedEnd = max(self.loadedEnd, newBase)
    }

    /// The aggregates of `slot` for the `length` buckets that end with `bucket`, filled by `fill`: `last` and `mean` hold the
    /// newest earlier value, `sum` counts an empty bucket as 0 once the node has been seen. Buckets before `base` are NaN.
    func filled(slot: Int, through bucket: Int64, length: Int, fill: DomainProfile.Fill, into row: inout [Double]) {
        let first = bucket + 1 - Int64(length)
        var value = self.held[slot]
        let start = slot * self.capacity
        // What lies before the row only sets the value it begins with.
        if first > self.base {
            for index in stride(from: Int(min(first, self.end) - self.base) - 1, through: 0, by: -1)
            where !self.aggregates[start + index].isNaN {
                value = self.aggregates[start + index]
                break
            }
        }
        for step in 0..<length {
            let index = first + Int64(step)
            guard index >= self.base, index < self.end else {
                row.append(.nan)
                continue
            }
            let own = self.aggregates[start + Int(index - self.base)]
            if !own.isNaN {
                value = own
                row.append(own)
            } else {
                row.append(fill == .sum && !value.isNaN ? 0 : value)
            }
        }
    }

    /// Sum of the digests of `slot` over the buckets of `range`.
    func digest(slot: Int, in range: Range<Int64>) -> Digest128 {
        let range = range.clamped(to: self.base..<self.end)
        var sum = Digest128.zero
        for bucket in range { sum.add(self.digests[slot * self.capacity + Int(bucket - self.base)]) }
        return sum
    }

    /// Sum of the digests of all nodes over the buckets of `range`.
    func digest(in range: Range<Int64>) -> Digest128 {
        let range = range.clamped(to: self.base..<self.end)
        return range.reduce(into: Digest128.zero) { $0.add(self.totals[Int($1 - self.base)]) }
    }
}
