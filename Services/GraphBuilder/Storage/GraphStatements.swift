import Foundation
import Model
import Postgres

/// The statements that make the stored rows of some events equal to their current graphs.
///
/// An edge keeps its row while it stays what it is. When it changes materially (|r| by 0.1, the confidence band, or the lag)
/// its row becomes history and a new one begins; when it vanishes its row becomes history. A version that did not outlast
/// one window end is replaced instead of kept.
enum GraphStatements {
    static func queries(for graphs: [String: CorrelationGraph], revisions: [Shard: Int64]) throws -> [PostgresQuery] {
        guard !graphs.isEmpty else { return [] }
        let ordered = graphs.values.sorted { $0.event < $1.event }
        var queries = [try Self.headers(ordered, revisions)]
        let edges = ordered.flatMap { graph in graph.edges.map { (graph: graph, edge: $0) } }
        let events: [PostgresValue] = [
            .shardArray(ordered.map { Shard(event: $0.event) }), .textArray(ordered.map(\.event)),
            .timestampArray(ordered.map(\.windowEnd)),
            .int64Array(ordered.map { revisions[Shard(event: $0.event)] ?? 0 }),
        ]
        let keys: [PostgresValue] = [
            .textArray(edges.map(\.graph.event)), .int16Array(edges.map { Int16($0.edge.layer.rawValue) }),
            .nodeArray(edges.map(\.edge.source.id)), .nodeArray(edges.map(\.edge.target.id)),
            .textArray(edges.map(\.edge.estimator.rawValue)), .doubleArray(edges.map(\.edge.score)),
            .textArray(edges.map(\.edge.confidenceBand.rawValue)),
            .int32Array(edges.map { Int32($0.edge.lagBuckets) }),
        ]
        queries.append(PostgresQuery(Self.replaceShortLived, events + keys))
        queries.append(PostgresQuery(Self.supersede, events + keys))
        if !edges.isEmpty {
            queries.append(Self.replaceSameEnd(edges.map(\.graph), edges.map(\.edge)))
            queries.append(Self.upsert(edges.map(\.graph), edges.map(\.edge), revisions))
        }
        return queries
    }

    private static func headers(
        _ graphs: [CorrelationGraph], _ revisions: [Shard: Int64]
    ) throws -> PostgresQuery {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let layers = try graphs.map { String(decoding: try encoder.encode($0.layers), as: UTF8.self) }
        return PostgresQuery(
            """
            INSERT INTO event_graphs (shard, event_id, graph_id, window_end, layers, revision)
            SELECT shard, event_id, graph_id, window_end, layers::jsonb, revision
            FROM unnest($1::smallint[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::bigint[])
                 AS g(shard, event_id, graph_id, window_end, layers, revision)
            ON CONFLICT (shard, event_id) DO UPDATE SET graph_id = excluded.graph_id, window_end = excluded.window_end,
                layers = excluded.layers, revision = excluded.revision, evaluated_at = now()
            """,
            [
                .shardArray(graphs.map { Shard(event: $0.event) }), .textArray(graphs.map(\.event)),
                .textArray(graphs.map(\.id)), .timestampArray(graphs.map(\.windowEnd)), .textArray(layers),
                .int64Array(graphs.map { revisions[Shard(event: $0.event)] ?? 0 }),
            ])
    }

    /// $1-$4: the events being written; $5-$12: their edges now. Picks stored current rows that are not among them.
    private static let goneOrChanged = """
        c.shard = e.shard AND c.event_id = e.event_id AND c.superseded_at IS NULL AND NOT EXISTS (
            SELECT 1 FROM unnest($5::text[], $6::smallint[], $7::bigint[], $8::bigint[], $9::text[],
                                 $10::double precision[], $11::text[], $12::integer[])
                AS i(event_id, layer, source_node, target_node, estimator, score, band, lag)
            WHERE i.event_id = c.event_id AND i.layer = c.layer AND i.source_node = c.source_node
              AND i.target_node = c.target_node AND i.estimator = c.estimator
              AND abs(c.correlation_score - i.score) < 0.1 AND c.severity_band = i.band AND c.lag_buckets = i.lag)
        """
    private static let events = """
        unnest($1::smallint[], $2::text[], $3::timestamptz[], $4::bigint[]) AS e(shard, event_id, window_end, revision)
        """

    private static let replaceShortLived = PostgresStatement(
        composed:
            "DELETE FROM multi_layer_correlations c USING \(events) WHERE c.detected_at >= e.window_end AND \(goneOrChanged)"
    )

    private static let supersede = PostgresStatement(
        composed: """
            UPDATE multi_layer_correlations c SET superseded_at = e.window_end, revision = e.revision
            FROM \(events) WHERE \(goneOrChanged)
            """)

