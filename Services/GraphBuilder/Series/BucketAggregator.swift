import Engine
import Model

/// Turns the observations of one node, sorted by time and then value, into whole buckets.
///
/// Different values at one millisecond count as their mean. Under `last` a bucket comes to the newest of these, under `mean`
/// to their mean, under `sum` to their sum; every sum runs in time order, so the last digit is always the same.
struct BucketAggregator {
    /// A finished bucket with the checksum of its observations: the sum modulo 2^32 of their hashes.
    struct Bucket {
        var bucket: Int64
        var value: Double
        var checksum: UInt32
        /// Of its newest observation.
        var timeMs: Int64
    }

    let bucketMs: Int64
    let fill: DomainProfile.Fill

    private var bucket: Int64 = 0
    private var time: Int64 = 0
    private var timeSum = 0.0
    private var timeCount = 0
    private var total = 0.0
    private var instants = 0
    private var checksum: UInt32 = 0

    init(bucketMs: Int64, fill: DomainProfile.Fill) {
        self.bucketMs = bucketMs
        self.fill = fill
    }

    /// - Returns: the bucket before, when this observation begins another one.
    mutating func add(timeMs: Int64, value: Double, node: NodeID) -> Bucket? {
        let bucket = floorDivide(timeMs, self.bucketMs)
        let finished = self.timeCount > 0 && bucket != self.bucket ? self.finish() : nil
        if self.timeCount > 0, timeMs != self.time { self.closeInstant() }
        self.bucket = bucket
        self.time = timeMs
        self.timeSum += value
        self.timeCount += 1
        self.checksum &+= Self.checksum(node: node, timeMs: timeMs, value: value)
        return finished
    }

    /// Of a bucket that holds one observation.
    static func checksum(node: NodeID, timeMs: Int64, value: Double) -> UInt32 {
        UInt32(truncatingIfNeeded: Digest128(node: node, timeMs: timeMs, value: value).low)
    }

    private mutating func closeInstant() {
        let value = self.timeSum / Double(self.timeCount)
        self.total = self.fill == .last ? value : self.total + value
        self.instants += 1
        self.timeSum = 0
        self.timeCount = 0
    }

    /// The bucket being collected, if any; call once after the last observation of a node.
    mutating func finish() -> Bucket? {
        guard self.timeCount > 0 else { return nil }
        self.closeInstant()
        let bucket = Bucket(
            bucket: self.bucket, value: self.fill == .mean ? self.total / Double(self.instants) : self.total,
            checksum: self.checksum, timeMs: self.time)
        self.total = 0
        self.instants = 0
        self.checksum = 0
        return bucket
    }
}
