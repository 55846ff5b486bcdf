import Model

/// The regular clock of one domain: bucket b covers [b x width, (b + 1) x width) milliseconds of event time.
public struct BucketClock: Hashable, Sendable {
    /// Width of a bucket in milliseconds, 1 or more.
    public let bucketMs: Int64

    /// - Precondition: `bucketMs` is above 0.
    public init(bucketMs: Int64) {
        precondition(bucketMs > 0, "a bucket has a width")
        self.bucketMs = bucketMs
    }

    /// The bucket that holds `time`: floor(time / width), also before 1970.
    public func index(of time: Timestamp) -> Int64 { self.index(ofMilliseconds: time.milliseconds) }

    public func index(ofMilliseconds time: Int64) -> Int64 {
        let quotient = time / self.bucketMs
        return time % self.bucketMs < 0 ? quotient - 1 : quotient
    }

    /// Start (inclusive) of a bucket.
    ///
    /// - Precondition: the bucket holds a time; others may lie beyond what milliseconds can say.
    public func start(of bucket: Int64) -> Timestamp { Timestamp(milliseconds: bucket * self.bucketMs) }

    /// End (exclusive) of a bucket; see ``start(of:)``.
    public func end(of bucket: Int64) -> Timestamp { Timestamp(milliseconds: (bucket + 1) * self.bucketMs) }

    /// The width that the data asks for: the median of the nodes' own median gaps, rounded up to 1, 2 or 5 x 10^k ms, at
    /// most a day. Nil without any gap.
    ///
    /// - Parameter medianGapsMs: one value of ``medianGapMs(ofTimes:)`` a node, in any order.
    public static func derivedBucketMs(medianGapsMs: [Double]) -> Int64? {
        guard let gap = median(medianGapsMs.filter { $0.isFinite && $0 > 0 }) else { return nil }
        var power: Int64 = 1
        while power < 86_400_000 {
            for step in [power, 2 * power, 5 * power] where Double(step) >= gap { return min(step, 86_400_000) }
            power *= 10
        }
        return 86_400_000
    }

    /// The median distance in milliseconds between the first 200 distinct times of a node; nil under two times.
    ///
    /// - Parameter times: epoch milliseconds in any order, repeats allowed.
    public static func medianGapMs(ofTimes times: [Int64]) -> Double? {
        let distinct = Array(Set(times)).sorted().prefix(200)
        return median(zip(distinct.dropFirst(), distinct).map { Double($0 - $1) })
    }

    private static func median(_ values: [Double]) -> Double? {
        guard !values.isEmpty else { return nil }
        let sorted = values.sorted()
        let middle = sorted.count / 2
        return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }
}
