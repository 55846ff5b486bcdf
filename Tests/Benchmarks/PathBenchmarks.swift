import Engine
import Model

/// The best path for a shock through 200 nodes and 4,000 edges.
enum PathBenchmarks {
    static let benchmark = BenchmarkCase(name: "paths", run: Self.run)
    static let seed: UInt64 = 17
    /// Depth, and what the system this replaces took, in microseconds; at depth 8 it does not finish.
    static let depths: [(depth: Int, peer: Double?)] = [(2, 4_458), (4, 186_900), (8, nil)]

    static func run() throws -> [Measurement] {
        print("paths: seed \(Self.seed), 1 thread, float64, 200 nodes, 4,000 edges, 64 questions in turn")
        let edges = Self.edges()
        let search = PathSearch(edges: edges)
        let questions = (0..<64).map { (Self.node($0 * 37 % 200), Self.node(($0 * 53 + 101) % 200)) }
        var results: [Measurement] = []
        for (depth, peer) in Self.depths {
            try Self.check(search, edges: edges, questions: questions, depth: depth)
            var turn = 0
            results.append(
                try Measurement.time(
                    "best path, 200 nodes / 4,000 edges, depth \(depth)", repeats: questions.count,
                    peer: peer.map { ("enumeration", $0) }
                ) {
                    let (source, target) = questions[turn % questions.count]
                    turn += 1
                    if case .none(.unknownNode(let node)) = search.bestPath(from: source, to: target, depth: depth) {
                        throw WrongAnswer(description: "\(node.display) is unknown")
                    }
                })
        }
        return results
    }

    static func node(_ number: Int) -> NodeKey {
        NodeKey(domain: "bench", event: "event-\(number % 20)", market: "market-\(number)", venue: "venue")
    }

    /// As many edges from each node to others drawn at random, |r| in 0.55 ... 0.95, confidence in 0.5 ... 1.
    static func edges(nodes: Int = 200, degree: Int = 20, seed: UInt64 = Self.seed) -> [Edge] {
        var state = seed
        func uniform() -> Double {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Double(state >> 11) / 9_007_199_254_740_992
        }
        let end = Timestamp(milliseconds: 7_200_000)
        return (0..<nodes).flatMap { source in
            var targets: Set<Int> = []
            while targets.count < degree {
                let target = Int(uniform() * Double(nodes))
                if target != source { targets.insert(target) }
            }
            return targets.sorted().map { target in
                let score = (0.55 + 0.4 * uniform()) * (uniform() < 0.5 ? -1 : 1)
                return Edge(
                    source: Self.node(source), target: Self.node(target),
                    layer: Layer(of: Self.node(source), and: Self.node(target)), relation: .leadLag,
                    estimator: .pearson, score: score, lagBuckets: 1, latencyMs: 60_000 * uniform(),
                    lagSource: .baseline, overlap: 120, effectiveSize: 100, intervalLow: score - 0.1,
                    intervalHigh: score + 0.1, pValue: 0, qValue: 0, confidence: 0.5 + 0.5 * uniform(),
                    expectedPropagation: score, bucketMs: 60_000, windowStart: Timestamp(milliseconds: 0),
                    windowEnd: end, detectedAt: end)
            }
        }
    }

    /// The rank of every answer against all walks of at most `depth` links, layer by layer without any pruning.
    static func check(
        _ search: PathSearch, edges: [Edge], questions: [(NodeKey, NodeKey)], depth: Int
    ) throws {
        for (source, target) in questions {
            var layer: [NodeKey: Double] = [source: 1]
            var best = 0.0
            for _ in 0..<depth {
                var next: [NodeKey: Double] = [:]
                for edge in edges {
                    if let value = layer[edge.source] {
                        next[edge.target] = max(next[edge.target] ?? 0, value * edge.weight)
                    }
                    if edge.relation == .contemporaneous, let value = layer[edge.target] {
                        next[edge.source] = max(next[edge.source] ?? 0, value * edge.weight)
                    }
                }
                layer = next
                best = max(best, layer[target] ?? 0)
            }
            switch search.bestPath(from: source, to: target, depth: depth) {
            case .path(let path):
                guard abs(path.rank - best) < 1e-12, Set(path.nodes).count == path.nodes.count, path.hops <= depth
                else { throw WrongAnswer(description: "rank \(path.rank), the reference has \(best)") }
            case .none:
                guard best == 0 else { throw WrongAnswer(description: "no path, the reference has \(best)") }
            }
        }
    }
}
