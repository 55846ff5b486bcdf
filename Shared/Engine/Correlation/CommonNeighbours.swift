import Model

/// Finds edges that a common neighbour explains: with the strongest one held fixed, the correlation falls under the
/// layer's threshold.
struct CommonNeighbours {
    private let edges: [Edge]
    private let thresholds: LayerThresholds
    private var nodes: [NodeKey] = []
    /// Numbers of source and target of each edge; -1 where the edge takes no part.
    private var ends: [(source: Int, target: Int)] = []
    /// By node: neighbours with the score of the edge between.
    private var arcs: [[(node: Int, score: Double)]] = []
    /// The score of an arc from the source in hand, by neighbour; valid where `owner` is that source.
    private var slots: [Double] = []
    private var owner: [Int] = []

    init(edges: [Edge], thresholds: LayerThresholds) {
        self.edges = edges
        self.thresholds = thresholds
        guard edges.count > 2 else { return }
        var numbers: [NodeKey: Int] = [:]
        self.ends.reserveCapacity(edges.count)
        for edge in edges {
            guard edge.estimator == .pearson else {
                self.ends.append((-1, -1))
                continue
            }
            let (source, target) = (self.number(edge.source, &numbers), self.number(edge.target, &numbers))
            self.ends.append((source, target))
            self.arcs[source].append((target, edge.score))
            self.arcs[target].append((source, edge.score))
        }
        self.slots = [Double](repeating: 0, count: self.nodes.count)
        self.owner = [Int](repeating: -1, count: self.nodes.count)
    }

    private mutating func number(_ node: NodeKey, _ numbers: inout [NodeKey: Int]) -> Int {
        if let known = numbers[node] { return known }
        numbers[node] = self.nodes.count
        self.nodes.append(node)
        self.arcs.append([])
        return self.nodes.count - 1
    }

    /// By edge, the neighbour that explains it; nil where none does.
    mutating func explanations() -> [NodeKey?] {
        var result = [NodeKey?](repeating: nil, count: self.edges.count)
        // Edges of one source in a row, so that its arcs are laid out once.
        for index in self.ends.indices.sorted(by: { self.ends[$0].source < self.ends[$1].source })
        where self.ends[index].source >= 0 {
            if let node = self.explanation(index) { result[index] = self.nodes[node] }
        }
        return result
    }

    private mutating func explanation(_ index: Int) -> Int? {
        let (source, target) = self.ends[index]
        for arc in self.arcs[source]
        where self.owner[arc.node] != source || abs(arc.score) > abs(self.slots[arc.node]) {
            self.owner[arc.node] = source
            self.slots[arc.node] = arc.score
        }
        var best: (node: Int, strength: Double, first: Double, second: Double)?
        for (node, second) in self.arcs[target] where self.owner[node] == source {
            let first = self.slots[node]
            let strength = abs(first * second)
            if let known = best {
                if strength < known.strength { continue }
                if strength == known.strength, !(self.nodes[node] < self.nodes[known.node]) { continue }
            }
            best = (node, strength, first, second)
        }
        guard let best else { return nil }
        let rest = (1 - best.first * best.first) * (1 - best.second * best.second)
        guard rest > 0 else { return best.node }
        let partial = ((self.edges[index].score - best.first * best.second) / rest.squareRoot()).roundedToNine
        return abs(partial) < self.thresholds[self.edges[index].layer] ? best.node : nil
    }
}
