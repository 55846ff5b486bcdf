import Model

/// Finds edges that a common neighbour explains: with the strongest one held fixed, the correlation falls under the
/// layer's threshold.
struct CommonNeighbours {
    /// |r| signed, by node, of the strongest accepted edge between two nodes of one event's graph.
    private var scores: [NodeKey: [NodeKey: Double]] = [:]
    private let thresholds: LayerThresholds

    init(edges: [Edge], thresholds: LayerThresholds) {
        self.thresholds = thresholds
        for edge in edges where edge.estimator == .pearson {
            for (from, to) in [(edge.source, edge.target), (edge.target, edge.source)]
            where abs(edge.score) > abs(self.scores[from]?[to] ?? 0) {
                self.scores[from, default: [:]][to] = edge.score
            }
        }
    }

    /// The neighbour that explains an edge; nil when none does.
    func explanation(of edge: Edge) -> NodeKey? {
        guard edge.estimator == .pearson, let ofSource = self.scores[edge.source],
            let ofTarget = self.scores[edge.target]
        else { return nil }
        let (fewer, more) = ofSource.count <= ofTarget.count ? (ofSource, ofTarget) : (ofTarget, ofSource)
        var best: (node: NodeKey, strength: Double, product: Double, first: Double, second: Double)?
        for (node, first) in fewer {
            guard let second = more[node] else { continue }
            let strength = abs(first * second)
            if let known = best, (strength, known.node) <= (known.strength, node) { continue }
            best = (node, strength, first * second, first, second)
        }
        guard let best else { return nil }
        let rest = (1 - best.first * best.first) * (1 - best.second * best.second)
        guard rest > 0 else { return best.node }
        let partial = ((edge.score - best.product) / rest.squareRoot()).roundedToNine
        return abs(partial) < self.thresholds[edge.layer] ? best.node : nil
    }
}
