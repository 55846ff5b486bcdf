import Model

/// The least |r| of an edge, by layer.
public struct LayerThresholds: Hashable, Sendable, Codable {
    public var direct: Double
    public var crossMarket: Double
    public var crossEvent: Double
    public var crossDomain: Double

    /// - Precondition: each is in 0 ..< 1.
    public init(
        direct: Double = Layer.direct.defaultThreshold, crossMarket: Double = Layer.crossMarket.defaultThreshold,
        crossEvent: Double = Layer.crossEvent.defaultThreshold, crossDomain: Double = Layer.crossDomain.defaultThreshold
    ) {
        precondition(
            [direct, crossMarket, crossEvent, crossDomain].allSatisfy((0..<1).contains), "a least |r| is in 0 ..< 1")
        self.direct = direct
        self.crossMarket = crossMarket
        self.crossEvent = crossEvent
        self.crossDomain = crossDomain
    }

    public subscript(layer: Layer) -> Double {
        switch layer {
        case .direct: self.direct
        case .crossMarket: self.crossMarket
        case .crossEvent: self.crossEvent
        case .crossDomain: self.crossDomain
        }
    }
}

/// What one edge is known by over time.
public struct EdgeKey: Hashable, Sendable {
    public var source: NodeKey
    public var target: NodeKey
    public var estimator: Edge.Estimator

    public init(source: NodeKey, target: NodeKey, estimator: Edge.Estimator) {
        self.source = source
        self.target = target
        self.estimator = estimator
    }

    public init(_ edge: Edge) { self.init(source: edge.source, target: edge.target, estimator: edge.estimator) }
}

/// Own and partner nodes on the common, coarser clock of two domains.
public struct PartnerBlock: Sendable {
    /// Nodes of the evaluated domain and of one or more others; only pairs across domains are looked at.
    public var block: SeriesBlock
    public var shape: WindowShape

    /// - Parameter block: as ``EvaluationInput/block``, shorter while the younger of its domains is young.
    public init(block: SeriesBlock, shape: WindowShape) {
        self.block = block
        self.shape = shape
    }
}

/// Everything one evaluation of one domain at one window end looks at.
public struct EvaluationInput: Sendable {
    /// The domain whose bucket closed; nodes of `block` all belong to it.
    public var domain: String
    /// Newest bucket last; up to ``WindowShape/requiredLength`` buckets, shorter while the domain is young.
    public var block: SeriesBlock
    public var shape: WindowShape
    public var thresholds: LayerThresholds
    /// Events to evaluate; each gets one ``EventEvaluation``, in ascending order.
    public var events: [String]
    /// For L4; empty: no other domain is there to meet.
    public var partners: [PartnerBlock]
    /// Declared periods in milliseconds by domain, own and partners'; what repeats with them is removed first where the baseline
    /// holds a period twice. 0 or none: nothing is removed.
    public var periods: [String: Int64]
    /// A state the caller already knows a layer to be in (`degraded`, `failed`, `standby`, `stale`) and why. A `failed`
    /// or `standby` layer is not computed.
    public var layerStates: [Layer: (state: LayerReport.State, reason: String)]
    /// When edges that are still standing were accepted first.
    public var detectedAt: [EdgeKey: Timestamp]
    /// By event: what raw ticks give L1, see ``TickWindow``.
    public var tickEdges: [String: [Edge]]
    /// Also return rejected pairs with their values (slower: every pair is settled).
    public var includesRejected: Bool

    /// Where a node of the block belongs to another domain, the layers of the block are `failed`.
    public init(
        domain: String, block: SeriesBlock, shape: WindowShape, events: [String],
        thresholds: LayerThresholds = LayerThresholds(), partners: [PartnerBlock] = [],
        periods: [String: Int64] = [:], layerStates: [Layer: (state: LayerReport.State, reason: String)] = [:],
        detectedAt: [EdgeKey: Timestamp] = [:],
        tickEdges: [String: [Edge]] = [:], includesRejected: Bool = false
    ) {
        self.domain = domain
        self.block = block
        self.shape = shape
        self.events = events
        self.thresholds = thresholds
        self.partners = partners
        self.periods = periods
        self.layerStates = layerStates
        self.detectedAt = detectedAt
        self.tickEdges = tickEdges
        self.includesRejected = includesRejected
    }
}
