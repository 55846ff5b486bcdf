import Foundation
import Model
import Postgres

/// Reads the stored graph of an event: the same as in its owner's memory, as of the last write.
struct ColdGraphReader: Sendable {
    let pool: PostgresPool

    struct Stored: Sendable {
        var graph: CorrelationGraph
        var revision: Int64
        /// Seconds since it was written, by the database's clock.
        var ageSeconds: Double
    }

    private static let edges: PostgresStatement = """
        SELECT c.layer, s.domain, s.event_id, s.market, s.venue, t.domain, t.event_id, t.market, t.venue, c.estimator,
               c.correlation_type, c.correlation_score, c.latency_ms, c.expected_propagation, c.confidence, c.lag_buckets,
               c.lag_source, c.overlap, c.n_eff, c.interval_low, c.interval_high, c.p_value, c.q_value, c.window_start,
               c.window_end, c.bucket_ms, c.accepted_at, x.domain, x.event_id, x.market, x.venue
        FROM multi_layer_correlations c
        JOIN nodes s ON s.node_id = c.source_node
        JOIN nodes t ON t.node_id = c.target_node
        LEFT JOIN nodes x ON x.node_id = c.explained_by
        WHERE c.shard = $1 AND c.event_id = $2 AND c.superseded_at IS NULL
        """

    /// nil when no graph of this event was ever stored.
    func graph(_ event: String) async throws -> Stored? {
        let shard = Shard(event: event)
        // One snapshot: header and edges belong together.
        return try await self.pool.withTransaction(.readOnly) { connection in
            let results = try await connection.pipeline([
                PostgresQuery(
                    """
                    SELECT graph_id, window_end, layers, revision, extract(epoch FROM now() - evaluated_at)::double precision
                    FROM event_graphs WHERE shard = $1 AND event_id = $2
                    """, [.shard(shard), .text(event)]),
                PostgresQuery(Self.edges, [.shard(shard), .text(event)]),
            ])
            guard let header = results[0].first else { return nil }
            let (id, end, layers, revision, age) = try header.decode(
                (String, Timestamp, PostgresJSON<[LayerReport]>, Int64, Double).self)
            let edges = try results[1].map(Self.edge).sorted {
                ($0.layer, $1.weight, $0.source, $0.target, $0.estimator.rawValue) < (
                    $1.layer, $0.weight, $1.source, $1.target, $1.estimator.rawValue
                )
            }
            return Stored(
                graph: CorrelationGraph(id: id, event: event, windowEnd: end, layers: layers.value, edges: edges),
                revision: revision, ageSeconds: max(0, age))
        }
    }

    private static func edge(_ row: PostgresRow) throws -> Edge {
        func node(at column: Int) throws -> NodeKey {
            NodeKey(
                domain: try row.decode(at: column), event: try row.decode(at: column + 1),
                market: try row.decode(at: column + 2), venue: try row.decode(at: column + 3))
        }
        func choice<Choice: RawRepresentable>(_ type: Choice.Type, at column: Int) throws -> Choice
        where Choice.RawValue == String {
            guard let choice = Choice(rawValue: try row.decode(String.self, at: column)) else {
                throw PostgresError(.malformedRow, detail: "column \(column) of an edge")
            }
            return choice
        }
        guard let layer = Layer(rawValue: try row.decode(Int.self, at: 0)) else {
            throw PostgresError(.malformedRow, detail: "layer of an edge")
        }
        return Edge(
            source: try node(at: 1), target: try node(at: 5), layer: layer,
            relation: try choice(Edge.Relation.self, at: 10), estimator: try choice(Edge.Estimator.self, at: 9),
            score: try row.decode(at: 11), lagBuckets: try row.decode(at: 15), latencyMs: try row.decode(at: 12),
            lagSource: try choice(Edge.LagSource.self, at: 16), overlap: try row.decode(at: 17),
            effectiveSize: try row.decode(at: 18), intervalLow: try row.decode(at: 19),
            intervalHigh: try row.decode(at: 20), pValue: try row.decode(at: 21), qValue: try row.decode(at: 22),
            confidence: try row.decode(at: 14), expectedPropagation: try row.decode(at: 13),
            bucketMs: try row.decode(at: 25), windowStart: try row.decode(at: 23), windowEnd: try row.decode(at: 24),
            detectedAt: try row.decode(at: 26),
            explainedBy: try row.decode(String?.self, at: 27) == nil ? nil : try node(at: 27))
    }
}
