/// A directed, tested relation between two nodes, with everything needed to judge it.
///
/// Positive `lagBuckets` and `latencyMs` mean: the source moves first and the target follows. Lag 0 is undirected.
public struct Edge: Hashable, Sendable, Codable {
    public enum Estimator: String, Sendable, Codable {
        /// Pearson's r of clipped series on a regular clock.
        case pearson
        /// Hayashi-Yoshida covariance on raw, irregular times (Hayashi and Yoshida 2005, Bernoulli 11).
        case hayashiYoshida
    }

    /// What kind of relation: `contemporaneous` (lag 0), `leadLag`, or `feedback` (a lag in each direction).
    public enum Relation: String, Sendable, Codable {
        case contemporaneous, leadLag, feedback
    }

    /// Where the lag was chosen: on the full baseline, or on the present window itself (p, interval and confidence are then
    /// simultaneous over all lags tried).
    public enum LagSource: String, Sendable, Codable {
        case baseline, present
    }

    public var source: NodeKey
    public var target: NodeKey
    public var layer: Layer
    public var relation: Relation
    public var estimator: Estimator
    /// r at the chosen lag, in -1 ... 1.
    public var score: Double
    /// The chosen lag in whole buckets, 0 or more.
    public var lagBuckets: Int
    /// The lag refined between buckets, in milliseconds, 0 or more.
    public var latencyMs: Double
    public var lagSource: LagSource
    /// Buckets (or, for Hayashi-Yoshida, target ticks) both nodes have in the window.
    public var overlap: Int
    /// Effective size after autocorrelation, in 10 ... overlap.
    public var effectiveSize: Double
    /// 95 % interval of r.
    public var intervalLow: Double
    public var intervalHigh: Double
    /// Two-sided p of no correlation, and q after Benjamini-Hochberg over the event's layer.
    public var pValue: Double
    public var qValue: Double
    /// P(|rho| > threshold of the layer | data), in 0 ... 1.
    public var confidence: Double
    /// beta = r x sd(target) / sd(source), in target units per source unit.
    public var expectedPropagation: Double
    public var bucketMs: Int64
    public var windowStart: Timestamp
    public var windowEnd: Timestamp
    /// The window end at which this edge was accepted first in its present unbroken life.
    public var detectedAt: Timestamp
    /// The strongest common neighbour, when holding it fixed takes the correlation below the threshold.
    public var explainedBy: NodeKey?

    public init(
        source: NodeKey, target: NodeKey, layer: Layer, relation: Relation, estimator: Estimator, score: Double,
        lagBuckets: Int, latencyMs: Double, lagSource: LagSource, overlap: Int, effectiveSize: Double,
        intervalLow: Double, intervalHigh: Double, pValue: Double, qValue: Double, confidence: Double,
        expectedPropagation: Double, bucketMs: Int64, windowStart: Timestamp, windowEnd: Timestamp,
        detectedAt: Timestamp, explainedBy: NodeKey? = nil
    ) {
        self.source = source
        self.target = target
        self.layer = layer
        self.relation = relation
        self.estimator = estimator
        self.score = score
        self.lagBuckets = lagBuckets
        self.latencyMs = latencyMs
        self.lagSource = lagSource
        self.overlap = overlap
        self.effectiveSize = effectiveSize
        self.intervalLow = intervalLow
        self.intervalHigh = intervalHigh
        self.pValue = pValue
        self.qValue = qValue
        self.confidence = confidence
        self.expectedPropagation = expectedPropagation
        self.bucketMs = bucketMs
        self.windowStart = windowStart
        self.windowEnd = windowEnd
        self.detectedAt = detectedAt
        self.explainedBy = explainedBy
    }

    public var confidenceBand: ConfidenceBand { ConfidenceBand(confidence: self.confidence) }
    public var severity: Severity { Severity(confidence: self.confidence, score: self.score) }
    /// What edges are ranked by when only the strongest are kept.
    public var weight: Double { abs(self.score) * self.confidence }
}
