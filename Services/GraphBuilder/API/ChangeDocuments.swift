import Engine
import Model

/// One change as clients see it.
struct ChangeItem: Encodable, Sendable {
    struct Reading: Encodable, Sendable {
        let score: Double
        let lagBuckets: Int
        let effectiveSize: Double
        let intervalLow: Double
        let intervalHigh: Double

        init(_ reading: PairReading) {
            self.score = reading.score
            self.lagBuckets = reading.lagBuckets
            self.effectiveSize = reading.effectiveSize
            self.intervalLow = reading.intervalLow
            self.intervalHigh = reading.intervalHigh
        }
    }

    let kind: EdgeChange.Kind
    let windowEnd: Timestamp
    /// Whose clock it was seen by.
    let domain: String
    let layer: String
    let source: NodeKey
    let target: NodeKey
    let estimator: Edge.Estimator
    /// Left out where there is no such reading.
    let before: Reading?
    let after: Reading?
    let halfLifeMs: Double?

    init(_ item: ChangeReader.Item) {
        let change = item.change
        self.kind = change.kind
        self.windowEnd = change.windowEnd
        self.domain = item.domain
        self.layer = change.layer.code
        self.source = change.source
        self.target = change.target
        self.estimator = change.estimator
        self.before = change.before.map(Reading.init)
        self.after = change.after.map(Reading.init)
        self.halfLifeMs = change.halfLifeMs
    }
}

/// What two graphs of an event do not have in common.
struct DifferenceDocument: Encodable, Sendable {
    struct Side: Encodable, Sendable {
        let id: String
        let windowEnd: Timestamp
        let edges: Int
    }

    struct EdgeItem: Encodable, Sendable {
        enum Change: String, Encodable { case added, removed, changed }

        let change: Change
        let layer: String
        let source: NodeKey
        let target: NodeKey
        let estimator: Edge.Estimator
        /// Left out where the edge is not in that graph.
        let from: EdgeValues?
        let to: EdgeValues?
    }

    struct LayerItem: Encodable, Sendable {
        let layer: String
        let from: LayerReport.State?
        let to: LayerReport.State?
    }

    let event: String
    let from: Side
    let to: Side
    /// Layers whose state is another one.
    let layers: [LayerItem]
    let edges: [EdgeItem]
    /// Edges with the same values in both.
    let unchanged: Int

    init(_ from: GraphHistory.Stored, _ to: GraphHistory.Stored) {
        let difference = GraphDifference(from: from.edges, to: to.edges)
        self.event = to.event
        self.from = Side(id: from.id, windowEnd: from.windowEnd, edges: from.edges.count)
        self.to = Side(id: to.id, windowEnd: to.windowEnd, edges: to.edges.count)
        self.layers = Layer.allCases.compactMap { layer in
            let states = [from, to].map { graph in graph.layers.first { $0.layer == layer }?.state }
            return states[0] == states[1] ? nil : LayerItem(layer: layer.code, from: states[0], to: states[1])
        }
        self.edges = difference.entries.map { entry in
            EdgeItem(
                change: entry.from == nil ? .added : entry.to == nil ? .removed : .changed,
                layer: entry.place.layer.code, source: entry.place.source, target: entry.place.target,
                estimator: entry.place.estimator, from: entry.from, to: entry.to)
        }
        self.unchanged = difference.unchanged
    }
}
