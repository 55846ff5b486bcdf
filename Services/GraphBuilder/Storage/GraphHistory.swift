import Engine
import Foundation
import Model
import Postgres

/// The last graphs of every event under their ids.
struct GraphHistory: Sendable {
    let pool: PostgresPool

    struct Stored: Sendable {
        var id: String
        var event: String
        var windowEnd: Timestamp
        var layers: [LayerReport]
        var recipe: GraphRecipe
        var storedAt: Timestamp
        var edges: [GraphDifference.Place: EdgeValues]
    }

    /// Hex SHA-256.
    static func isID(_ text: String) -> Bool {
        text.utf8.count == 64 && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }

    // MARK: Writing

    /// Keeps graphs that were just written: their edges are what stands in the table of edges now, so they are copied there
    /// instead of being sent twice.
    static func queries(
        for graphs: [String: CorrelationGraph], recipes: [String: GraphRecipe]
    ) throws -> [PostgresQuery] {
        let rows = graphs.values.sorted { $0.event < $1.event }.compactMap { graph in
            recipes[graph.event].map { (graph: graph, recipe: $0) }
        }
        guard !rows.isEmpty else { return [] }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        func text(_ value: some Encodable) throws -> String {
            String(decoding: try encoder.encode(value), as: UTF8.self)
        }
        return [
            PostgresQuery(
                Self.keep,
                [
                    .shardArray(rows.map { Shard(event: $0.graph.event) }), .textArray(rows.map(\.graph.event)),
                    .int16Array(rows.map { Int16($0.recipe.slot(windowEnd: $0.graph.windowEnd)) }),
                    .textArray(rows.map(\.graph.id)), .timestampArray(rows.map(\.graph.windowEnd)),
                    .textArray(try rows.map { try text($0.graph.layers) }),
                    .textArray(try rows.map { try text($0.recipe) }),
                ])
        ]
    }

    private static let keep: PostgresStatement = """
        INSERT INTO graph_history AS h (shard, event_id, slot, graph_id, window_end, layers, recipe, stored_at, layer,
            source_node, target_node, estimator, correlation_type, correlation_score, lag_buckets, latency_ms,
            expected_propagation, confidence, n_eff, interval_low, interval_high)
        SELECT g.shard, g.event_id, g.slot, g.graph_id, g.window_end, g.layers::jsonb, g.recipe::jsonb, clock_timestamp(),
               coalesce(e.layer, '{}'), coalesce(e.source_node, '{}'), coalesce(e.target_node, '{}'),
               coalesce(e.estimator, '{}'), coalesce(e.correlation_type, '{}'), coalesce(e.correlation_score, '{}'),
               coalesce(e.lag_buckets, '{}'), coalesce(e.latency_ms, '{}'), coalesce(e.expected_propagation, '{}'),
               coalesce(e.confidence, '{}'), coalesce(e.n_eff, '{}'), coalesce(e.interval_low, '{}'),
               coalesce(e.interval_high, '{}')
        FROM unnest($1::smallint[], $2::text[], $3::smallint[], $4::text[], $5::timestamptz[], $6::text[], $7::text[])
             AS g(shard, event_id, slot, graph_id, window_end, layers, recipe)
        CROSS JOIN LATERAL (
            SELECT array_agg(c.layer) AS layer, array_agg(c.source_node) AS source_node,
                   array_agg(c.target_node) AS target_node, array_agg(c.estimator) AS estimator,
                   array_agg(c.correlation_type) AS correlation_type,
                   array_agg(c.correlation_score) AS correlation_score, array_agg(c.lag_buckets) AS lag_buckets,
                   array_agg(c.latency_ms) AS latency_ms, array_agg(c.expected_propagation) AS expected_propagation,
                   array_agg(c.confidence) AS confidence, array_agg(c.n_eff) AS n_eff,
                   array_agg(c.interval_low) AS interval_low, array_agg(c.interval_high) AS interval_high
            FROM multi_layer_correlations c
            WHERE c.shard = g.shard AND c.event_id = g.event_id AND c.superseded_at IS NULL) e
        ON CONFLICT (shard, event_id, slot) DO UPDATE SET graph_id = excluded.graph_id, window_end = excluded.window_end,
            layers = excluded.layers, recipe = excluded.recipe, stored_at = excluded.stored_at, layer = excluded.layer,
            source_node = excluded.source_node, target_node = excluded.target_node, estimator = excluded.estimator,
            correlation_type = excluded.correlation_type, correlation_score = excluded.correlation_score,
            lag_buckets = excluded.lag_buckets, latency_ms = excluded.latency_ms,
            expected_propagation = excluded.expected_propagation, confidence = excluded.confidence,
            n_eff = excluded.n_eff, interval_low = excluded.interval_low, interval_high = excluded.interval_high
        WHERE h.graph_id <> excluded.graph_id
        """

