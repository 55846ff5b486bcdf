import Engine
import Model
import PlantedData
import Testing

/// Edges between nodes `n0`, `n1` ... for tests of the search.
enum TestGraph {
    static func node(_ number: Int) -> NodeKey {
        NodeKey(domain: "d", event: "e", market: String(number + 1_000), venue: "v")
    }

    static func edge(
        _ source: Int, _ target: Int, score: Double = 0.9, confidence: Double = 1, lag: Int = 1, beta: Double = 1,
        effectiveSize: Double = 102
    ) -> Edge {
        Edge(
            source: Self.node(source), target: Self.node(target), layer: .direct,
            relation: lag == 0 ? .contemporaneous : .leadLag, estimator: .pearson, score: score, lagBuckets: lag,
            latencyMs: Double(lag) * 1_000, lagSource: .baseline, overlap: 120, effectiveSize: effectiveSize,
            intervalLow: 0, intervalHigh: 1, pValue: 0, qValue: 0, confidence: confidence, expectedPropagation: beta,
            bucketMs: 1_000, windowStart: Timestamp(milliseconds: 0), windowEnd: Timestamp(milliseconds: 120_000),
            detectedAt: Timestamp(milliseconds: 120_000))
    }

    /// Every simple path from `source` within `depth` links, by plain recursion.
    static func simplePaths(_ edges: [Edge], from source: Int, depth: Int) -> [(nodes: [NodeKey], rank: Double)] {
        var arcs: [NodeKey: [(NodeKey, Double)]] = [:]
        for edge in edges {
            arcs[edge.source, default: []].append((edge.target, edge.weight))
            if edge.lagBuckets == 0 { arcs[edge.target, default: []].append((edge.source, edge.weight)) }
        }
        var found: [(nodes: [NodeKey], rank: Double)] = []
        func walk(_ nodes: [NodeKey], _ rank: Double) {
            guard let last = nodes.last, nodes.count <= depth else { return }
            for (next, weight) in arcs[last] ?? [] where !nodes.contains(next) && weight > 0 {
                found.append((nodes + [next], rank * weight))
                walk(nodes + [next], rank * weight)
            }
        }
        walk([Self.node(source)], 1)
        return found
    }

    /// The best of them to a target: largest rank, fewest links, first in ascending order of nodes.
    static func best(_ paths: [(nodes: [NodeKey], rank: Double)], to target: Int) -> (nodes: [NodeKey], rank: Double)? {
        paths.filter { $0.nodes.last == Self.node(target) }.min { one, other in
            if one.rank != other.rank { return one.rank > other.rank }
            if one.nodes.count != other.nodes.count { return one.nodes.count < other.nodes.count }
            return one.nodes.lexicographicallyPrecedes(other.nodes)
        }
    }
}

@Suite("Path search")
struct PathSearchTests {
    @Test("finds the very path that trying all of them finds", arguments: 1...40)
    func agreesWithEnumeration(seed: Int) {
        var random = SeededNumbers(seed: UInt64(seed))
        let count = 7
        // Powers of two on every other graph, so that equal products are common and exact.
        let isTied = seed % 2 == 0
        var edges: [Edge] = []
        for source in 0..<count {
            for target in 0..<count where source != target && random.uniform() < 0.35 {
                let size = isTied ? [1, 0.5, 0.25][Int(random.uniform() * 3)] : 0.2 + 0.8 * random.uniform()
                edges.append(
                    TestGraph.edge(
                        source, target, score: random.uniform() < 0.5 ? size : -size,
                        confidence: isTied ? 1 : random.uniform(), lag: random.uniform() < 0.3 ? 0 : 1))
            }
        }
        let search = PathSearch(edges: edges)
        for depth in 1...5 {
            let paths = TestGraph.simplePaths(edges, from: 0, depth: depth)
            for target in 1..<count {
                let expected = TestGraph.best(paths, to: target)
                switch search.bestPath(from: TestGraph.node(0), to: TestGraph.node(target), depth: depth) {
                case .path(let path):
                    #expect(path.nodes == expected?.nodes)
                    #expect(abs(path.rank - (expected?.rank ?? -1)) < 1e-12)
                    #expect(path.hops <= depth)
                case .none: #expect(expected == nil)
                }
            }
        }
    }

