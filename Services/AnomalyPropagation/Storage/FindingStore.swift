import Engine
import Model
import Postgres

/// One closed bucket that graph-builder has evaluated for the events of one shard in one domain.
struct EvaluatedBucket: Hashable, Sendable {
    let shard: Shard
    let domain: String
    let windowEnd: Timestamp
    let revision: Int64
}

/// A finding with the place it was read from.
struct StoredFinding: Hashable, Sendable {
    let shard: Shard
    let domain: String
    let finding: Finding
}

/// Revisions of one shard that are to be read: above `low`, up to `high`.
struct RevisionSpan: Hashable, Sendable {
    let shard: Shard
    let low: Int64
    let high: Int64
}

/// Reads what graph-builder has written, by shard and revision.
struct FindingStore: Sendable {
    let pool: PostgresPool

    /// The newest revision of every shard.
    func revisions() async throws -> [Shard: Int64] {
        let rows = try await self.pool.query("SELECT shard, revision FROM shard_leases")
        return Dictionary(uniqueKeysWithValues: try rows.decode((Shard, Int64).self))
    }

    /// Cuts spans so that each holds about `limit` evaluations. A revision is never cut: it was written whole and is read whole.
    func bounded(_ spans: [RevisionSpan], limit: Int) async throws -> [RevisionSpan] {
        let rows = try await self.pool.query(
            """
            SELECT w.shard, w.low, coalesce((
                SELECT e.revision FROM evaluations e WHERE e.shard = w.shard AND e.revision > w.low AND e.revision <= w.high
                ORDER BY e.revision OFFSET $4 LIMIT 1), w.high)
            FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS w(shard, low, high)
            """, Self.parameters(spans) + [.int(limit - 1)])
        return try rows.decode((Shard, Int64, Int64).self).map { RevisionSpan(shard: $0.0, low: $0.1, high: $0.2) }
    }

    /// Everything within the spans, in order of shard, window end and revision.
    func read(_ spans: [RevisionSpan]) async throws -> (buckets: [EvaluatedBucket], findings: [StoredFinding]) {
        let results = try await self.pool.withConnection { connection in
            try await connection.pipeline([
                PostgresQuery(
                    """
                    SELECT e.shard, e.domain, e.window_end, e.revision
                    FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS w(shard, low, high)
                    JOIN evaluations e ON e.shard = w.shard AND e.revision > w.low AND e.revision <= w.high
                    ORDER BY e.window_end, e.shard, e.domain
                    """, Self.parameters(spans)),
                PostgresQuery(
                    """
                    SELECT f.shard, f.domain, f.kind, f.event_id, f.layer, f.window_end, f.bucket_ms, f.statistic, f.level,
                        f.detail
                    FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS w(shard, low, high)
                    JOIN findings f ON f.shard = w.shard AND f.revision > w.low AND f.revision <= w.high
                    ORDER BY f.window_end, f.shard, f.event_id, f.kind, f.node_id, f.target_node
                    """, Self.parameters(spans)),
            ])
        }
        let buckets = try results[0].decode((Shard, String, Timestamp, Int64).self).map {
            EvaluatedBucket(shard: $0.0, domain: $0.1, windowEnd: $0.2, revision: $0.3)
        }
        return (buckets, try results[1].map(Self.finding))
    }

    /// The newest evaluated bucket of each domain: every replica may score forecasts up to it.
    func watermarks() async throws -> [String: Timestamp] {
        let rows = try await self.pool.query("SELECT domain, max(window_end) FROM evaluations GROUP BY domain")
        return Dictionary(uniqueKeysWithValues: try rows.decode((String, Timestamp).self))
    }

    private static func parameters(_ spans: [RevisionSpan]) -> [PostgresValue] {
        [
            .shardArray(spans.map(\.shard)), .int64Array(spans.map(\.low)), .int64Array(spans.map(\.high)),
        ]
    }

    private static func finding(_ row: PostgresRow) throws -> StoredFinding {
        let (shard, domain, kind, event, layer, windowEnd, bucketMs, statistic, level, detail) = try row.decode(
            (
                Shard, String, String, String, Int?, Timestamp, Int64, Double, Double, PostgresJSON<FindingDetail>
            ).self)
        guard let known = FindingKind(rawValue: kind) else {
            throw PostgresError(.malformedRow, detail: "findings.kind is \(kind)")
        }
        return StoredFinding(
            shard: shard, domain: domain,
            finding: detail.value.finding(
                kind: known, event: event, layer: layer.flatMap(Layer.init(rawValue:)), windowEnd: windowEnd,
                bucketMs: bucketMs, statistic: statistic, level: level))
    }
}
