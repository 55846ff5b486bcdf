import Model

/// Turns the observations of one node, sorted by time and then value, into whole buckets.
///
/// Different values at one millisecond count as their mean. Under `last` a bucket comes to the newest of these, under `mean`
/// to their mean, under `sum` to their sum; every sum runs in time order, so the last digit is always the same.
struct BucketAggregator {
    let bucketMs: Int64
    let fill: DomainProfile.Fill
    /// Called with each finished bucket: index, aggregate and the digest of its observations.
    let emit: (Int64, Double, UInt128) -> Void

    private var bucket: Int64 = 0
    private var time: Int64 = 0
    private var timeSum = 0.0
    private var timeCount = 0
    private var total = 0.0
    private var instants = 0
    private var digest: UInt128 = 0

    init(bucketMs: Int64, fill: DomainProfile.Fill, emit: @escaping (Int64, Double, UInt128) -> Void) {
        self.bucketMs = bucketMs
        self.fill = fill
        self.emit = emit
    }

    mutating func add(timeMs: Int64, value: Double, node: NodeID) {
        let bucket = floorDivide(timeMs, self.bucketMs)
        if self.timeCount > 0, bucket != self.bucket {
            self.finish()
        }
        if self.timeCount > 0, timeMs != self.time { self.closeInstant() }
        self.bucket = bucket
        self.time = timeMs
        self.timeSum += value
        self.timeCount += 1
        self.digest &+= ObservationHash.of(node: node, timeMs: timeMs, value: value)
    }

    private mutating func closeInstant() {
        let value = self.timeSum / Double(self.timeCount)
        self.total = self.fill == .last ? value : self.total + value
        self.instants += 1
        self.timeSum = 0
        self.timeCount = 0
    }

    /// Emits the bucket being collected; call once after the last observation of a node.
    mutating func finish() {
        guard self.timeCount > 0 else { return }
        self.closeInstant()
        self.emit(self.bucket, self.fill == .mean ? self.total / Double(self.instants) : self.total, self.digest)
        self.total = 0
        self.instants = 0
        self.digest = 0
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
