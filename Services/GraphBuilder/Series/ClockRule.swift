import Engine

/// How the width of a domain's buckets follows from its data when none is declared: the median over nodes of the median
/// gap between a node's times, rounded up to 1-2-5 x 10^k milliseconds.
///
/// Only times up to the moment at which the first node has ``settlingTimes`` of them count, and at most ``timesPerNode`` a
/// node. So the width is a function of the data alone: it does not matter how much more is known when it is derived.
enum ClockRule {
    /// Distinct times of one node that settle the clock; the shortest present window has as many buckets.
    static let settlingTimes = 30
    static let timesPerNode = 200

    /// - Parameter times: per node, its distinct times from the first on, ascending, epoch milliseconds, at most
    ///   ``timesPerNode``.
    /// - Returns: nil while no node has more than ``settlingTimes`` times.
    static func width(times: [[Int64]]) -> Int64? {
        // One time more than needed must be there, so that the settling moment itself is past.
        guard let settled = times.filter({ $0.count > Self.settlingTimes }).map({ $0[Self.settlingTimes - 1] }).min()
        else { return nil }
        return BucketClock.derivedBucketMs(
            medianGapsMs: times.compactMap { BucketClock.medianGapMs(ofTimes: $0.filter { $0 <= settled }) })
    }
}
