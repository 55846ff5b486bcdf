import Logging
import Model
import Postgres
import TestSupport

@testable import GraphBuilder

/// One replica's keeper and engine in this process, driven by hand instead of by timers.
struct Replica {
    let keeper: LeaseKeeper
    let engine: EvaluationEngine
    let graphs: GraphStore

    init(
        _ pool: PostgresPool, name: String, validity: Duration = .seconds(60), batchEvaluations: Int = 512,
        partnerWait: Duration = .seconds(5), graphInterval: Duration = .seconds(1),
        layers: LayerControl = LayerControl()
    ) {
        self.keeper = LeaseKeeper(
            store: LeaseStore(pool: pool, replica: name, address: "\(name):1", validity: validity), logger: .silent)
        self.graphs = GraphStore()
        var settings = EvaluationEngine.Settings()
        settings.batchEvaluations = batchEvaluations
        settings.partnerWait = partnerWait
        settings.graphInterval = graphInterval
        self.engine = EvaluationEngine(
            pool: pool, keeper: self.keeper, graphs: self.graphs, metrics: GraphBuilderMetrics(), settings: settings,
            layers: layers, logger: .silent)
    }

    /// Renews and claims, then works until nothing is left.
    func work() async throws {
        await self.keeper.round()
        try await self.engine.catchUp()
    }
}

/// Observations made from a formula, and their way into the tables as ingest writes them.
enum Feed {
    /// `count` observations a minute apart for each of the nodes, correlated within a domain.
    static func observations(
        domain: String, events: [String], markets: [String] = ["m"], from start: Int64 = 0, count: Int,
        stepMs: Int64 = 60_000
    ) -> [Observation] {
        var observations: [Observation] = []
        for (index, event) in events.enumerated() {
            for (offset, market) in markets.enumerated() {
                let node = NodeKey(domain: domain, event: event, market: market, venue: "v")
                for step in 0..<count {
                    let common = Self.noise(UInt64(step) &+ 1)
                    let own = Self.noise(UInt64(step * 31 + index * 7 + offset * 3 + 1_000))
                    observations.append(
                        Observation(
                            node: node, time: Timestamp(milliseconds: start + Int64(step) * stepMs),
                            value: common + 0.3 * own))
                }
            }
        }
        return observations.sorted { ($0.time, $0.node) < ($1.time, $1.node) }
    }

    /// Uniform in -1 ... 1, the same every time.
    static func noise(_ seed: UInt64) -> Double {
        var word = seed &* 0x9E37_79B9_7F4A_7C15
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return Double((word ^ (word >> 31)) >> 11) / Double(1 << 52) - 1
    }

    /// One committed batch.
    static func store(_ observations: [Observation], in pool: PostgresPool) async throws {
        guard !observations.isEmpty else { return }
        let nodes = Dictionary(grouping: observations, by: \.node)
        try await pool.withConnection { connection in
            try await Self.makePartitions(for: observations, connection)
            try await connection.transaction { connection in
                for key in nodes.keys.sorted() {
                    try await connection.query(
                        """
                        INSERT INTO nodes (shard, node_id, domain, event_id, market, venue) VALUES ($1, $2, $3, $4, $5, $6)
                        ON CONFLICT DO NOTHING
                        """,
                        [
                            .shard(Shard(event: key.event)), .node(key.id), .text(key.domain), .text(key.event),
                            .text(key.market), .text(key.venue),
                        ])
                }
                try await connection.query(
                    """
                    INSERT INTO observations SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::timestamptz[],
                        $4::double precision[]) ON CONFLICT DO NOTHING
                    """,
                    [
                        .shardArray(observations.map { Shard(event: $0.node.event) }),
                        .nodeArray(observations.map(\.node.id)), .timestampArray(observations.map(\.time)),
                        .doubleArray(observations.map(\.value)),
                    ])
                let spans = nodes.map { ($0.key.id, $0.value.map(\.time)) }
                try await connection.query(
                    """
                    INSERT INTO ingest_log (shard_mask, node_ids, first_at, last_at, row_count)
                    VALUES (-1, $1, $2, $3, $4)
                    """,
                    [
                        .nodeArray(spans.map(\.0)), .timestampArray(spans.map { $0.1.min() ?? .earliest }),
                        .timestampArray(spans.map { $0.1.max() ?? .earliest }), .int32(Int32(observations.count)),
                    ])
            }
        }
    }

    private static func makePartitions(for observations: [Observation], _ connection: PostgresConnection) async throws {
        for day in Set(observations.map { floorDivide($0.time.milliseconds, 86_400_000) }).sorted() {
            let (from, to) = (
                Timestamp(milliseconds: day * 86_400_000).rfc3339,
                Timestamp(milliseconds: (day + 1) * 86_400_000).rfc3339
            )
            try await connection.runScript(
                PostgresStatement(
                    composed: """
                        CREATE TABLE IF NOT EXISTS observations_test_\(day < 0 ? "m" : "")\(abs(day)) PARTITION OF observations
                        FOR VALUES FROM ('\(from)') TO ('\(to)')
                        """))
        }
    }

    /// As if whoever holds shards had not been heard of for long.
    static func endLeases(in pool: PostgresPool) async throws {
        for table in ["shard_leases", "replicas"] {
            try await pool.query(PostgresStatement(composed: "UPDATE \(table) SET expires_at = '-infinity'"))
        }
    }

    static func declare(_ profile: DomainProfile, in pool: PostgresPool) async throws {
        try await pool.query(
            """
            INSERT INTO domain_profiles (domain, profile) VALUES ($1, $2)
            ON CONFLICT (domain) DO UPDATE SET profile = excluded.profile, updated_at = now()
            """, [.text(profile.domain), try .jsonb(encoding: profile)])
    }

    /// Every evaluation stored so far, in order.
    static func evaluations(in pool: PostgresPool) async throws -> [String] {
        try await pool.query(
            "SELECT shard, domain, window_end FROM evaluations ORDER BY domain, window_end, shard"
        ).map { row in
            let (shard, domain, end) = try row.decode((Shard, String, Timestamp).self)
            return "\(domain) \(end) \(shard.rawValue)"
        }
    }

    /// Stored graph ids by event.
    static func graphIDs(in pool: PostgresPool) async throws -> [String: String] {
        var ids: [String: String] = [:]
        for row in try await pool.query("SELECT event_id, graph_id FROM event_graphs") {
            let (event, id) = try row.decode((String, String).self)
            ids[event] = id
        }
        return ids
    }
}
