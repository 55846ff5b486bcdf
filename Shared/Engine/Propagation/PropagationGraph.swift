import Model

/// The edges a shock can pass, as compressed sparse rows over interned nodes.
///
/// With n nodes in ascending order and m links: the links leaving node i are `rowStart[i] ..< rowStart[i + 1]`, their targets
/// ascending. A directed edge is one link; an edge of lag 0 is two, with latency 0, since it has no direction. Of several
/// edges between the same two nodes in the same direction the one with the largest |r| x confidence is kept.
public struct PropagationGraph: Sendable {
    /// n nodes, ascending, without repetition.
    public let nodes: [NodeKey]
    /// n + 1 offsets.
    public let rowStart: [Int]
    /// Node each link leads to, in 0 ..< n. Count: m.
    public let targets: [Int32]
    /// |r| x confidence, above 0, at most 1. Count: m.
    public let weights: [Double]
    /// What each link does to a shock. Count: m.
    public let links: [PropagationLink]
    private let index: [NodeKey: Int]

    public init(edges: [Edge]) {
        var names = Set<NodeKey>()
        for edge in edges {
            names.insert(edge.source)
            names.insert(edge.target)
        }
        let nodes = names.sorted()
        var index: [NodeKey: Int] = [:]
        for (number, node) in nodes.enumerated() { index[node] = number }
        var entries: [(source: Int, target: Int, link: PropagationLink)] = []
        for edge in edges {
            guard let source = index[edge.source], let target = index[edge.target], source != target else { continue }
            let link = PropagationLink(edge)
            guard link.weight > 0 else { continue }
            entries.append((source, target, link))
            if edge.lagBuckets == 0 { entries.append((target, source, link.reversed)) }
        }
        entries.sort {
            ($0.source, $0.target, -$0.link.weight, $0.link.latencyMs)
                < ($1.source, $1.target, -$1.link.weight, $1.link.latencyMs)
        }
        var rowStart = [Int](repeating: 0, count: nodes.count + 1)
        var targets: [Int32] = []
        var links: [PropagationLink] = []
        var last = (-1, -1)
        for entry in entries where (entry.source, entry.target) != last {
            last = (entry.source, entry.target)
            rowStart[entry.source + 1] += 1
            targets.append(Int32(entry.target))
            links.append(entry.link)
        }
        for row in 0..<nodes.count { rowStart[row + 1] += rowStart[row] }
        self.nodes = nodes
        self.rowStart = rowStart
        self.targets = targets
        self.weights = links.map(\.weight)
        self.links = links
        self.index = index
    }

    /// The number of a node; nil when no edge touches it.
    public func number(of node: NodeKey) -> Int? { self.index[node] }
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
