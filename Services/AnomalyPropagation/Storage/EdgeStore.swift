import Engine
import Model
import Postgres

/// Reads the current edges of graphs.
struct EdgeStore: Sendable {
    let pool: PostgresPool

    /// The edges that are in force, of all events of the given shards. A pair may come twice, once from the graph of either end.
    /// - Parameter limit: strongest first, when there are more.
    func current(inShards shards: [Shard], limit: Int) async throws -> [(shard: Shard, edge: Edge)] {
        let rows = try await self.pool.query(
            """
            SELECT c.shard, s.domain, s.event_id, s.market, s.venue, t.domain, t.event_id, t.market, t.venue, c.layer,
                c.correlation_type, c.estimator, c.correlation_score, c.lag_buckets, c.latency_ms, c.lag_source, c.overlap,
                c.n_eff, c.interval_low, c.interval_high, c.p_value, c.q_value, c.confidence, c.expected_propagation,
                c.bucket_ms, c.window_start, c.window_end, c.accepted_at, c.source_node, c.target_node
            FROM multi_layer_correlations c
            JOIN nodes s ON s.node_id = c.source_node
            JOIN nodes t ON t.node_id = c.target_node
            WHERE c.shard = ANY($1) AND c.superseded_at IS NULL
            ORDER BY abs(c.correlation_score) * c.confidence DESC LIMIT $2
            """, [.shardArray(shards), .int(limit)])
        var nodes = KnownNodes()
        return try rows.map { try Self.edge($0, &nodes) }
    }

    /// Nodes by their ids: one that is met again shares the memory of its names.
    private struct KnownNodes {
        private var byID: [Int64: NodeKey] = [:]

        /// `id` and `names` are columns: of the id, and of the first of the four names.
        mutating func node(_ row: PostgresRow, id: Int, names: Int) throws -> NodeKey? {
            let id: Int64 = try row.decode(at: id)
            if let known = self.byID[id] { return known }
            let node = try NodeKey(row, at: names)
            self.byID[id] = node
            return node
        }
    }

    private static func edge(_ row: PostgresRow, _ nodes: inout KnownNodes) throws -> (shard: Shard, edge: Edge) {
        func column<Value: PostgresDecodable>(_ index: Int, _ type: Value.Type = Value.self) throws -> Value {
            try row.decode(type, at: index)
        }
        guard let source = try nodes.node(row, id: 28, names: 1), let target = try nodes.node(row, id: 29, names: 5),
            let layer = Layer(rawValue: try column(9)), let relation = Edge.Relation(rawValue: try column(10)),
            let estimator = Edge.Estimator(rawValue: try column(11)),
            let lagSource = Edge.LagSource(rawValue: try column(15))
        else {
            throw PostgresError(
                .malformedRow, detail: "a stored edge has a relation, estimator or layer that is not known")
        }
        let edge = Edge(
            source: source, target: target, layer: layer, relation: relation, estimator: estimator,
            score: try column(12), lagBuckets: try column(13), latencyMs: try column(14), lagSource: lagSource,
            overlap: try column(16), effectiveSize: try column(17), intervalLow: try column(18),
            intervalHigh: try column(19), pValue: try column(20), qValue: try column(21), confidence: try column(22),
            expectedPropagation: try column(23), bucketMs: try column(24), windowStart: try column(25),
            windowEnd: try column(26), detectedAt: try column(27))
        return (try column(0), edge)
    }
}
