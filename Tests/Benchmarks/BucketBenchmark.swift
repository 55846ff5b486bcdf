import Engine
import Foundation
import Model
import Postgres
import TestSupport

/// One closed bucket of a domain from its series to committed rows, stage by stage: all pairs are screened, those that may pass
/// settled, the graphs of all events put together and written in one fenced transaction to a private server.
enum BucketBenchmark {
    static let benchmark = BenchmarkCase(name: "bucket", run: Self.run)
    private static let nodesPerEvent = 50
    /// As ``own(_:_:)`` has it.
    private static let replica = "bench"

    private struct Work {
        var nodes: Int
        var shape: WindowShape
        /// Nodes of a group follow one factor.
        var groupSize: Int
        var rounds: Int
        var goalSeconds: Double
    }

    private static let works = [
        Work(
            nodes: 2_000, shape: WindowShape(present: 120, baseline: 720, lag: 5), groupSize: 20, rounds: 5,
            goalSeconds: 1),
        Work(
            nodes: 10_000, shape: WindowShape(present: 120, baseline: 720, lag: 5), groupSize: 100, rounds: 1,
            goalSeconds: 20),
    ]

    static func run() throws -> [Measurement] {
        print(
            "bucket: seed 41, 1 thread, events of \(Self.nodesPerEvent) nodes, present 120, baseline 720, lags -5 ... 5, "
                + "1 % of pairs follow one factor; private server on a Unix socket")
        return try BlockingTask.run {
            try await TestDatabase.with { database in
                try await database.withPool { pool in
                    var results: [Measurement] = []
                    for work in Self.works { results += try await Self.measure(work, pool) }
                    return results
                }
            }
        }
    }

    private nonisolated(nonsending) static func measure(_ work: Work, _ pool: PostgresPool) async throws
        -> [Measurement]
    {
        let length = work.shape.requiredLength
        let rows = ScreenBenchmark.rows(nodes: work.nodes, length: length + work.rounds, groupSize: work.groupSize)
        let nodes = (0..<work.nodes).map { index in
            NodeKey(
                domain: "bucket-\(work.nodes)", event: "event-\(10_000 + index / Self.nodesPerEvent)",
                market: "market-\(10_000 + index % Self.nodesPerEvent)", venue: "venue")
        }
        let writer = EvaluationWriter(pool: pool, replica: Self.replica)
        try await Self.own(nodes, pool)
        var seconds: [String: [Double]] = [:]
        var accepted = 0
        // One round of warm-up, where there is more than one.
        for round in 0...work.rounds where round > 0 || work.rounds > 1 {
            let block = SeriesBlock(
                nodes: nodes, bucketMs: 60_000, windowEnd: Timestamp(milliseconds: Int64(length + round) * 60_000),
                length: length,
                values: nodes.indices.flatMap { node in
                    let start = node * (length + work.rounds) + round
                    return rows[start..<start + length]
                })
            let stages = try await Self.evaluate(block, work.shape, writer) { accepted = $0 }
            guard round > 0 else { continue }
            for (stage, time) in stages { seconds[stage, default: []].append(time) }
            seconds["whole", default: []].append(stages.values.reduce(0, +))
        }
        let pairs = work.nodes * (work.nodes - 1) / 2
        print("  \(work.nodes) nodes: \(accepted) of \(pairs) pairs accepted")
        guard accepted > pairs / 200 else { throw WrongAnswer(description: "\(accepted) pairs accepted, too few") }
        return (["whole"] + EvaluationStage.allCases.map(\.rawValue) + ["write"]).map { stage in
            let times = seconds[stage] ?? []
            let goal = stage == "whole" ? work.goalSeconds : nil
            return Measurement(
                name: "one closed bucket, \(work.nodes) nodes: \(stage)", value: times.median, unit: "s",
                peer: goal == nil ? nil : "goal", peerValue: goal, ratio: goal.map { $0 / times.median },
                spread: ((times.max() ?? 0) - (times.min() ?? 0)) / times.median)
        }
    }

    /// Seconds by stage.
    private nonisolated(nonsending) static func evaluate(
        _ block: SeriesBlock, _ shape: WindowShape, _ writer: EvaluationWriter, accepted: (Int) -> Void
    ) async throws -> [String: Double] {
        let domain = block.nodes[0].domain
        let input = EvaluationInput(
            domain: domain, block: block, shape: shape, events: Set(block.nodes.map(\.event)).sorted())
        let watch = StageWatch()
        let evaluations = Evaluation.evaluate(input) { watch.enter($0.rawValue) }
        watch.enter(EvaluationStage.assemble.rawValue)
        let recipe = GraphRecipe(
            engine: GraphIdentity.engineVersion, thresholds: input.thresholds,
            parts: [.init(domain: domain, windowEnd: block.windowEnd, ready: [], late: [])],
            domains: [domain: .init(bucketMs: block.bucketMs, oldest: Timestamp(milliseconds: 0))])
        var batch = EvaluationBatch()
        for evaluation in evaluations {
            let id = GraphIdentity.id(
                event: evaluation.event, configuration: domain, windowEnd: block.windowEnd, layers: evaluation.layers,
                digest: .zero)
            batch.graphs[evaluation.event] = CorrelationGraph(
                id: id, event: evaluation.event, windowEnd: block.windowEnd, layers: evaluation.layers,
                edges: evaluation.kept)
            batch.recipes[evaluation.event] = recipe
        }
        for shard in Set(evaluations.map { Shard(event: $0.event) }) {
            batch.evaluations.append(
                .init(
                    shard: shard, domain: domain, windowEnd: block.windowEnd, bucketMs: block.bucketMs, durationUs: 1))
        }
        // A pair of two events counts for each; both have it.
        accepted(
            evaluations.flatMap(\.layers).reduce(0) { $0 + ($1.layer == .crossEvent ? $1.accepted : 2 * $1.accepted) }
                / 2)
        watch.enter("write")
        let epochs = Dictionary(uniqueKeysWithValues: batch.shards.map { ($0, Int64(1)) })
        _ = try await writer.write(batch, epochs: epochs)
        watch.stop()
        return watch.seconds
    }

    /// Registers the nodes and holds the lease of every shard.
    private nonisolated(nonsending) static func own(_ nodes: [NodeKey], _ pool: PostgresPool) async throws {
        try await pool.withConnection { connection in
            try await connection.query(
                """
                INSERT INTO nodes (shard, node_id, domain, event_id, market, venue)
                SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
                """,
                [
                    .shardArray(nodes.map { Shard(event: $0.event) }), .nodeArray(nodes.map(\.id)),
                    .textArray(nodes.map(\.domain)), .textArray(nodes.map(\.event)), .textArray(nodes.map(\.market)),
                    .textArray(nodes.map(\.venue)),
                ])
            try await connection.runScript(
                "UPDATE shard_leases SET owner = 'bench', epoch = 1, expires_at = 'infinity'")
        }
    }
}

/// Adds up how long each stage took.
final class StageWatch {
    private let clock = ContinuousClock()
    private var current: (stage: String, since: ContinuousClock.Instant)?
    private(set) var seconds: [String: Double] = [:]

    func enter(_ stage: String) {
        let now = self.clock.now
        if let current { self.seconds[current.stage, default: 0] += (now - current.since) / .seconds(1) }
        self.current = (stage, now)
    }

    func stop() {
        self.enter("")
        self.current = nil
    }
}
