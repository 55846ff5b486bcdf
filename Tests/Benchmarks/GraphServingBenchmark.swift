import Engine
import Foundation
import Model
import NIOCore

/// Serves the graph of an event with 4 x 50 edges out of memory: entity tag, look-up, encoded body.
enum GraphServingBenchmark {
    static let benchmark = BenchmarkCase(name: "serve", run: Self.run)
    static let seed: UInt64 = 12

    static func run() throws -> [Measurement] {
        print(
            "serve: seed \(Self.seed), 1 thread, float64 edges as JSON, kept by entity tag and revision; without HTTP")
        let graph = Self.graph()
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let plain = try encoder.encode(graph)
        let store = GraphStore()
        store.publish([graph], revisions: [Shard(event: graph.event): 7])
        let filter = GraphFilter()
        func serve() throws -> ByteBuffer {
            guard let entry = store.entry(graph.event) else { throw WrongAnswer(description: "the graph is gone") }
            let key = GraphStore.BodyKey(graph: entry.graph.id, revision: entry.revision, filter: filter)
            if let bytes = store.body(key)?.bytes { return bytes }
            let body = ByteBuffer(bytes: try encoder.encode(filter.applied(to: entry.graph)))
            store.keep(
                GraphStore.Body(
                    entityTag: GraphIdentity.entityTag(id: entry.graph.id, filter: filter), bytes: body), for: key)
            return body
        }
        guard try serve() == ByteBuffer(bytes: plain), try serve() == ByteBuffer(bytes: plain) else {
            throw WrongAnswer(description: "the served body is not the graph")
        }
        return [
            try Measurement.time(
                "serve the graph of an event, 4 x 50 edges, from memory", repeats: 2_000,
                peer: ("reads stored rows", 377)
            ) { _ = try serve() },
            try Measurement.time("encode the same graph each time", rounds: 11, repeats: 10) {
                _ = try encoder.encode(graph)
            },
        ]
    }

    private static func graph() -> CorrelationGraph {
        var random = RandomStream(seed: Self.seed)
        let end = Timestamp(milliseconds: 1_600_000_000_000)
        var edges: [Edge] = []
        for layer in Layer.allCases {
            for index in 0..<50 {
                let score = 0.9 + 0.1 * random.uniform()
                edges.append(
                    Edge(
                        source: NodeKey(domain: "sport", event: "match", market: "spread", venue: "venue-\(index)"),
                        target: NodeKey(
                            domain: "sport", event: "match", market: layer.code, venue: "venue-\(index + 1)"),
                        layer: layer, relation: .leadLag, estimator: .pearson, score: score,
                        lagBuckets: 1 + random.below(5), latencyMs: 1_000 * random.uniform(), lagSource: .baseline,
                        overlap: 120, effectiveSize: 100 * random.uniform() + 10, intervalLow: score - 0.1,
                        intervalHigh: 1, pValue: 1e-9 * random.uniform(), qValue: 1e-8 * random.uniform(),
                        confidence: random.uniform(), expectedPropagation: random.uniform(), bucketMs: 1_000,
                        windowStart: end.advanced(byMilliseconds: -120_000), windowEnd: end, detectedAt: end))
            }
        }
        return CorrelationGraph(
            id: String(repeating: "5a", count: 32), event: "match", windowEnd: end,
            layers: Layer.allCases.map { LayerReport(layer: $0, state: .ok, pairs: 200, accepted: 50, rejected: 150) },
            edges: edges)
    }
}
