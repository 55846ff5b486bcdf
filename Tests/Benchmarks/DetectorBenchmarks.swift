import Engine
import Model

/// What one closed bucket costs the detectors of graph-builder.
enum DetectorBenchmarks {
    static let benchmark = BenchmarkCase(name: "detectors", run: Self.run)
    static let nodes = 2_000
    static let linksPerNode = 10

    static func run() throws -> [Measurement] {
        print("detectors: 1 thread, float64, \(Self.nodes) nodes, \(Self.nodes * Self.linksPerNode) links, 841 buckets")
        let names = (0..<Self.nodes).map {
            NodeKey(domain: "bench", event: "event", market: String(10_000 + $0), venue: "venue")
        }
        var state: UInt64 = 23
        func noise() -> Double {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Double(state >> 11) / 9_007_199_254_740_992 - 0.5
        }
        let length = 841
        let rounds = 24
        let shared = (0..<length + rounds).map { _ in noise() }
        let rows = names.map { _ in shared.map { 0.9 * $0 + 0.3 * noise() } }
        let blocks = (0..<rounds).map { round in
            SeriesBlock(
                nodes: names, bucketMs: 60_000, windowEnd: Timestamp(milliseconds: Int64(length + round) * 60_000),
                length: length, values: rows.flatMap { $0[round..<round + length] })
        }
        let edges = names.indices.flatMap { source in
            (1...Self.linksPerNode).map { step in
                Self.edge(names[source], names[(source + step * 7) % names.count], end: blocks[0].windowEnd)
            }
        }
        var detector = LinkDetector(event: "event")
        guard detector.observe(block: blocks[0], edges: edges).isEmpty, detector.followedLinks == edges.count else {
            throw WrongAnswer(description: "undisturbed links are followed and raise nothing")
        }
        var round = 1
        return [
            Measurement.time("follow 20,000 links for one bucket", rounds: rounds - 2, repeats: 1) {
                _ = detector.observe(block: blocks[round % rounds], edges: [])
                round += 1
            }
        ]
    }

    private static func edge(_ source: NodeKey, _ target: NodeKey, end: Timestamp) -> Edge {
        Edge(
            source: source, target: target, layer: .crossMarket, relation: .contemporaneous, estimator: .pearson,
            score: 0.9, lagBuckets: 0, latencyMs: 0, lagSource: .baseline, overlap: 120, effectiveSize: 120,
            intervalLow: 0.85, intervalHigh: 0.95, pValue: 0, qValue: 0, confidence: 0.99, expectedPropagation: 1,
            bucketMs: 60_000, windowStart: end.advanced(byMilliseconds: -7_200_000), windowEnd: end, detectedAt: end)
    }
}
