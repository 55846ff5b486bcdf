import Model

/// Finds edges that a common neighbour explains: with the strongest one held fixed, the correlation falls under the
/// layer's threshold.
struct CommonNeighbours {
    /// What counts of an edge: its nodes by rank.
    struct Arc {
        var source: Int
        var target: Int
        var score: Double
        /// |r| its layer asks for.
        var threshold: Double
    }

    private let arcs: [Arc]
    /// By node: where its neighbours begin in `neighbours`; one more than nodes.
    private var starts: [Int]
    /// Neighbours with the score of the edge between.
    private var neighbours: [(node: Int, score: Double)]
    /// The score of an arc from the source in hand, by neighbour; valid where `owner` is that source.
    private var slots: [Double]
    private var owner: [Int]

    /// - Parameter nodes: how many ranks there are.
    init(arcs: [Arc], nodes: Int) {
        self.arcs = arcs
        self.starts = [Int](repeating: 0, count: nodes + 2)
        self.neighbours = [(node: Int, score: Double)](repeating: (0, 0), count: 2 * arcs.count)
        self.slots = [Double](repeating: 0, count: nodes)
        self.owner = [Int](repeating: -1, count: nodes)
        // Counted two places further on, summed, and moved on while filling: afterwards node k begins at starts[k].
        for arc in arcs {
            self.starts[arc.source + 2] += 1
            self.starts[arc.target + 2] += 1
        }
        for index in self.starts.indices.dropFirst() { self.starts[index] += self.starts[index - 1] }
        for arc in arcs {
            self.neighbours[self.starts[arc.source + 1]] = (arc.target, arc.score)
            self.starts[arc.source + 1] += 1
            self.neighbours[self.starts[arc.target + 1]] = (arc.source, arc.score)
            self.starts[arc.target + 1] += 1
        }
    }

    /// By arc, the rank of the neighbour that explains it; nil where none does.
    mutating func explanations() -> [Int?] {
        var result = [Int?](repeating: nil, count: self.arcs.count)
        guard self.arcs.count > 2 else { return result }
        // Edges of one source in a row, so that its arcs are laid out once.
        for index in self.arcs.indices.sorted(by: { self.arcs[$0].source < self.arcs[$1].source }) {
            result[index] = self.explanation(self.arcs[index])
        }
        return result
    }

    private mutating func explanation(_ arc: Arc) -> Int? {
        let source = arc.source
        for (node, score) in self.neighbours[self.starts[source]..<self.starts[source + 1]]
        where self.owner[node] != source || abs(score) > abs(self.slots[node]) {
            self.owner[node] = source
            self.slots[node] = score
        }
        var best: (node: Int, strength: Double, first: Double, second: Double)?
        for (node, second) in self.neighbours[self.starts[arc.target]..<self.starts[arc.target + 1]]
        where self.owner[node] == source {
            let first = self.slots[node]
            let strength = abs(first * second)
            if let known = best {
                if strength < known.strength { continue }
                if strength == known.strength, node >= known.node { continue }
            }
            best = (node, strength, first, second)
        }
        guard let best else { return nil }
        guard let partial = PartialCorrelation.value(arc.score, first: best.first, second: best.second) else {
            return best.node
        }
        return abs(partial.roundedToNine) < arc.threshold ? best.node : nil
    }
}

/// What is left of a correlation when a third series is held fixed.
package enum PartialCorrelation {
    /// - Parameters:
    ///   - whole: correlation of both series.
    ///   - first: of the first with the third; -1 ... 1, as `second`.
    /// - Returns: nil where the third says all about one of them.
    package static func value(_ whole: Double, first: Double, second: Double) -> Double? {
        let rest = (1 - first * first) * (1 - second * second)
        return rest > 0 ? (whole - first * second) / rest.squareRoot() : nil
    }
}
