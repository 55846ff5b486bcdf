import Model

/// Watches the links of one event on one clock for correlation breaks and lead-lag shifts.
public struct LinkDetector: Sendable, Codable {
    public struct Settings: Sendable, Hashable, Codable {
        /// Buckets of the window a break is looked for in. Default 30: of the widths tried the one that finds most breaks within 20 buckets.
        public var recentBuckets: Int
        /// Buckets of the present window; the baseline ends before it.
        public var presentBuckets: Int
        /// Buckets of the baseline. Nothing is said before it is full.
        public var baselineBuckets: Int
        /// Lags -lagBuckets ... lagBuckets are tried for a shift.
        public var lagBuckets: Int
        /// Series are clipped at the baseline's median +- this many robust standard deviations.
        public var clip: Double
        public var budget: AlarmBudget
        /// Pairs followed at most; the longest unaccepted go first.
        public var pairLimit: Int

        public init(
            recentBuckets: Int = 30, presentBuckets: Int = 120, baselineBuckets: Int = 720, lagBuckets: Int = 5,
            clip: Double = 2.5, budget: AlarmBudget = AlarmBudget(), pairLimit: Int = 20_000
        ) {
            self.recentBuckets = recentBuckets
            self.presentBuckets = presentBuckets
            self.baselineBuckets = baselineBuckets
            self.lagBuckets = lagBuckets
            self.clip = clip
            self.budget = budget
            self.pairLimit = pairLimit
        }
    }

    public let event: String
    public let settings: Settings

    public init(event: String, settings: Settings = Settings()) {
        self.event = event
        self.settings = settings
    }

    /// Takes in one closed bucket.
    ///
    /// - Parameters:
    ///   - block: series of at least the nodes of `edges` and of pairs accepted before, at least present + baseline buckets
    ///     long, ending with this bucket.
    ///   - edges: the accepted edges of the event at this bucket.
    /// - Returns: correlation breaks and lead-lag shifts, ordered by kind, source, target.
    public mutating func observe(block: SeriesBlock, edges: [Edge]) -> [Finding] { [] }
}
