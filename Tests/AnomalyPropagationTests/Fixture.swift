import Foundation
import Model
import Postgres
import TestSupport

@testable import AnomalyPropagation

/// Puts into a test database what graph-builder would have written.
struct Fixture: Sendable {
    let pool: PostgresPool

    /// Runs `body` on a database of its own.
    static func with(_ body: (Fixture) async throws -> Void) async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in try await body(Fixture(pool: pool)) }
        }
    }

    /// 2025-01-01T00:00:00Z plus minutes.
    static func minute(_ number: Int64) -> Timestamp {
        Timestamp(milliseconds: 1_735_689_600_000 + number * 60_000)
    }

    static func node(
        _ event: String, _ market: String = "latency", venue: String = "p99", domain: String = "service"
    ) -> NodeKey {
        NodeKey(domain: domain, event: event, market: market, venue: venue)
    }

    func add(_ nodes: [NodeKey]) async throws {
        try await self.pool.query(
            """
            INSERT INTO nodes (shard, node_id, domain, event_id, market, venue)
            SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
            ON CONFLICT DO NOTHING
            """,
            [
                .shardArray(nodes.map { Shard(event: $0.event) }), .nodeArray(nodes.map(\.id)),
                .textArray(nodes.map(\.domain)), .textArray(nodes.map(\.event)), .textArray(nodes.map(\.market)),
                .textArray(nodes.map(\.venue)),
            ])
    }

    func add(_ observations: [Observation]) async throws {
        try await self.add(Array(Set(observations.map(\.node))))
        try await ObservationPartitions(logger: .silent).ensure(
            Set(observations.map { ObservationPartitions.Day(containing: $0.time) }), pool: self.pool)
        for start in stride(from: 0, to: observations.count, by: 20_000) {
            let part = observations[start..<min(observations.count, start + 20_000)]
            try await self.pool.query(
                """
                INSERT INTO observations (shard, node_id, observed_at, value)
                SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::timestamptz[], $4::float8[]) ON CONFLICT DO NOTHING
                """,
                [
                    .shardArray(part.map { Shard(event: $0.node.event) }), .nodeArray(part.map(\.node.id)),
                    .timestampArray(part.map(\.time)), .doubleArray(part.map(\.value)),
                ])
        }
    }

    /// One evaluation of a shard, with its findings, under a new revision.
    func evaluate(
        event: String, domain: String = "service", windowEnd: Timestamp, findings: [Finding] = []
    ) async throws {
        let shard = Shard(event: event)
        try await self.pool.withTransaction { connection in
            let revision = try await connection.query(
                "UPDATE shard_leases SET revision = revision + 1 WHERE shard = $1 RETURNING revision", [.shard(shard)]
            ).column(Int64.self)[0]
            try await connection.query(
                """
                INSERT INTO evaluations (shard, domain, window_end, bucket_ms, revision, duration_us)
                VALUES ($1, $2, $3, 60000, $4, 5)
                """, [.shard(shard), .text(domain), .timestamp(windowEnd), .int64(revision)])
            for finding in findings {
                try await connection.query(
                    """
                    INSERT INTO findings (shard, event_id, kind, node_id, target_node, window_end, layer, domain, bucket_ms,
                        statistic, level, detail, revision)
                    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
                    """,
                    [
                        .shard(shard), .text(finding.event), .text(finding.kind.rawValue), .node(finding.node.id),
                        .int64(finding.target?.id.rawValue ?? 0), .timestamp(finding.windowEnd),
                        .optional(finding.layer) { .int16(Int16($0.rawValue)) }, .text(domain),
                        .int64(finding.bucketMs), .double(finding.statistic), .double(finding.level),
                        try .jsonb(encoding: FindingDetail(finding)), .int64(revision),
                    ])
            }
        }
    }

    /// A finding about a node at the end of a minute.
    static func residual(_ node: NodeKey, minute number: Int64, statistic: Double = 6) -> Finding {
        Finding(
            kind: .nodeResidual, event: node.event, node: node, windowEnd: Self.minute(number), bucketMs: 60_000,
            statistic: statistic, level: 4, values: ["score": statistic], reason: "far from its past")
    }

    /// A move of a node at the end of a minute, with the edges that lead from it.
    static func move(_ node: NodeKey, minute number: Int64, by size: Double, edges: [Edge]) -> Finding {
        Finding(
            kind: .move, event: node.event, node: node, windowEnd: Self.minute(number), bucketMs: 60_000,
            statistic: abs(size), level: 3, values: ["move": size, "sourceSd": 1], reason: "moved", edges: edges)
    }

    static func edge(
        _ source: NodeKey, _ target: NodeKey, score: Double = 0.9, lagBuckets: Int = 1, beta: Double = 2,
        confidence: Double = 0.95, windowEnd: Timestamp = Fixture.minute(120)
    ) -> Edge {
        Edge(
            source: source, target: target, layer: Layer(of: source, and: target),
            relation: lagBuckets == 0 ? .contemporaneous : .leadLag, estimator: .pearson, score: score,
            lagBuckets: lagBuckets, latencyMs: Double(lagBuckets) * 60_000, lagSource: .baseline, overlap: 120,
            effectiveSize: 100, intervalLow: score - 0.05, intervalHigh: min(1, score + 0.05), pValue: 1e-9,
            qValue: 1e-8, confidence: confidence, expectedPropagation: beta, bucketMs: 60_000,
            windowStart: windowEnd.advanced(byMilliseconds: -7_200_000), windowEnd: windowEnd, detectedAt: windowEnd)
    }

    /// Makes edges current, under a new revision of their event's shard.
    func add(edges: [Edge]) async throws {
        try await self.add(edges.flatMap { [$0.source, $0.target] })
        for edge in edges {
            try await self.pool.query(
                """
                WITH lease AS (UPDATE shard_leases SET revision = revision + 1 WHERE shard = $1 RETURNING revision)
                INSERT INTO multi_layer_correlations (shard, event_id, layer, source_node, target_node, estimator,
                    correlation_type, correlation_score, latency_ms, expected_propagation, detected_at, accepted_at,
                    confidence, severity_level, lag_buckets, lag_source, overlap, n_eff, interval_low, interval_high, p_value,
                    q_value, window_start, window_end, bucket_ms, revision)
                SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
                    $22, $23, $24, revision FROM lease
                """,
                [
                    .shard(Shard(event: edge.source.event)), .text(edge.source.event),
                    .int16(Int16(edge.layer.rawValue)), .node(edge.source.id), .node(edge.target.id),
                    .text(edge.estimator.rawValue), .text(edge.relation.rawValue), .double(edge.score),
                    .double(edge.latencyMs), .double(edge.expectedPropagation), .timestamp(edge.detectedAt),
                    .double(edge.confidence), .text(edge.severity.rawValue), .int32(Int32(edge.lagBuckets)),
                    .text(edge.lagSource.rawValue), .int32(Int32(edge.overlap)), .double(edge.effectiveSize),
                    .double(edge.intervalLow), .double(edge.intervalHigh), .double(edge.pValue), .double(edge.qValue),
                    .timestamp(edge.windowStart), .timestamp(edge.windowEnd), .int64(edge.bucketMs),
                ])
        }
    }

    func count(_ table: String, where condition: String = "true") async throws -> Int {
        try await self.pool.query(PostgresStatement(composed: "SELECT count(*) FROM \(table) WHERE \(condition)"))
            .column(Int.self)[0]
    }
}