    @Test("the blast radius is the best path to every node that can be reached", arguments: 1...10)
    func blastRadiusIsEveryBestPath(seed: Int) {
        var random = SeededNumbers(seed: UInt64(100 + seed))
        var edges: [Edge] = []
        for source in 0..<9 {
            for target in 0..<9 where source != target && random.uniform() < 0.2 {
                edges.append(TestGraph.edge(source, target, score: 0.3 + 0.7 * random.uniform(), lag: 1 + source % 3))
            }
        }
        let search = PathSearch(edges: edges)
        let reached = search.blastRadius(from: TestGraph.node(0), depth: 4, floor: 0)
        let expected = Set(TestGraph.simplePaths(edges, from: 0, depth: 4).compactMap { $0.nodes.last })
        #expect(Set(reached.compactMap { $0.nodes.last }) == expected)
        #expect(reached.map(\.latencyMs) == reached.map(\.latencyMs).sorted())
        for path in reached {
            guard let last = path.nodes.last else { continue }
            #expect(search.bestPath(from: TestGraph.node(0), to: last, depth: 4) == .path(path))
        }
        let strong = search.blastRadius(from: TestGraph.node(0), depth: 4, floor: 0.5)
        #expect(strong == reached.filter { abs($0.response) >= 0.5 })
    }

    @Test("impact is the signed product of betas with the delta-method interval, latency the sum")
    func reportsImpact() throws {
        let edges = [
            TestGraph.edge(0, 1, score: 0.8, confidence: 0.9, lag: 2, beta: -3, effectiveSize: 52),
            TestGraph.edge(1, 2, score: 0.6, confidence: 0.5, lag: 1, beta: 0.5, effectiveSize: 102),
        ]
        let outcome = PathSearch(edges: edges).bestPath(
            from: TestGraph.node(0), to: TestGraph.node(2), depth: 3, shock: 10)
        guard case .path(let path) = outcome else {
            Issue.record("no path")
            return
        }
        #expect(abs(path.impact - -15) < 1e-12)
        #expect(abs(path.confidence - 0.45) < 1e-12)
        #expect(abs(path.rank - 0.8 * 0.9 * 0.6 * 0.5) < 1e-12)
        #expect(path.latencyMs == 3_000)
        // (1 - .64) / 50 / .64 + (1 - .36) / 100 / .36
        let half = 1.959963984540054 * 15 * (0.36 / 50 / 0.64 + 0.64 / 100 / 0.36).squareRoot()
        #expect(abs(path.impactHigh - (-15 + half)) < 1e-9)
        #expect(abs(path.impactLow - (-15 - half)) < 1e-9)
    }

    @Test("an edge of lag 0 passes both ways without delay, and back again leaves r squared")
    func passesBothWays() {
        let edges = [TestGraph.edge(0, 1, score: 0.8, lag: 0, beta: 4)]
        let search = PathSearch(edges: edges)
        guard case .path(let there) = search.bestPath(from: TestGraph.node(0), to: TestGraph.node(1), depth: 1),
            case .path(let back) = search.bestPath(from: TestGraph.node(1), to: TestGraph.node(0), depth: 1)
        else {
            Issue.record("no path")
            return
        }
        #expect(there.latencyMs == 0 && back.latencyMs == 0)
        #expect(abs(there.beta * back.beta - 0.64) < 1e-12)
    }

    @Test("says why there is no path")
    func explainsAbsence() {
        let search = PathSearch(edges: [TestGraph.edge(0, 1), TestGraph.edge(1, 2), TestGraph.edge(2, 3)])
        let (first, last, stranger) = (TestGraph.node(0), TestGraph.node(3), TestGraph.node(9))
        #expect(search.bestPath(from: first, to: last, depth: 2) == .none(.outOfReach(depth: 2, reached: 2)))
        #expect(search.bestPath(from: last, to: first, depth: 8) == .none(.deadEnd(last)))
        #expect(search.bestPath(from: first, to: first, depth: 8) == .none(.sameNode))
        #expect(search.bestPath(from: stranger, to: first, depth: 8) == .none(.unknownNode(stranger)))
        #expect(PathAbsence.outOfReach(depth: 2, reached: 2).explanation.contains("within 2 hops"))
    }

    @Test("a way of eight links is found at depth 8 and not at depth 7")
    func obeysDepth() {
        let search = PathSearch(edges: (0..<8).map { TestGraph.edge($0, $0 + 1) })
        guard case .path(let path) = search.bestPath(from: TestGraph.node(0), to: TestGraph.node(8), depth: 8) else {
            Issue.record("no path")
            return
        }
        #expect(path.hops == 8)
        #expect(
            search.bestPath(from: TestGraph.node(0), to: TestGraph.node(8), depth: 7)
                == .none(.outOfReach(depth: 7, reached: 7)))
    }
}