    /// An owner that starts anew evaluates the last stored window ends again: a version that began at the same end and was
    /// history already makes way for the one that is current now.
    private static func replaceSameEnd(_ graphs: [CorrelationGraph], _ edges: [Edge]) -> PostgresQuery {
        PostgresQuery(
            """
            DELETE FROM multi_layer_correlations c
            USING unnest($1::smallint[], $2::text[], $3::smallint[], $4::bigint[], $5::bigint[], $6::text[],
                         $7::timestamptz[]) AS i(shard, event_id, layer, source_node, target_node, estimator, window_end)
            WHERE c.shard = i.shard AND c.event_id = i.event_id AND c.layer = i.layer
              AND c.source_node = i.source_node AND c.target_node = i.target_node AND c.estimator = i.estimator
              AND c.detected_at = i.window_end AND c.superseded_at IS NOT NULL
            """,
            [
                .shardArray(graphs.map { Shard(event: $0.event) }), .textArray(graphs.map(\.event)),
                .int16Array(edges.map { Int16($0.layer.rawValue) }), .nodeArray(edges.map(\.source.id)),
                .nodeArray(edges.map(\.target.id)), .textArray(edges.map(\.estimator.rawValue)),
                .timestampArray(edges.map(\.windowEnd)),
            ])
    }

    private static func upsert(
        _ graphs: [CorrelationGraph], _ edges: [Edge], _ revisions: [Shard: Int64]
    ) -> PostgresQuery {
        PostgresQuery(
            """
            INSERT INTO multi_layer_correlations AS c (shard, event_id, layer, source_node, target_node, estimator,
                correlation_type, correlation_score, latency_ms, expected_propagation, confidence, severity_level,
                lag_buckets, lag_source, overlap, n_eff, interval_low, interval_high, p_value, q_value, window_start,
                window_end, bucket_ms, explained_by, accepted_at, revision, detected_at)
            SELECT *, i.window_end FROM unnest($1::smallint[], $2::text[], $3::smallint[], $4::bigint[], $5::bigint[],
                $6::text[], $7::text[], $8::double precision[], $9::double precision[], $10::double precision[],
                $11::double precision[], $12::text[], $13::integer[], $14::text[], $15::integer[], $16::double precision[],
                $17::double precision[], $18::double precision[], $19::double precision[], $20::double precision[],
                $21::timestamptz[], $22::timestamptz[], $23::bigint[], $24::bigint[], $25::timestamptz[], $26::bigint[])
                AS i(shard, event_id, layer, source_node, target_node, estimator, correlation_type, correlation_score,
                     latency_ms, expected_propagation, confidence, severity_level, lag_buckets, lag_source, overlap,
                     n_eff, interval_low, interval_high, p_value, q_value, window_start, window_end, bucket_ms,
                     explained_by, accepted_at, revision)
            ON CONFLICT (shard, event_id, layer, source_node, target_node, estimator) WHERE superseded_at IS NULL
            DO UPDATE SET correlation_type = excluded.correlation_type,
                correlation_score = excluded.correlation_score, latency_ms = excluded.latency_ms,
                expected_propagation = excluded.expected_propagation, confidence = excluded.confidence,
                severity_level = excluded.severity_level, lag_buckets = excluded.lag_buckets,
                lag_source = excluded.lag_source, overlap = excluded.overlap, n_eff = excluded.n_eff,
                interval_low = excluded.interval_low, interval_high = excluded.interval_high,
                p_value = excluded.p_value, q_value = excluded.q_value, window_start = excluded.window_start,
                window_end = excluded.window_end, bucket_ms = excluded.bucket_ms, explained_by = excluded.explained_by,
                accepted_at = excluded.accepted_at, revision = excluded.revision
            """,
            [
                .shardArray(graphs.map { Shard(event: $0.event) }), .textArray(graphs.map(\.event)),
                .int16Array(edges.map { Int16($0.layer.rawValue) }), .nodeArray(edges.map(\.source.id)),
                .nodeArray(edges.map(\.target.id)), .textArray(edges.map(\.estimator.rawValue)),
                .textArray(edges.map(\.relation.rawValue)), .doubleArray(edges.map(\.score)),
                .doubleArray(edges.map(\.latencyMs)), .doubleArray(edges.map(\.expectedPropagation)),
                .doubleArray(edges.map(\.confidence)), .textArray(edges.map(\.severity.rawValue)),
                .int32Array(edges.map { Int32($0.lagBuckets) }), .textArray(edges.map(\.lagSource.rawValue)),
                .int32Array(edges.map { Int32($0.overlap) }), .doubleArray(edges.map(\.effectiveSize)),
                .doubleArray(edges.map(\.intervalLow)), .doubleArray(edges.map(\.intervalHigh)),
                .doubleArray(edges.map(\.pValue)), .doubleArray(edges.map(\.qValue)),
                .timestampArray(edges.map(\.windowStart)), .timestampArray(edges.map(\.windowEnd)),
                .int64Array(edges.map(\.bucketMs)), .optionalInt64Array(edges.map { $0.explainedBy?.id.rawValue }),
                .timestampArray(edges.map(\.detectedAt)),
                .int64Array(graphs.map { revisions[Shard(event: $0.event)] ?? 0 }),
            ])
    }
}
