import Engine
import Foundation
import Model
import ServiceRuntime

/// A graph as clients see it. Depends on the graph alone, so equal entity tags are equal bytes; ages go in headers.
struct GraphDocument: Encodable, Sendable {
    struct EdgeItem: Encodable, Sendable {
        let edge: Edge

        private enum Extra: String, CodingKey { case confidenceBand, severity }

        func encode(to encoder: any Encoder) throws {
            try self.edge.encode(to: encoder)
            var extra = encoder.container(keyedBy: Extra.self)
            try extra.encode(self.edge.confidenceBand, forKey: .confidenceBand)
            try extra.encode(self.edge.severity, forKey: .severity)
        }
    }

    let id: String
    let event: String
    let windowEnd: Timestamp
    /// False when a layer was not computed from all it should be.
    let complete: Bool
    let layers: [LayerReport]
    let edges: [EdgeItem]
    /// Every node at an end of `edges`, ascending.
    let nodes: [NodeKey]
    /// Only when asked for.
    let rejected: [RejectedPair]?

    init(_ graph: CorrelationGraph, filter: GraphFilter, rejected: [RejectedPair]?) {
        let shown = filter.applied(to: graph)
        self.id = graph.id
        self.event = graph.event
        self.windowEnd = graph.windowEnd
        self.complete = graph.isComplete
        self.layers = shown.layers
        self.edges = shown.edges.map(EdgeItem.init(edge:))
        self.nodes = Set(shown.edges.flatMap { [$0.source, $0.target] }).sorted()
        self.rejected = rejected.map { pairs in
            Array(pairs.filter { filter.layer == nil || $0.layer == filter.layer }.prefix(max(0, filter.limit)))
        }
    }

    func encoded() throws -> Data { try APIJSON.encoder().encode(self) }
}
