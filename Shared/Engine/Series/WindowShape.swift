import Model

/// How many buckets of a series an evaluation looks at.
public struct WindowShape: Hashable, Sendable {
    /// Buckets of the present window W, 1 or more.
    public var present: Int
    /// Buckets of the baseline before it.
    public var baseline: Int
    /// Lags -lag ... lag are tried, 0 or more.
    public var lag: Int

    /// - Precondition: `present` is above 0, the others are 0 or more.
    public init(present: Int, baseline: Int, lag: Int) {
        precondition(present > 0, "the present has a length")
        precondition(baseline >= 0 && lag >= 0, "lengths are not negative")
        self.present = present
        self.baseline = baseline
        self.lag = lag
    }

    /// - Precondition: the profile was validated.
    public init(profile: DomainProfile) {
        self.init(present: profile.presentBuckets, baseline: profile.baselineBuckets, lag: profile.lagBuckets)
    }

    /// The block length that gives an evaluation all it can use: the present and, before it, the baseline (or the reach of
    /// the lags, when longer).
    public var requiredLength: Int { self.present + max(self.baseline, self.lag) }

    /// Buckets of a period that is removed from series of this shape before they are compared: one of two whole buckets or more,
    /// held twice by the baseline.
    ///
    /// - Parameter baseline: buckets of the baseline there are; nil: all this shape may have.
    /// - Returns: 0 where it is not removed.
    public func removablePeriod(_ periodMs: Int64, bucketMs: Int64, baseline: Int? = nil) -> Int {
        precondition(bucketMs > 0 && periodMs >= 0, "a bucket has a width, a period is none or a length")
        let (buckets, rest) = periodMs.quotientAndRemainder(dividingBy: bucketMs)
        return rest == 0 && buckets >= 2 && buckets <= Int64((baseline ?? self.baseline) / 2) ? Int(buckets) : 0
    }

    /// The baseline a block of `length` offers; 0 unless it is full (three times the present or more).
    func fullBaseline(ofLength length: Int) -> Int {
        let offered = min(self.baseline, length - self.present)
        return offered >= 3 * self.present ? offered : 0
    }
}
