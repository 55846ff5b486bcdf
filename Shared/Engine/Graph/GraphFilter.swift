import Model

/// What a reader wants to see of a graph.
public struct GraphFilter: Hashable, Sendable {
    public var layer: Layer?
    /// Least confidence, 0 ... 1.
    public var minConfidence: Double
    /// Most edges, over all layers; 0 or more.
    public var limit: Int
    public var includesRejected: Bool

    /// - Precondition: `minConfidence` is in 0 ... 1, `limit` 0 or more.
    public init(layer: Layer? = nil, minConfidence: Double = 0, limit: Int = 200, includesRejected: Bool = false) {
        precondition((0...1).contains(minConfidence), "a confidence is in 0 ... 1")
        precondition(limit >= 0, "a number of edges")
        self.layer = layer
        self.minConfidence = minConfidence
        self.limit = limit
        self.includesRejected = includesRejected
    }

    /// The graph with only the asked edges and, when a layer is asked, only that layer's report. The id stays: it names the
    /// whole graph.
    public func applied(to graph: CorrelationGraph) -> CorrelationGraph {
        var filtered = graph
        filtered.edges = Array(
            graph.edges.lazy.filter {
                (self.layer == nil || $0.layer == self.layer) && $0.confidence >= self.minConfidence
            }.prefix(max(0, self.limit)))
        if let layer { filtered.layers = graph.layers.filter { $0.layer == layer } }
        return filtered
    }

    /// One text for equal filters, part of the ETag.
    var canonicalText: String {
        "\(self.layer?.code ?? "all")|\(self.minConfidence == 0 ? 0 : self.minConfidence)|\(self.limit)|\(self.includesRejected)"
    }
}
