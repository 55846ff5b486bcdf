import Engine
import Model

/// What a ``BucketWindow`` keeps of one node. Rows are pieces of memory of their own, so that neither a node more nor a change
/// of one that somebody else still holds copies the others.
struct BucketRow: Sendable {
    let id: NodeID
    private let bucketMs: Int64
    private(set) var aggregates: [Double]
    /// Sums modulo 2^32 of the hashes of a bucket's observations, 0 of an empty one. Empty as long as each follows from the
    /// aggregate, see ``regularChecksum(_:base:)``; a digest is the same either way.
    private var checksums: [UInt32] = []
    /// When observations come, in milliseconds after the beginning of their bucket, as far as is known; -1: not yet.
    private var phaseMs: Int64 = -1
    /// The aggregate of the last bucket before the window, NaN when there is none.
    var held = Double.nan

    init(_ id: NodeID, capacity: Int, bucketMs: Int64) {
        self.id = id
        self.bucketMs = bucketMs
        self.aggregates = Array(repeating: .nan, count: capacity)
    }

    var byteCount: Int {
        MemoryLayout<BucketRow>.stride + self.aggregates.count * MemoryLayout<Double>.stride
            + self.checksums.count * MemoryLayout<UInt32>.stride
    }

    /// What the checksum is if the bucket holds one observation at the usual time.
    @inline(__always)
    private func regularChecksum(_ offset: Int, base: Int64) -> UInt32 {
        let aggregate = self.aggregates[offset]
        guard !aggregate.isNaN else { return 0 }
        let timeMs = (base + Int64(offset)) * self.bucketMs + self.phaseMs
        return BucketAggregator.checksum(node: self.id, timeMs: timeMs, value: aggregate)
    }

    @inline(__always)
    func digest(_ offset: Int, base: Int64) -> Digest128 {
        let aggregate = self.aggregates[offset]
        guard !aggregate.isNaN else { return .zero }
        let checksum = self.checksums.isEmpty ? self.regularChecksum(offset, base: base) : self.checksums[offset]
        return Digest128(node: self.id, bucket: base + Int64(offset), aggregate: aggregate, checksum: checksum)
    }

    mutating func set(_ offset: Int, _ bucket: BucketAggregator.Bucket, base: Int64) {
        let phaseMs = bucket.timeMs - bucket.bucket * self.bucketMs
        if self.phaseMs < 0 { self.phaseMs = phaseMs }
        if self.checksums.isEmpty {
            let before = self.aggregates[offset]
            self.aggregates[offset] = bucket.value
            if self.regularChecksum(offset, base: base) == bucket.checksum { return }
            // The first that is not as the others: from now on each is kept.
            self.aggregates[offset] = before
            self.checksums = self.aggregates.indices.map { self.regularChecksum($0, base: base) }
        }
        self.phaseMs = phaseMs
        self.aggregates[offset] = bucket.value
        self.checksums[offset] = bucket.checksum
    }

    /// The newest aggregate before `offset`, or the held one.
    func last(before offset: Int) -> Double {
        self.aggregates[..<offset].last { !$0.isNaN } ?? self.held
    }

    /// Drops `shift` buckets at the beginning and goes on to `capacity`.
    /// - Parameter base: of the window as it was.
    mutating func move(by shift: Int, capacity: Int, base: Int64) {
        self.held = self.last(before: shift)
        self.aggregates.move(by: shift, count: capacity, empty: .nan)
        guard !self.checksums.isEmpty else { return }
        self.checksums.move(by: shift, count: capacity, empty: 0)
        // What was irregular may have fallen out.
        let moved = base + Int64(shift)
        if self.checksums.indices.allSatisfy({ self.checksums[$0] == self.regularChecksum($0, base: moved) }) {
            self.checksums = []
        }
    }
}

extension Array {
    /// Drops `shift` elements at the beginning and goes on to `count`; in place when that is the count already.
    mutating func move(by shift: Int, count: Int, empty: Element) {
        guard count == self.count else {
            let kept = self.dropFirst(shift).prefix(count)
            var moved: [Element] = []
            moved.reserveCapacity(count)
            moved.append(contentsOf: kept)
            moved.append(contentsOf: repeatElement(empty, count: count - kept.count))
            self = moved
            return
        }
        let kept = Swift.max(0, count - shift)
        for index in 0..<kept { self[index] = self[index + shift] }
        for index in kept..<count { self[index] = empty }
    }
}
