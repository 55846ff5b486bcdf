import Foundation

extension NodeResidualDetector {
    public struct Settings: Sendable, Hashable, Codable {
        public var bucketMs: Int64
        /// The declared cycle (a day); 0: none.
        public var periodMs: Int64
        /// Buckets before any score, and the present window that has to be full too, where there is no usable period.
        public var baselineBuckets: Int
        public var presentBuckets: Int
        /// A period must fit four times into this; without a usable one it is the memory. Default 8,640.
        public var historyBuckets: Int
        /// Buckets before findings are raised where there is a period; nil: four periods.
        public var warmUpBuckets: Int?
        public var budget: AlarmBudget

        /// - Precondition: `bucketMs` is above 0, no length below 0, and the history holds baseline and present.
        public init(
            bucketMs: Int64, periodMs: Int64 = 86_400_000, baselineBuckets: Int = 720, presentBuckets: Int = 120,
            historyBuckets: Int = 8_640, warmUpBuckets: Int? = nil, budget: AlarmBudget = AlarmBudget()
        ) {
            precondition(bucketMs > 0, "a bucket has a width")
            precondition(periodMs >= 0 && baselineBuckets >= 0 && presentBuckets >= 0, "lengths are not negative")
            precondition((warmUpBuckets ?? 0) >= 0, "a length is not negative")
            precondition(historyBuckets >= baselineBuckets + presentBuckets, "the history holds the warm-up")
            self.bucketMs = bucketMs
            self.periodMs = periodMs
            self.baselineBuckets = baselineBuckets
            self.presentBuckets = presentBuckets
            self.historyBuckets = historyBuckets
            self.warmUpBuckets = warmUpBuckets
            self.budget = budget
        }

        func validate() throws(DetectorStateError) {
            let sizes = [self.baselineBuckets, self.presentBuckets, self.historyBuckets, self.warmUpBuckets ?? 0]
            try DetectorStateError.require(
                sizes.allSatisfy(DetectorStateError.counts.contains), "settings of residuals", "sizes are counts")
            try DetectorStateError.require(
                self.bucketMs > 0 && DetectorStateError.times.contains(self.bucketMs)
                    && DetectorStateError.times.contains(self.periodMs) && self.budget.isValid
                    && self.historyBuckets >= self.baselineBuckets + self.presentBuckets, "settings of residuals",
                "as they can be made")
        }

        /// Buckets in a period; 0 when none is declared or the history does not hold four of them.
        public var usablePeriod: Int {
            let period = self.periodMs / self.bucketMs
            return period > 1 && 4 * period <= Int64(self.historyBuckets) ? Int(period) : 0
        }

        /// Buckets smoothed over: 5, 20, 80 and 320 minutes, at least one. What lasts minutes and what lasts hours each have
        /// a span that shows it.
        var spans: [Double] {
            [1, 4, 16, 64].map { max(1, (300_000 * $0 / Double(self.bucketMs)).rounded()) }
        }

        /// Of exponential smoothing with the mean age of those spans.
        var gains: [Double] { self.spans.map { 2 / ($0 + 1) } }

        /// The level's centre moves half way in half a period.
        var centreGain: Double {
            1 - pow(0.5, 1 / (Double(self.usablePeriod > 0 ? self.usablePeriod : max(1, self.baselineBuckets)) / 2))
        }

        /// Age of a node at which its units are fixed.
        var unitBuckets: Int {
            self.usablePeriod > 0 ? 2 * self.usablePeriod : max(2, self.baselineBuckets / 2)
        }

        /// A period; without one a day, at most the baseline.
        var refreshBuckets: Int {
            guard self.usablePeriod == 0 else { return self.usablePeriod }
            return max(1, min(self.baselineBuckets, Int(86_400_000 / self.bucketMs)))
        }

        var firstRefresh: Int {
            self.usablePeriod > 0 ? 3 * self.usablePeriod : self.baselineBuckets + self.presentBuckets
        }

        var readyBuckets: Int {
            self.usablePeriod > 0 ? max(self.warmUpBuckets ?? 0, 4 * self.usablePeriod) : self.firstRefresh
        }

        /// Buckets remembered; older ones fade.
        var memory: Double { Double(self.usablePeriod > 0 ? 30 * self.usablePeriod : self.historyBuckets) }

        /// Buckets a node must have been taught by to be judged.
        var leastTaught: Double { Double(self.refreshBuckets) / 2 }
    }
}
