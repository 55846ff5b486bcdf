import Engine
import Model

/// The part of a domain's clock that is kept in memory: bucket aggregates of all its nodes over `base ..< base + capacity`,
/// with what is needed to fill and digest them. A value without I/O.
///
/// An aggregate is what one bucket's observations come to under the domain's fill rule, NaN without any. Buckets are always
/// replaced whole from all their observations, so neither order nor batches of arrival leave a trace.
///
/// What a bucket's observations were is kept as a checksum of 32 bits beside the aggregate, and both are expanded into the
/// digest of 128 bits where that is needed: another aggregate always gives another digest, other observations with the same
/// aggregate all but once in 4 billion times. A bucket costs 8 bytes a node whose buckets hold one observation each, always at
/// the same time after their beginning: the checksum follows then from the aggregate. Any other node costs 12.
struct BucketWindow: Sendable {
    /// Buckets per node.
    private(set) var capacity: Int
    /// Index of the first bucket kept.
    private(set) var base: Int64
    private let bucketMs: Int64
    /// Everything before this bucket has been read from storage; nothing at or after it counts as read.
    var loadedEnd: Int64
    /// In slot order.
    private var rows: [BucketRow] = []
    /// Sums of the digests of all nodes, a bucket each.
    private var totals: [Digest128]
    /// Per bucket: bit s is set when shard s has data in it.
    private(set) var shardMasks: [UInt64]

    init(base: Int64, capacity: Int, bucketMs: Int64) {
        precondition(capacity > 0, "a window keeps at least one bucket")
        self.base = base
        self.capacity = capacity
        self.bucketMs = bucketMs
        self.loadedEnd = base
        self.shardMasks = Array(repeating: 0, count: capacity)
        self.totals = Array(repeating: .zero, count: capacity)
    }

    var end: Int64 { self.base + Int64(self.capacity) }
    var nodeCount: Int { self.rows.count }
    /// Bytes of the arrays above.
    var byteCount: Int { self.rows.reduce(self.capacity * 24) { $0 + $1.byteCount } }

    /// Adds a row without data.
    mutating func appendNode(_ id: NodeID) {
        self.rows.append(BucketRow(id, capacity: self.capacity, bucketMs: self.bucketMs))
    }

    /// Sets the value a node comes into the window with.
    mutating func hold(slot: Int, value: Double) { self.rows[slot].held = value }

    func held(slot: Int) -> Double { self.rows[slot].held }

    /// Replaces one bucket of one node; buckets outside the window are ignored.
    mutating func set(slot: Int, _ bucket: BucketAggregator.Bucket, shard: Shard) {
        guard bucket.bucket >= self.base, bucket.bucket < self.end else { return }
        let offset = Int(bucket.bucket - self.base)
        self.totals[offset].remove(self.rows[slot].digest(offset, base: self.base))
        self.rows[slot].set(offset, bucket, base: self.base)
        self.totals[offset].add(self.rows[slot].digest(offset, base: self.base))
        self.shardMasks[offset] |= shard.bit
    }

    func aggregate(slot: Int, bucket: Int64) -> Double {
        guard bucket >= self.base, bucket < self.end else { return .nan }
        return self.rows[slot].aggregates[Int(bucket - self.base)]
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

    /// Moves the window forward and changes its length; what falls out at its beginning is held, what falls out at its end
    /// counts as not read.
    mutating func move(to newBase: Int64, capacity: Int) {
        precondition(capacity > 0, "a window keeps at least one bucket")
        let shift = Int(min(max(0, newBase - self.base), Int64(self.capacity)))
        guard shift > 0 || capacity != self.capacity else { return }
        for slot in self.rows.indices { self.rows[slot].move(by: shift, capacity: capacity, base: self.base) }
        self.shardMasks.move(by: shift, count: capacity, empty: 0)
        self.totals.move(by: shift, count: capacity, empty: .zero)
        self.base = max(self.base, newBase)
        self.capacity = capacity
        self.loadedEnd = min(max(self.loadedEnd, self.base), self.end)
    }

    /// The aggregates of `slot` for the `length` buckets that end with `bucket`, filled by `fill`: `last` and `mean` hold the
    /// newest earlier value, `sum` counts an empty bucket as 0 once the node has been seen. Buckets before `base` are NaN.
    func filled(slot: Int, through bucket: Int64, length: Int, fill: DomainProfile.Fill, into row: inout [Double]) {
        let first = bucket + 1 - Int64(length)
        let own = self.rows[slot]
        // What lies before the row only sets the value it begins with.
        var value = first > self.base ? own.last(before: Int(min(first, self.end) - self.base)) : own.held
        for step in 0..<length {
            let index = first + Int64(step)
            guard index >= self.base, index < self.end else {
                row.append(.nan)
                continue
            }
            let aggregate = own.aggregates[Int(index - self.base)]
            if !aggregate.isNaN {
                value = aggregate
                row.append(aggregate)
            } else {
                row.append(fill == .sum && !value.isNaN ? 0 : value)
            }
        }
    }

    /// Sum of the digests of `slot` over the buckets of `range`.
    func digest(slot: Int, in range: Range<Int64>) -> Digest128 {
        let range = range.clamped(to: self.base..<self.end)
        let row = self.rows[slot]
        var sum = Digest128.zero
        for bucket in range { sum.add(row.digest(Int(bucket - self.base), base: self.base)) }
        return sum
    }

    /// Sum of the digests of all nodes over the buckets of `range`.
    func digest(in range: Range<Int64>) -> Digest128 {
        let range = range.clamped(to: self.base..<self.end)
        return range.reduce(into: Digest128.zero) { $0.add(self.totals[Int($1 - self.base)]) }
    }
}
