extension NodeResidualDetector {
    public struct Settings: Sendable, Hashable, Codable {
        public var bucketMs: Int64
        /// The declared cycle (a day); 0: none.
        public var periodMs: Int64
        /// Buckets before any score, and the present window that has to be full too where there is no usable period.
        public var baselineBuckets: Int
        public var presentBuckets: Int
        /// Buckets learnt from at most. Default 8,640: 30 days of 5 minutes, 6 days of 1 minute.
        public var historyBuckets: Int
        /// Periods between two models. Default 1.
        public var refreshPeriods: Int
        /// Buckets of history at which the first model with the profile is learnt; nil: four periods.
        public var warmUpBuckets: Int?
        public var budget: AlarmBudget

        public init(
            bucketMs: Int64, periodMs: Int64 = 86_400_000, baselineBuckets: Int = 720, presentBuckets: Int = 120,
            historyBuckets: Int = 8_640, refreshPeriods: Int = 1, warmUpBuckets: Int? = nil,
            budget: AlarmBudget = AlarmBudget()
        ) {
            precondition(bucketMs > 0, "a bucket has a width")
            precondition(historyBuckets >= baselineBuckets + presentBuckets, "the history holds the warm-up")
            precondition(refreshPeriods > 0, "a model is learnt from something new")
            self.bucketMs = bucketMs
            self.periodMs = periodMs
            self.baselineBuckets = baselineBuckets
            self.presentBuckets = presentBuckets
            self.historyBuckets = historyBuckets
            self.refreshPeriods = refreshPeriods
            self.warmUpBuckets = warmUpBuckets
            self.budget = budget
        }

        /// Buckets in a period; 0 when none is declared or the history does not hold four of them.
        public var usablePeriod: Int {
            let period = self.periodMs / self.bucketMs
            return period > 1 && 4 * period <= Int64(self.historyBuckets) ? Int(period) : 0
        }

        /// Buckets averaged over: 20 minutes, at least 3.
        public var smoothing: Int { max(3, Int((1_200_000 / Double(self.bucketMs)).rounded())) }

        /// Buckets of history at which the profile is trusted.
        var profileLearning: Int { max(self.warmUpBuckets ?? 0, 4 * self.usablePeriod) }

        var firstLearning: Int {
            self.usablePeriod > 0
                ? min(self.baselineBuckets, self.profileLearning) : self.baselineBuckets + self.presentBuckets
        }

        /// Span of the history at which the next model is due when it spans `span` buckets now.
        func nextLearning(after span: Int64) -> Int64 {
            let step = Int64(self.refreshPeriods * self.refreshBuckets)
            guard self.usablePeriod > 0, span < Int64(self.profileLearning) else { return span + step }
            return min(span + step, Int64(self.profileLearning))
        }

        /// A period; without one a day, at most the baseline.
        private var refreshBuckets: Int {
            guard self.usablePeriod == 0 else { return self.usablePeriod }
            return max(1, min(self.baselineBuckets, Int(86_400_000 / self.bucketMs)))
        }
    }
}
