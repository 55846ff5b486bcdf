/// What became of one layer of one graph. A failed layer never passes for an empty one.
public struct LayerReport: Hashable, Sendable, Codable {
    public enum State: String, Sendable, Codable {
        case ok, degraded, failed, standby, stale
    }

    public var layer: Layer
    public var state: State
    /// Why, for every state but `ok`.
    public var reason: String?
    /// Pairs of the layer, split by what became of them: `pairs` = accepted + rejected + short + constant.
    public var pairs: Int
    public var accepted: Int
    public var rejected: Int
    /// Pairs whose effective size is under 10.
    public var short: Int
    /// Pairs with a series that does not change in the window.
    public var constant: Int

    public init(
        layer: Layer, state: State, reason: String? = nil, pairs: Int = 0, accepted: Int = 0, rejected: Int = 0,
        short: Int = 0, constant: Int = 0
    ) {
        self.layer = layer
        self.state = state
        self.reason = reason
        self.pairs = pairs
        self.accepted = accepted
        self.rejected = rejected
        self.short = short
        self.constant = constant
    }
}

/// Every accepted edge with at least one end in the event (the strongest 50 a layer), with the state of each layer.
public struct CorrelationGraph: Hashable, Sendable, Codable {
    /// Edges kept per layer, strongest |score| x confidence first; `LayerReport.accepted` counts all.
    public static let edgesPerLayer = 50

    /// Hex SHA-256 of engine version, configuration, window end, layer states and a digest of the observations.
    public var id: String
    public var event: String
    public var windowEnd: Timestamp
    public var layers: [LayerReport]
    /// By layer, then weight descending, then source, target.
    public var edges: [Edge]

    public init(id: String, event: String, windowEnd: Timestamp, layers: [LayerReport], edges: [Edge]) {
        self.id = id
        self.event = event
        self.windowEnd = windowEnd
        self.layers = layers
        self.edges = edges
    }

    /// Whether every layer was computed from what it should be.
    public var isComplete: Bool {
        self.layers.count == Layer.allCases.count && self.layers.allSatisfy { $0.state == .ok }
    }
}
