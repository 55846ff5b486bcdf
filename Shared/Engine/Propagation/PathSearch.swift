import Model

/// Exact hop-limited search for the best way of a shock.
///
/// A path's rank is the product of its link weights, all in (0, 1]. With f(h, v) = the largest product over walks of exactly
/// h links from the source to v, f(0, source) = 1 and
///
///     f(h, v) = max over links (u, v) of f(h - 1, u) x weight(u, v)
///
/// f(h, v) is kept only where it exceeds f(k, v) for every k < h. This loses nothing: a walk through a dropped entry can take
/// the better prefix instead, which has fewer links and no smaller product, because no factor is above 1. A walk made of kept
/// entries is simple: had it met v at k and again at h > k, f(h, v) <= f(k, v) would have dropped the latter. So the best
/// walk within `depth` links is the best path, and no enumeration is needed. Entries not above the best product found for
/// the target so far cannot lead to a better one either and are dropped.
///
/// Ties go to fewer links, then to the path whose nodes come first in ascending order, node by node. Products are taken from
/// the source on. Cost O(depth x m) for m links at worst; the two rules above usually end it far earlier.
public struct PathSearch: Sendable {
    /// Least and most links a path may have.
    public static let depths = 1...8

    public let graph: PropagationGraph

    public init(graph: PropagationGraph) { self.graph = graph }

    public init(edges: [Edge]) { self.graph = PropagationGraph(edges: edges) }

    /// The best path of at most `depth` links.
    ///
    /// - Parameters:
    ///   - depth: held within ``depths``.
    ///   - shock: change of the source, source units.
    /// - Precondition: `shock` is finite.
    public func bestPath(from source: NodeKey, to target: NodeKey, depth: Int, shock: Double = 1) -> PathOutcome {
        precondition(shock.isFinite, "a shock has a size")
        guard let start = self.graph.number(of: source) else { return .none(.unknownNode(source)) }
        guard let goal = self.graph.number(of: target) else { return .none(.unknownNode(target)) }
        guard start != goal else { return .none(.sameNode) }
        guard self.graph.rowStart[start] < self.graph.rowStart[start + 1] else { return .none(.deadEnd(source)) }
        let depth = min(Self.depths.upperBound, max(Self.depths.lowerBound, depth))
        var layers = HopLayers(graph: self.graph, source: start, depth: depth, goal: goal)
        layers.run()
        guard let links = layers.links(to: goal) else {
            return .none(.outOfReach(depth: depth, reached: self.reach(from: start, depth: depth)))
        }
        return .path(self.path(from: start, links: links, shock: shock))
    }

    /// Every node the shock reaches, each by its best path, in order of arrival (then rank, then name).
    ///
    /// - Parameters:
    ///   - depth: hops at most; held within ``depths``.
    ///   - shock: of the source, in its standard deviations.
    ///   - floor: least |response| kept, in standard deviations of the node per one of the source, 0 ... 1.
    ///   - limit: nodes kept at most, 0 and more, the strongest responses first.
    /// - Precondition: `shock` is finite, `floor` is a number.
    public func blastRadius(
        from source: NodeKey, depth: Int, shock: Double = 1, floor: Double = 0.1, limit: Int = 1_000
    ) -> [PropagationPath] {
        precondition(shock.isFinite && !floor.isNaN, "a shock has a size, and so has what is left of it")
        guard let start = self.graph.number(of: source) else { return [] }
        let depth = min(Self.depths.upperBound, max(Self.depths.lowerBound, depth))
        var layers = HopLayers(graph: self.graph, source: start, depth: depth, goal: nil)
        layers.run()
        // Numbers of nodes are in the order of their names. A path is only made of what is kept.
        var kept: [(node: Int, strength: Double)] = []
        for node in 0..<self.graph.nodes.count where node != start {
            guard let response = layers.response(of: node) else { continue }
            if abs(response) >= floor { kept.append((node, abs(response))) }
        }
        if kept.count > limit {
            kept.sort { ($1.strength, $0.node) < ($0.strength, $1.node) }
            kept.removeLast(kept.count - max(0, limit))
        }
        var paths = kept.compactMap { entry in
            layers.links(to: entry.node).map { (entry.node, self.path(from: start, links: $0, shock: shock)) }
        }
        paths.sort { ($0.1.latencyMs, -$0.1.rank, $0.0) < ($1.1.latencyMs, -$1.1.rank, $1.0) }
        return paths.map(\.1)
    }

    /// How many nodes can be reached within `depth` links.
    private func reach(from start: Int, depth: Int) -> Int {
        var layers = HopLayers(graph: self.graph, source: start, depth: depth, goal: nil)
        layers.run()
        return layers.reached - 1
    }

    private func path(from start: Int, links: [Int], shock: Double) -> PropagationPath {
        PropagationPath(
            nodes: [self.graph.nodes[start]]
                + links.map { self.graph.nodes[Int(self.graph.targets[$0])] },
            links: links.map { self.graph.links[$0] }, shock: shock)
    }
}