    // MARK: Reading

    private static let header: PostgresStatement = """
        SELECT event_id, window_end, layers, recipe, stored_at, slot FROM graph_history WHERE graph_id = $1
        ORDER BY stored_at DESC LIMIT 1
        """
    private static let edges: PostgresStatement = """
        SELECT e.layer, s.domain, s.event_id, s.market, s.venue, t.domain, t.event_id, t.market, t.venue, e.estimator,
               e.correlation_type, e.correlation_score, e.lag_buckets, e.latency_ms, e.expected_propagation, e.confidence,
               e.n_eff, e.interval_low, e.interval_high
        FROM graph_history h
        CROSS JOIN LATERAL unnest(h.layer, h.source_node, h.target_node, h.estimator, h.correlation_type,
            h.correlation_score, h.lag_buckets, h.latency_ms, h.expected_propagation, h.confidence, h.n_eff,
            h.interval_low, h.interval_high)
            AS e(layer, source_node, target_node, estimator, correlation_type, correlation_score, lag_buckets, latency_ms,
                 expected_propagation, confidence, n_eff, interval_low, interval_high)
        JOIN nodes s ON s.node_id = e.source_node
        JOIN nodes t ON t.node_id = e.target_node
        WHERE h.shard = $1 AND h.event_id = $2 AND h.slot = $3 AND h.graph_id = $4
        """

    /// nil when no such graph is kept.
    func graph(_ id: String) async throws -> Stored? {
        // One snapshot: header and edges belong together.
        try await self.pool.withTransaction(.readOnly) { connection in
            guard let header = try await connection.query(Self.header, [.text(id)]).first else { return nil }
            let (event, end, layers, recipe, storedAt, slot) = try header.decode(
                (String, Timestamp, PostgresJSON<[LayerReport]>, PostgresJSON<GraphRecipe>, Timestamp, Int).self)
            let rows = try await connection.query(
                Self.edges, [.shard(Shard(event: event)), .text(event), .int16(Int16(slot)), .text(id)])
            return Stored(
                id: id, event: event, windowEnd: end, layers: layers.value, recipe: recipe.value, storedAt: storedAt,
                edges: Dictionary(try rows.map(Self.edge)) { first, _ in first })
        }
    }

    private static func edge(_ row: PostgresRow) throws -> (GraphDifference.Place, EdgeValues) {
        func node(at column: Int) throws -> NodeKey {
            NodeKey(
                domain: try row.decode(at: column), event: try row.decode(at: column + 1),
                market: try row.decode(at: column + 2), venue: try row.decode(at: column + 3))
        }
        guard let layer = Layer(rawValue: try row.decode(Int.self, at: 0)),
            let estimator = Edge.Estimator(rawValue: try row.decode(at: 9)),
            let relation = Edge.Relation(rawValue: try row.decode(at: 10))
        else { throw PostgresError(.malformedRow, detail: "an edge of graph_history") }
        return (
            GraphDifference.Place(
                layer: layer, source: try node(at: 1), target: try node(at: 5), estimator: estimator),
            EdgeValues(
                relation: relation, score: try row.decode(at: 11), lagBuckets: try row.decode(at: 12),
                latencyMs: try row.decode(at: 13), expectedPropagation: try row.decode(at: 14),
                confidence: try row.decode(at: 15), effectiveSize: try row.decode(at: 16),
                intervalLow: try row.decode(at: 17), intervalHigh: try row.decode(at: 18))
        )
    }
}
