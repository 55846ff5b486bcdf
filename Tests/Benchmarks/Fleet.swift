import Foundation
import Model
import Postgres

/// The stored data of many nodes, all evaluated and learnt up to the last closed bucket, as an owner leaves them that stops.
struct Fleet {
    static let events = 200
    static let nodesPerEvent = 50
    static let nodeCount = Self.events * Self.nodesPerEvent
    static let closedBuckets = 840
    static let seed: UInt64 = 20_260_101
    static let profile = DomainProfile(domain: "fleet", bucketMs: bucketMs)

    private static let bucketMs: Int64 = 60_000
    private static let start = Timestamp(milliseconds: 1_704_067_200_000)
    private static var windowEnd: Timestamp {
        Timestamp(milliseconds: Self.start.milliseconds + Int64(Self.closedBuckets) * Self.bucketMs)
    }

    let connection: PostgresConnection

    /// As detectors are stored that have met nothing yet.
    private struct State: Encodable {
        var profile: DomainProfile
        var events: [String: String] = [:]
    }

    nonisolated(nonsending) func store() async throws {
        let nodes = (0..<Self.nodeCount).map { index in
            NodeKey(
                domain: Self.profile.domain, event: "event-\(index / Self.nodesPerEvent)",
                market: "market-\(index % Self.nodesPerEvent)", venue: "venue")
        }
        try await self.connection.runScript(
            "CREATE TABLE observations_fleet PARTITION OF observations FOR VALUES FROM ('2024-01-01Z') TO ('2024-01-02Z')"
        )
        try await self.connection.query(
            """
            INSERT INTO nodes (shard, node_id, domain, event_id, market, venue)
            SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
            """,
            [
                .shardArray(nodes.map { Shard(event: $0.event) }), .nodeArray(nodes.map(\.id)),
                .textArray(nodes.map(\.domain)), .textArray(nodes.map(\.event)), .textArray(nodes.map(\.market)),
                .textArray(nodes.map(\.venue)),
            ])
        try await self.copyObservations(of: nodes)
        try await self.connection.query(
            "INSERT INTO domain_profiles (domain, profile) VALUES ($1, $2)",
            [.text(Self.profile.domain), try .jsonb(encoding: Self.profile)])
        let encoder = PropertyListEncoder()
        encoder.outputFormat = .binary
        let shards = Set(nodes.map { Shard(event: $0.event) }).sorted()
        for shard in shards {
            try await self.connection.query(
                "INSERT INTO evaluations (shard, domain, window_end, bucket_ms, revision, duration_us) VALUES ($1, $2, $3, $4, 1, 1)",
                [.shard(shard), .text(Self.profile.domain), .timestamp(Self.windowEnd), .int64(Self.bucketMs)])
            try await self.connection.query(
                "INSERT INTO detector_states (shard, domain, window_end, state) VALUES ($1, $2, $3, $4)",
                [
                    .shard(shard), .text(Self.profile.domain), .timestamp(Self.windowEnd),
                    .bytea(Array(try encoder.encode(State(profile: Self.profile)))),
                ])
        }
        // What autovacuum does elsewhere.
        try await self.connection.runScript("VACUUM ANALYZE")
    }

    /// One bucket for the lateness and one that is open besides the closed ones.
    private nonisolated(nonsending) func copyObservations(of nodes: [NodeKey]) async throws {
        let nodes = nodes.map { (shard: Shard(event: $0.event), id: $0.id) }.sorted {
            ($0.shard, $0.id) < ($1.shard, $1.id)
        }
        try await self.connection.copyIn(
            "COPY observations (shard, node_id, observed_at, value) FROM STDIN (FORMAT binary)"
        ) {
            (writer) throws(PostgresError) in
            var state = Self.seed
            for node in nodes {
                for bucket in 0..<Int64(Self.closedBuckets + 2) {
                    // Knuth's generator of linear congruence; its high bits are what is used.
                    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                    try writer.beginRow(columns: 4)
                    writer.int16(Int16(node.shard.rawValue))
                    writer.int64(node.id.rawValue)
                    writer.timestamp(Timestamp(milliseconds: Self.start.milliseconds + bucket * Self.bucketMs))
                    writer.double(Double(state >> 11) * 0x1p-53)
                }
            }
        }
    }

    /// All shards are free and no graph is stored.
    nonisolated(nonsending) func release() async throws {
        try await self.connection.runScript(
            """
            UPDATE shard_leases SET owner = NULL, owner_address = NULL, expires_at = '-infinity';
            DELETE FROM replicas;
            DELETE FROM multi_layer_correlations;
            DELETE FROM event_graphs
            """)
    }

    /// Owned shards and stored graphs.
    nonisolated(nonsending) func standing() async throws -> (shards: Int, graphs: Int) {
        try await self.connection.query(
            "SELECT (SELECT count(*) FROM shard_leases WHERE owner IS NOT NULL), (SELECT count(*) FROM event_graphs)")[
                0
            ]
            .decode((Int, Int).self)
    }
}
