import Foundation
import Glibc
import Model
import Postgres
import ServiceRuntime
import TestSupport
import Testing

@testable import GraphBuilder

@Suite("Snapshots")
struct SnapshotTests {
    /// A folder that is gone afterwards.
    static func withFolder<Result>(_ body: (SnapshotFolder) async throws -> Result) async throws -> Result {
        let path = NSTemporaryDirectory() + "snapshots-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try await body(SnapshotFolder(path: path))
    }

    /// Real results of real evaluations, with an anomaly and a forecast beside them.
    static func fill(_ pool: PostgresPool) async throws {
        try await Feed.store(
            Feed.observations(domain: "a", events: ["alpha", "beta"], markets: ["m", "n"], count: 400), in: pool)
        let replica = Replica(pool, name: "one", partnerWait: .zero)
        try await replica.work()
        try await replica.engine.storeStates()
        for text in [
            """
            INSERT INTO anomalies (shard, id, kind, event_id, node_id, started_at, opened_at, severity, peak_statistic, level,
                values, reason) VALUES (3, 'an', 'nodeResidual', 'alpha', 7, 'epoch', 'epoch', 'HIGH', 1.1, 0.3,
                '{"a": [1, 2.5]}', E'tab\\there, line\\nfeed, back\\\\slash, \\u00e4')
            """,
            """
            INSERT INTO forecasts (shard, id, event_id, source_node, target_node, moved_at, horizon_at, latency_ms, move,
                source_sd, beta, expected_change, confidence)
            VALUES (3, 'fo', 'alpha', -7, 8, 'epoch', 'epoch', 0.1, 1e-300, 0.30000000000000004, -1.7976931348623157e308, 1, 1)
            """,
            "INSERT INTO reader_positions VALUES (3, 'anomaly-propagation', 1, '\\x00ff0a5c')",
            "INSERT INTO topology VALUES ('t', 'a', 'b')",
        ] { try await pool.query(PostgresStatement(composed: text)) }
    }

    /// Every row a snapshot holds, as text; revisions aside, for a restored row has that of its restoring.
    static func rows(in pool: PostgresPool) async throws -> [String: [String]] {
        var found: [String: [String]] = [:]
        for table in SnapshotTable.all {
            found[table.name] = try await pool.query(
                PostgresStatement(
                    composed:
                        "SELECT (to_jsonb(x) - 'revision')::text FROM (SELECT * FROM \(table.source)) x ORDER BY 1")
            ).column(String.self)
        }
        return found
    }

    static func rotation(_ database: TestDatabase, _ folder: SnapshotFolder, days: Int = 7) -> SnapshotRotation {
        SnapshotRotation(configuration: database.configuration, folder: folder, retentionDays: days)
    }

    @Test("a snapshot restored into an empty database gives every row back, to the last digit")
    func emptyDatabase() async throws {
        try await Self.withFolder { folder in
            let (id, before) = try await TestDatabase.with { database in
                try await database.withPool { pool in
                    try await Self.fill(pool)
                    let outcome = try await Self.rotation(database, folder).run()
                    #expect(outcome.unrecorded == nil)
                    let recorded = try await pool.query(
                        "SELECT row_count FROM multi_layer_snapshots WHERE id = $1 AND verified_ok",
                        [.text(outcome.manifest.id)]
                    ).column(Int.self)
                    #expect(recorded == [outcome.manifest.rowCount])
                    return (outcome.manifest.id, try await Self.rows(in: pool))
                }
            }
            for name in SnapshotTable.all.map(\.name) where name != "domain_profiles" {
                #expect(before[name]?.isEmpty == false, "\(name) takes no part in this test")
            }
            try await TestDatabase.with { database in
                try await database.withPool { pool in
                    let restore = SnapshotRestore(
                        configuration: database.configuration, folder: folder, mode: .merge)
                    var rehearsal = restore
                    rehearsal.isRehearsal = true
                    let rehearsed = try await rehearsal.run(id)
                    #expect(try await Self.rows(in: pool).values.allSatisfy(\.isEmpty))
                    #expect(try await restore.run(id) == rehearsed)
                    #expect(try await Self.rows(in: pool) == before)
                    // Whoever writes next has a newer revision than everything restored.
                    let behind = try await pool.query(
                        """
                        SELECT count(*) FROM event_graphs g JOIN shard_leases l USING (shard) WHERE g.revision > l.revision
                        """
                    ).column(Int.self)
                    #expect(behind == [0])
                    // A second time changes nothing.
                    #expect(try await restore.run(id).allSatisfy { $0.written == 0 && $0.removed == 0 })
                    #expect(try await Self.rows(in: pool) == before)
                    // An auditor finds both, and no rehearsal; where only security counts, none.
                    var silent = restore
                    silent.auditLevel = .security
                    _ = try await silent.run(id)
                    let audited = try await pool.query(
                        "SELECT action FROM audit_log WHERE kind = 'change' AND actor <> '-' AND service = 'graph-builder'"
                    ).column(String.self)
                    let words = "snapshot restore \(id) --mode merge"
                    #expect(audited == [words, words])
                    // The graph is served as it was.
                    let graph = try await ColdGraphReader(pool: pool).graph("alpha")
                    #expect(graph?.graph.edges.isEmpty == false)
                }
            }
        }
    }

