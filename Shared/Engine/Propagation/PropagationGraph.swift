import Model

/// The edges a shock can pass: a ``SparseGraph`` with what each of its m arcs does to a shock.
///
/// A directed edge is one arc; an edge of lag 0 is two, with latency 0, since it has no direction.
public struct PropagationGraph: Sendable {
    public let arcs: SparseGraph
    /// The arcs leaving node i are `rowStart[i] ..< rowStart[i + 1]`. Count: n + 1.
    public let rowStart: [Int]
    /// |r| x confidence, 0 ... 1. Count: m.
    public let weights: [Double]
    /// Count: m.
    public let links: [PropagationLink]

    public init(_ arcs: SparseGraph) {
        let links = arcs.edges.withUnsafeBufferPointer { edges in
            arcs.edgeIndex.indices.map { arc in
                let link = PropagationLink(edges[Int(arcs.edgeIndex[arc])])
                return arcs.isReversed[arc] ? link.reversed : link
            }
        }
        self.arcs = arcs
        self.rowStart = arcs.rowStart.map(Int.init)
        self.links = links
        self.weights = links.map(\.weight)
    }

    public init(edges: [Edge]) { self.init(SparseGraph(edges: edges)) }

    /// n nodes, ascending.
    public var nodes: [NodeKey] { self.arcs.nodes }
    /// Node each arc leads to. Count: m.
    public var targets: [Int32] { self.arcs.column }

    /// The number of a node; nil when no edge touches it.
    public func number(of node: NodeKey) -> Int? { self.arcs.number(of: node).map(Int.init) }
}

/// One way a shock can pass from a node to another.
public struct PropagationLink: Sendable, Hashable, Codable {
    /// r at the edge's lag, -1 ... 1.
    public var score: Double
    /// 0 ... 1.
    public var confidence: Double
    /// Target units per source unit.
    public var beta: Double
    /// Relative standard error of beta: sqrt((1 - r^2) / (n_eff - 2)) / |r|.
    public var relativeError: Double
    public var latencyMs: Double
    public var layer: Layer

    /// The link along the edge.
    @inline(__always)
    public init(_ edge: Edge) {
        let score = min(1, max(-1, edge.score))
        self.score = score
        self.confidence = min(1, max(0, edge.confidence))
        self.beta = edge.expectedPropagation
        self.relativeError =
            score == 0
            ? .infinity : ((1 - score * score) / max(1, edge.effectiveSize - 2)).squareRoot() / abs(score)
        self.latencyMs = edge.lagBuckets == 0 ? 0 : max(0, edge.latencyMs)
        self.layer = edge.layer
    }

    /// |r| x confidence, 0 ... 1; 0 where either is not a number.
    public var weight: Double {
        let product = abs(self.score) * self.confidence
        return product.isFinite ? product : 0
    }

    /// The same relation the other way: with beta = r sd(target) / sd(source), the reverse beta is r^2 / beta.
    public var reversed: PropagationLink {
        var link = self
        link.beta = self.beta == 0 ? 0 : self.score * self.score / self.beta
        return link
    }
}
