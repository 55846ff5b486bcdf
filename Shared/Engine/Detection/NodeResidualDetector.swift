import Model

/// Scores the nodes of one event and domain against their own past and against what their neighbours predict.
public struct NodeResidualDetector: Sendable, Codable {
    public struct Settings: Sendable, Hashable, Codable {
        public var bucketMs: Int64
        /// The declared cycle (a day); 0: none.
        public var periodMs: Int64
        /// Buckets before any score.
        public var baselineBuckets: Int
        public var budget: AlarmBudget

        public init(
            bucketMs: Int64, periodMs: Int64 = 86_400_000, baselineBuckets: Int = 720,
            budget: AlarmBudget = AlarmBudget()
        ) {
            self.bucketMs = bucketMs
            self.periodMs = periodMs
            self.baselineBuckets = baselineBuckets
            self.budget = budget
        }
    }

    public let event: String
    public let domain: String
    public let settings: Settings

    public init(event: String, domain: String, settings: Settings) {
        self.event = event
        self.domain = domain
        self.settings = settings
    }

    /// Takes in one closed bucket, newer than the last one.
    ///
    /// - Parameters:
    ///   - nodes: the event's nodes of the domain, ascending. Nodes may appear later; at most `nodeLimit` are covered.
    ///   - values: one per node, level scale (never differences), held over empty buckets; NaN before the first value.
    public mutating func observe(nodes: [NodeKey], values: [Double], windowEnd: Timestamp) -> NodeResidualScores {
        NodeResidualScores(windowEnd: windowEnd, state: .learning)
    }
}
