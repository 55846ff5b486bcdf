import Model

/// Turns the observations of one node, sorted by time and then value, into whole buckets.
///
/// Different values at one millisecond count as their mean. Under `last` a bucket comes to the newest of these, under `mean`
/// to their mean, under `sum` to their sum; every sum runs in time order, so the last digit is always the same.
struct BucketAggregator {
    /// A finished bucket with the digest of its observations.
    struct Bucket {
        var bucket: Int64
        var value: Double
        var digest: UInt128
    }

    let bucketMs: Int64
    let fill: DomainProfile.Fill

    private var bucket: Int64 = 0
    private var time: Int64 = 0
    private var timeSum = 0.0
    private var timeCount = 0
    private var total = 0.0
    private var instants = 0
    private var digest: UInt128 = 0

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
        self.digest &+= ObservationHash.of(node: node, timeMs: timeMs, value: value)
        return finished
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
            digest: self.digest)
        self.total = 0
        self.instants = 0
        self.digest = 0
        return bucket
    }
}

/// 128 bits of one observation, mixed so that sums of them tell sets of observations apart.
enum ObservationHash {
    static func of(node: NodeID, timeMs: Int64, value: Double) -> UInt128 {
        let value = value == 0 ? 0 : value  // -0 and 0 are one observation to the database
        var low = Self.mix(UInt64(bitPattern: node.rawValue) ^ 0x9E37_79B9_7F4A_7C15)
        low = Self.mix(low ^ UInt64(bitPattern: timeMs))
        low = Self.mix(low ^ value.bitPattern)
        let high = Self.mix(low ^ 0xD1B5_4A32_D192_ED03 ^ Self.mix(value.bitPattern &+ UInt64(bitPattern: timeMs)))
        return UInt128(high) << 64 | UInt128(low)
    }

    /// The finaliser of SplitMix64 (Steele, Lea and Flood 2014, OOPSLA).
    private static func mix(_ word: UInt64) -> UInt64 {
        var word = word &+ 0x9E37_79B9_7F4A_7C15
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}
