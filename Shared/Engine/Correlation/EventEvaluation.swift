import Model

/// A pair that is no edge, with what was measured.
public struct RejectedPair: Hashable, Sendable, Codable {
    public enum Reason: String, Sendable, Codable {
        /// |r| is under the layer's threshold.
        case belowThreshold
        /// q is above 0.05.
        case notSignificant
        /// The effective size is under 10: no number is given.
        case short
        /// A series does not change in the window: no number is given.
        case constant
    }

    public var first: NodeKey
    public var second: NodeKey
    public var layer: Layer
    public var reason: Reason
    /// r at the chosen lag; nil for `short` and `constant`.
    public var score: Double?
    /// Positive: `first` moves first; nil for `short` and `constant`.
    public var lagBuckets: Int?
    public var effectiveSize: Double?
    public var qValue: Double?

    public init(
        first: NodeKey, second: NodeKey, layer: Layer, reason: Reason, score: Double? = nil, lagBuckets: Int? = nil,
        effectiveSize: Double? = nil, qValue: Double? = nil
    ) {
        self.first = first
        self.second = second
        self.layer = layer
        self.reason = reason
        self.score = score
        self.lagBuckets = lagBuckets
        self.effectiveSize = effectiveSize
        self.qValue = qValue
    }
}

/// The graph of one event at one window end, as computed.
public struct EventEvaluation: Sendable {
    /// Accepted edges returned per layer, strongest first; `LayerReport.accepted` counts all.
    public static let acceptedPerLayer = 2_000
    /// Rejected pairs returned per layer, strongest |r| first.
    public static let rejectedPerLayer = 500

    public var event: String
    /// Four reports, L1 to L4.
    public var layers: [LayerReport]
    /// Accepted edges by layer, then weight descending, then source, target, estimator; up to
    /// ``acceptedPerLayer`` a layer. Feedback pairs have two.
    public var accepted: [Edge]
    /// Only when asked for.
    public var rejected: [RejectedPair]

    public init(event: String, layers: [LayerReport], accepted: [Edge], rejected: [RejectedPair] = []) {
        self.event = event
        self.layers = layers
        self.accepted = accepted
        self.rejected = rejected
    }

    /// The edges a stored graph keeps: the first ``CorrelationGraph/edgesPerLayer`` of each layer, in the same order.
    public var kept: [Edge] {
        var counts: [Layer: Int] = [:]
        return self.accepted.filter { edge in
            counts[edge.layer, default: 0] += 1
            return counts[edge.layer, default: 0] <= CorrelationGraph.edgesPerLayer
        }
    }
}