    @Test("restored into a living database it brings back what is missing and leaves what is newer")
    func livingDatabase() async throws {
        try await Self.withFolder { folder in
            try await TestDatabase.with { database in
                try await database.withPool { pool in
                    try await Self.fill(pool)
                    let replica = Replica(pool, name: "two", partnerWait: .zero)
                    let id = try await Self.rotation(database, folder).run().manifest.id
                    let before = try await Self.rows(in: pool)
                    // Evaluation goes on for one event; the other loses its graph, and an anomaly is gone.
                    try await pool.query("UPDATE shard_leases SET expires_at = '-infinity'")
                    try await pool.query("DELETE FROM replicas")
                    try await Feed.store(
                        Feed.observations(
                            domain: "a", events: ["alpha", "beta"], markets: ["m", "n"], from: 400 * 60_000, count: 30),
                        in: pool)
                    try await replica.work()
                    let advanced = try await Self.rows(in: pool)
                    try await pool.query("DELETE FROM event_graphs WHERE event_id = 'beta'")
                    try await pool.query("DELETE FROM multi_layer_correlations WHERE event_id = 'beta'")
                    try await pool.query("DELETE FROM anomalies")
                    let restore = SnapshotRestore(configuration: database.configuration, folder: folder, mode: .merge)
                    _ = try await restore.run(id)
                    let after = try await Self.rows(in: pool)
                    func of(_ event: String, _ table: String, _ rows: [String: [String]]) -> Set<String> {
                        Set(rows[table]?.filter { $0.contains("\"event_id\": \"\(event)\"") } ?? [])
                    }
                    #expect(of("beta", "event_graphs", after) == of("beta", "event_graphs", before))
                    #expect(
                        of("beta", "multi_layer_correlations", after) == of("beta", "multi_layer_correlations", before))
                    #expect(of("alpha", "event_graphs", after) == of("alpha", "event_graphs", advanced))
                    #expect(of("alpha", "event_graphs", after) != of("alpha", "event_graphs", before))
                    #expect(
                        of("alpha", "multi_layer_correlations", after)
                            .isSuperset(of: of("alpha", "multi_layer_correlations", advanced)))
                    #expect(after["anomalies"] == before["anomalies"])
                    // The owner notices: its next write has a newer revision and makes its own graph current again.
                    try await Feed.store(
                        Feed.observations(
                            domain: "a", events: ["alpha", "beta"], markets: ["m", "n"], from: 430 * 60_000, count: 10),
                        in: pool)
                    try await replica.work()
                    let current = try await pool.query(
                        "SELECT count(DISTINCT window_end) FROM event_graphs"
                    ).column(Int.self)
                    #expect(current == [1])
                }
            }
        }
    }

    @Test("replacing makes results what they were; a replica then comes to the same graphs and findings again")
    func replacing() async throws {
        try await Self.withFolder { folder in
            try await TestDatabase.with { database in
                try await database.withPool { pool in
                    try await Self.fill(pool)
                    let id = try await Self.rotation(database, folder).run().manifest.id
                    let before = try await Self.rows(in: pool)
                    try await pool.query("UPDATE shard_leases SET expires_at = '-infinity'")
                    try await pool.query("DELETE FROM replicas")
                    try await Feed.store(
                        Feed.observations(
                            domain: "a", events: ["alpha", "beta"], markets: ["m", "n"], from: 400 * 60_000, count: 30),
                        in: pool)
                    try await Replica(pool, name: "two", partnerWait: .zero).work()
                    let graphs = try await Feed.graphIDs(in: pool)
                    let evaluations = try await Feed.evaluations(in: pool)
                    try await pool.query("UPDATE multi_layer_correlations SET correlation_score = 0")
                    let restore = SnapshotRestore(
                        configuration: database.configuration, folder: folder, mode: .replace)
                    // Not while a replica lives.
                    await #expect(throws: SnapshotError.self) { try await restore.run(id) }
                    try await pool.query("DELETE FROM replicas")
                    _ = try await restore.run(id)
                    #expect(try await Self.rows(in: pool) == before)
                    try await Replica(pool, name: "three", partnerWait: .zero).work()
                    #expect(try await Feed.graphIDs(in: pool) == graphs)
                    #expect(try await Feed.evaluations(in: pool) == evaluations)
                }
            }
        }
    }
}
