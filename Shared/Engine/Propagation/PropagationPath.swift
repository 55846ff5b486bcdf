import Model

/// A way a shock takes, and what it does at the end.
public struct PropagationPath: Sendable, Hashable, Codable {
    /// Source first, target last; one more than hops.
    public var nodes: [NodeKey]
    public var links: [PropagationLink]
    /// Product of |r| x confidence, what paths are ranked by. 0 ... 1.
    public var rank: Double
    /// Product of confidences, 0 ... 1.
    public var confidence: Double
    /// Signed product of r: the expected response in standard deviations of the target per one of the source.
    public var response: Double
    /// Signed product of betas, target units per source unit.
    public var beta: Double
    /// Change of the target after the shock, target units: beta x shock, with its 95 % interval.
    public var impact: Double
    public var impactLow: Double
    public var impactHigh: Double
    /// Sum of latencies.
    public var latencyMs: Double

    public var hops: Int { self.links.count }

    /// - Parameter shock: change of the source, source units.
    ///
    /// The interval is by the delta method: relative errors of independent factors add in squares,
    /// sd(impact) = |impact| sqrt(sum relativeError^2), interval impact +- 1.96 sd.
    init(nodes: [NodeKey], links: [PropagationLink], shock: Double) {
        self.nodes = nodes
        self.links = links
        self.rank = links.reduce(1) { $0 * $1.weight }
        self.confidence = links.reduce(1) { $0 * $1.confidence }
        self.response = links.reduce(1) { $0 * $1.score }
        let beta = links.reduce(1) { $0 * $1.beta }
        let relativeError = links.reduce(0) { $0 + $1.relativeError * $1.relativeError }.squareRoot()
        let half = beta * shock == 0 ? 0 : 1.959_963_984_540_054 * relativeError * abs(beta * shock)
        self.beta = beta
        self.impact = beta * shock
        self.impactLow = beta * shock - half
        self.impactHigh = beta * shock + half
        self.latencyMs = links.reduce(0) { $0 + $1.latencyMs }
    }
}

/// The best path, or why there is none.
public enum PathOutcome: Sendable, Hashable {
    case path(PropagationPath)
    case none(PathAbsence)
}

/// Why no path was found.
public enum PathAbsence: Sendable, Hashable {
    /// No accepted edge touches the node.
    case unknownNode(NodeKey)
    case sameNode
    /// Nothing leads away from the source.
    case deadEnd(NodeKey)
    /// No way within the depth; `reached` nodes can be reached within it.
    case outOfReach(depth: Int, reached: Int)

    /// The reason for a person.
    public var explanation: String {
        switch self {
        case .unknownNode(let node): "no accepted edge touches \(node.display)"
        case .sameNode: "source and target are the same node"
        case .deadEnd(let node): "no accepted edge leads away from \(node.display)"
        case .outOfReach(let depth, let reached):
            "the target is not among the \(reached) nodes that can be reached within \(depth) "
                + (depth == 1 ? "hop" : "hops")
        }
    }
}
