import Foundation
import Model
import Postgres

/// Writes batches of evaluations under the fence: a shard's revision grows in the same transaction, and only while the
/// writer's epoch is the current one. The row lock makes revisions commit in order, so readers who ask for
/// `revision > last` miss nothing.
struct EvaluationWriter: Sendable {
    let pool: PostgresPool
    /// The owner name the leases were claimed under.
    let replica: String

    private static let fence: PostgresStatement = """
        WITH mine AS (
            SELECT l.shard FROM shard_leases l
            JOIN unnest($1::smallint[], $2::bigint[]) AS held(shard, epoch)
              ON held.shard = l.shard AND held.epoch = l.epoch
            WHERE l.owner = $3 ORDER BY l.shard FOR UPDATE OF l)
        UPDATE shard_leases l SET revision = l.revision + 1 FROM mine WHERE mine.shard = l.shard
        RETURNING l.shard, l.revision
        """

    /// - Parameter epochs: the epoch of every shard the batch touches.
    /// - Returns: the revision each shard has now.
    /// - Throws: ``StaleOwner`` when a shard's lease is not held under that epoch; nothing is written then.
    func write(_ batch: EvaluationBatch, epochs: [Shard: Int64]) async throws -> [Shard: Int64] {
        let shards = batch.shards
        let missing = Set(shards.filter { epochs[$0] == nil })
        guard missing.isEmpty else { throw StaleOwner(shards: missing) }
        let encoded = try Self.encodedDetails(batch.findings)
        return try await self.pool.withTransaction { connection in
            let rows = try await connection.query(
                Self.fence,
                [.shardArray(shards), .int64Array(shards.map { epochs[$0] ?? -1 }), .text(self.replica)])
            var revisions: [Shard: Int64] = [:]
            for row in rows {
                let (shard, revision) = try row.decode((Shard, Int64).self)
                revisions[shard] = revision
            }
            let stale = Set(shards.filter { revisions[$0] == nil })
            guard stale.isEmpty else { throw StaleOwner(shards: stale) }
            _ = try await connection.pipeline(
                Self.evaluations(batch, revisions) + Self.scores(batch)
                    + Self.findings(batch.findings, details: encoded, revisions) + Self.states(batch.detectorStates)
                    + GraphStatements.queries(for: batch.graphs, revisions: revisions)
                    + GraphHistory.queries(for: batch.graphs, recipes: batch.recipes))
            return revisions
        }
    }

    private static func evaluations(_ batch: EvaluationBatch, _ revisions: [Shard: Int64]) -> [PostgresQuery] {
        let rows = batch.evaluations
        guard !rows.isEmpty else { return [] }
        return [
            PostgresQuery(
                """
                INSERT INTO evaluations (shard, domain, window_end, bucket_ms, revision, duration_us)
                SELECT * FROM unnest($1::smallint[], $2::text[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[])
                ON CONFLICT DO NOTHING
                """,
                [
                    .shardArray(rows.map(\.shard)), .textArray(rows.map(\.domain)),
                    .timestampArray(rows.map(\.windowEnd)), .int64Array(rows.map(\.bucketMs)),
                    .int64Array(rows.map { revisions[$0.shard] ?? 0 }), .int64Array(rows.map(\.durationUs)),
                ])
        ]
    }

    private static func scores(_ batch: EvaluationBatch) -> [PostgresQuery] {
        var queries: [PostgresQuery] = []
        if !batch.nodeScores.isEmpty {
            let rows = batch.nodeScores
            queries.append(
                PostgresQuery(
                    """
                    INSERT INTO node_scores (shard, node_id, window_end, score, level_surprise, seasonal_surprise,
                                             innovation_surprise, neighbour_residual)
                    SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::timestamptz[], $4::real[], $5::real[], $6::real[],
                                         $7::real[], $8::real[])
                    ON CONFLICT DO NOTHING
                    """,
                    [
                        .shardArray(rows.map(\.shard)), .nodeArray(rows.map(\.node)),
                        .timestampArray(rows.map(\.windowEnd)), .floatArray(rows.map(\.score)),
                        .floatArray(rows.map(\.level)), .floatArray(rows.map(\.seasonal)),
                        .floatArray(rows.map(\.innovation)), .floatArray(rows.map(\.neighbour)),
                    ]))
        }
        if !batch.eventScores.isEmpty {
            let rows = batch.eventScores
            queries.append(
                PostgresQuery(
                    """
                    INSERT INTO event_scores (shard, event_id, domain, window_end, score)
                    SELECT * FROM unnest($1::smallint[], $2::text[], $3::text[], $4::timestamptz[], $5::real[])
                    ON CONFLICT DO NOTHING
                    """,
                    [
                        .shardArray(rows.map(\.shard)), .textArray(rows.map(\.event)), .textArray(rows.map(\.domain)),
                        .timestampArray(rows.map(\.windowEnd)), .floatArray(rows.map(\.score)),
                    ]))
        }
        return queries
    }

    private static func encodedDetails(_ findings: [Finding]) throws -> [String] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return try findings.map { String(decoding: try encoder.encode(FindingDetail($0)), as: UTF8.self) }
    }

    private static func findings(
        _ rows: [Finding], details: [String], _ revisions: [Shard: Int64]
    ) -> [PostgresQuery] {
        guard !rows.isEmpty else { return [] }
        let shards = rows.map { Shard(event: $0.event) }
        return [
            PostgresQuery(
                """
                INSERT INTO findings (shard, event_id, kind, node_id, target_node, window_end, layer, domain, bucket_ms,
                                      statistic, level, detail, revision)
                SELECT shard, event_id, kind, node_id, target_node, window_end, layer, domain, bucket_ms, statistic, level,
                       detail::jsonb, revision
                FROM unnest($1::smallint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::timestamptz[],
                            $7::smallint[], $8::text[], $9::bigint[], $10::double precision[], $11::double precision[],
                            $12::text[], $13::bigint[])
                     AS f(shard, event_id, kind, node_id, target_node, window_end, layer, domain, bucket_ms, statistic,
                          level, detail, revision)
                ON CONFLICT DO NOTHING
                """,
                [
                    .shardArray(shards), .textArray(rows.map(\.event)), .textArray(rows.map(\.kind.rawValue)),
                    .nodeArray(rows.map(\.node.id)), .int64Array(rows.map { $0.target?.id.rawValue ?? 0 }),
                    .timestampArray(rows.map(\.windowEnd)),
                    .optionalInt16Array(rows.map { $0.layer.map { Int16($0.rawValue) } }),
                    .textArray(rows.map(\.node.domain)), .int64Array(rows.map(\.bucketMs)),
                    .doubleArray(rows.map(\.statistic)), .doubleArray(rows.map(\.level)), .textArray(details),
                    .int64Array(shards.map { revisions[$0] ?? 0 }),
                ])
        ]
    }

    private static func states(_ rows: [EvaluationBatch.DetectorState]) -> [PostgresQuery] {
        rows.map { row in
            PostgresQuery(
                """
                INSERT INTO detector_states (shard, domain, window_end, state) VALUES ($1, $2, $3, $4)
                ON CONFLICT (shard, domain) DO UPDATE SET window_end = excluded.window_end, state = excluded.state
                """, [.shard(row.shard), .text(row.domain), .timestamp(row.windowEnd), .bytea(row.state)])
        }
    }
}
