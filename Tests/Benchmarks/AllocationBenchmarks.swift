import CAllocations
import Engine
import Foundation
import Model
import NIOCore

/// How often memory is asked for in the steady state of serving and deciding. Counted by a malloc of our own, which is
/// shown to count one piece that is asked for on purpose.
enum AllocationBenchmarks {
    static let benchmark = BenchmarkCase(name: "allocations", run: Self.run)
    static let calls = 1_000

    static func run() throws -> [Measurement] {
        print("allocations: 1 thread, \(Self.calls) calls after as many of warm-up")
        var piece: UnsafeMutableRawPointer?
        let deliberate = Self.count("a deliberate allocation (must be 1)") {
            piece = .allocate(byteCount: 48, alignment: 16)
            piece?.deallocate()
        }
        guard deliberate.value == 1 else {
            throw WrongAnswer(description: "the hook counts \(deliberate.value), not 1")
        }
        let results = [try Self.serving(), Self.quiet(), Self.standing()]
        if let worst = results.first(where: { $0.value != 0 }) {
            throw WrongAnswer(description: "\(worst.name): \(worst.value) allocations a call in the steady state")
        }
        return [deliberate] + results + [Self.path()]
    }

    /// Per call, over ``calls`` of them.
    private static func count(_ name: String, _ body: () -> Void) -> Measurement {
        for _ in 0..<Self.calls { body() }
        let before = allocation_count()
        for _ in 0..<Self.calls { body() }
        let counted = allocation_count() - before
        return Measurement(
            name: name, value: Double(counted) / Double(Self.calls), unit: "allocations", peer: nil, peerValue: nil,
            ratio: nil, spread: 0)
    }

    private static func serving() throws -> Measurement {
        let graph = CorrelationGraph(
            id: String(repeating: "5a", count: 32), event: "match", windowEnd: Timestamp(milliseconds: 0), layers: [],
            edges: [])
        let store = GraphStore()
        store.publish([graph], revisions: [Shard(event: graph.event): 7])
        let filter = GraphFilter(layer: .direct, minConfidence: 0.5)
        let key = GraphStore.BodyKey(graph: graph.id, revision: 7, filter: filter)
        store.keep(
            GraphStore.Body(
                entityTag: GraphIdentity.entityTag(id: graph.id, filter: filter),
                bytes: ByteBuffer(repeating: 0x20, count: 50_000)),
            for: key)
        var served = 0
        let result = Self.count("serve the graph of an event, from memory") {
            guard let entry = store.entry(graph.event) else { return }
            let key = GraphStore.BodyKey(graph: entry.graph.id, revision: entry.revision, filter: filter)
            if let body = store.body(key) { served += body.count }
        }
        guard served == 2 * Self.calls * 50_000 else { throw WrongAnswer(description: "the body is not served") }
        return result
    }

    private static func quiet() -> Measurement {
        let findings = DecisionBenchmarks.findings()
        let statistics = findings.map { $0.level / 2 }
        var tracker = EpisodeTracker()
        var bucket = 0
        return Self.count("decide a bucket of 200 edges, none beyond its level") {
            _ = DecisionBenchmarks.decide(statistics, bucket: bucket, findings: findings, &tracker)
            bucket += 1
        }
    }

    private static func standing() -> Measurement {
        let findings = Array(DecisionBenchmarks.findings().prefix(DecisionBenchmarks.restless))
        var tracker = EpisodeTracker()
        var bucket: Int64 = 0
        return Self.count("advance \(findings.count) open episodes by a bucket") {
            bucket += 1
            _ = tracker.advance(to: Timestamp(milliseconds: bucket * 60_000), findings: findings)
        }
    }

    /// For comparison: a search lays out its layers anew.
    private static func path() -> Measurement {
        let nodes = (0..<40).map(PathBenchmarks.node)
        let edges = nodes.indices.dropLast().map { index in
            Edge(
                source: nodes[index], target: nodes[index + 1], layer: .direct, relation: .leadLag, estimator: .pearson,
                score: 0.9, lagBuckets: 1, latencyMs: 1_000, lagSource: .baseline, overlap: 120, effectiveSize: 90,
                intervalLow: 0.8, intervalHigh: 0.95, pValue: 0, qValue: 0, confidence: 0.9, expectedPropagation: 1,
                bucketMs: 1_000, windowStart: Timestamp(milliseconds: 0), windowEnd: Timestamp(milliseconds: 120_000),
                detectedAt: Timestamp(milliseconds: 120_000))
        }
        let search = PathSearch(edges: edges)
        return Self.count("best path of 8 hops (not free of allocations)") {
            _ = search.bestPath(from: nodes[0], to: nodes[8], depth: 8)
        }
    }
}
