import Engine
import Model
import Postgres
import TestSupport
import Testing

@testable import GraphBuilder

@Suite("Verifying stored graphs")
struct VerifyTests {
    /// Two correlated domains on two fast clocks (two buckets are what a partner that may still deliver is waited for), and two
    /// venues with raw ticks a day later.
    private static var observations: [Observation] {
        Feed.observations(domain: "a", events: ["alpha", "beta"], markets: ["m", "n"], count: 200, stepMs: 100)
            + Feed.observations(domain: "b", events: ["gamma", "alpha"], count: 40, stepMs: 500)
            + ArrivalOrderTests.trades(domain: "coins", from: 86_400_000, minutes: 199)
    }

    private static let profiles = [
        ArrivalOrderTests.profile("a", bucketMs: 100), ArrivalOrderTests.profile("b", bucketMs: 500),
        ArrivalOrderTests.profile("coins"),
    ]

    /// Runs one replica over the observations in some pieces.
    private static func run(_ batches: [[Observation]], in pool: PostgresPool) async throws -> [String: String] {
        for profile in Self.profiles { try await Feed.declare(profile, in: pool) }
        let replica = Replica(pool, name: "one", partnerWait: .zero)
        for batch in batches {
            try await Feed.store(batch, in: pool)
            try await replica.work()
        }
        while try await replica.engine.status().contains(where: { $0.waitingBuckets > 0 }) {
            try await Task.sleep(for: .milliseconds(100))
            try await replica.work()
        }
        return try await Feed.graphIDs(in: pool)
    }

    private static func code(_ id: String, in pool: PostgresPool) async throws -> Int32 {
        VerifyCommand.report(id, try await GraphVerifier(pool: pool).verify(id)).code
    }

    @Test("every current graph of a run verifies", .timeLimit(.minutes(5)))
    func runVerifies() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                let ids = try await Self.run(ArrivalOrderTests.pieces(Self.observations, 4), in: pool)
                #expect(ids.keys.sorted() == ["alpha", "beta", "coin", "gamma"])
                let kept = try await pool.query("SELECT graph_id FROM graph_history ORDER BY 1").column(String.self)
                #expect(kept.count > ids.count && Set(ids.values).isSubset(of: kept))
                var edges = 0
                for (event, id) in ids {
                    guard case .equal(let match) = try await GraphVerifier(pool: pool).verify(id) else {
                        Issue.record(
                            "\(event): \(VerifyCommand.report(id, try await GraphVerifier(pool: pool).verify(id)).text)"
                        )
                        continue
                    }
                    #expect(match.event == event && match.isCurrent)
                    edges += match.edges
                }
                #expect(edges > 4)
                let ticks = try await pool.query(
                    "SELECT count(*) FROM multi_layer_correlations WHERE estimator = 'hayashiYoshida' AND superseded_at IS NULL"
                ).column(Int.self)
                #expect(ticks.first ?? 0 > 0)
            }
        }
    }

    @Test("one altered observation in the window fails, one before it does not, and the right row back verifies again")
    func alteredRow() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                let ids = try await Self.run([Self.observations], in: pool)
                let id = try #require(ids["beta"])
                let node = NodeKey(domain: "a", event: "alpha", market: "n", venue: "v")
                func add(_ change: Double, at step: Int64) async throws {
                    let changed = try await pool.query(
                        "UPDATE observations SET value = value + $1 WHERE node_id = $2 AND observed_at = $3",
                        [.double(change), .node(node.id), .timestamp(Timestamp(milliseconds: step * 100))])
                    #expect(changed.affectedRows == 1)
                }
                #expect(try await Self.code(id, in: pool) == 0)
                // Far in the baseline, by one part in a billion, of a node of another event.
                try await add(1e-9, at: 60)
                #expect(try await Self.code(id, in: pool) == 1)
                let value = Self.observations.first { $0.node == node && $0.time.milliseconds == 6_000 }?.value
                try await pool.query(
                    "UPDATE observations SET value = $1 WHERE node_id = $2 AND observed_at = $3",
                    [.double(try #require(value)), .node(node.id), .timestamp(Timestamp(milliseconds: 6_000))])
                #expect(try await Self.code(id, in: pool) == 0)
                try await add(7, at: 2)
                #expect(try await Self.code(id, in: pool) == 0)
                try await add(7, at: 180)
                let report = VerifyCommand.report(id, try await GraphVerifier(pool: pool).verify(id))
                #expect(report.code == 1 && report.text.contains("id now: ") && report.text.contains("edge L"))
            }
        }
    }

    @Test("an altered row of an edge fails, too, though the id comes out the same")
    func alteredEdge() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                let ids = try await Self.run([Self.observations], in: pool)
                let id = try #require(ids["alpha"])
                try await pool.query(
                    "UPDATE multi_layer_correlations SET p_value = p_value / 2 WHERE event_id = 'alpha'")
                let report = VerifyCommand.report(id, try await GraphVerifier(pool: pool).verify(id))
                #expect(report.code == 1 && !report.text.contains("id now: "))
            }
        }
    }

    @Test("an unknown id, retired observations and another engine are not to be verified")
    func unverifiable() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                let ids = try await Self.run([Self.observations], in: pool)
                let id = try #require(ids["beta"])
                #expect(try await Self.code(String(repeating: "0", count: 64), in: pool) == 2)
                // The domain goes on for days, and its first day is retired.
                try await Feed.store(
                    Feed.observations(domain: "a", events: ["beta"], from: 3 * 86_400_000, count: 3, stepMs: 100),
                    in: pool)
                try await pool.query("DELETE FROM observations WHERE observed_at < '1970-01-02'")
                #expect(try await Self.code(id, in: pool) == 2)
                try await pool.query(
                    "UPDATE graph_history SET recipe = jsonb_set(recipe, '{engine}', '\"0\"') WHERE graph_id = $1",
                    [.text(id)])
                let report = VerifyCommand.report(id, try await GraphVerifier(pool: pool).verify(id))
                #expect(report.code == 2 && report.text.contains("engine version 0"))
            }
        }
    }

    @Test("an event keeps its last graphs and no more")
    func bounded() {
        let recipe = GraphRecipe(
            engine: "1", thresholds: LayerThresholds(),
            parts: [.init(domain: "a", windowEnd: .earliest, ready: [], late: [])],
            domains: ["a": .init(bucketMs: 60_000, oldest: .earliest)])
        let slots = (-300..<300).map { recipe.slot(windowEnd: Timestamp(milliseconds: $0 * 60_000)) }
        #expect(Set(slots) == Set(0..<GraphRecipe.historyLength))
        #expect(slots[0..<128].elementsEqual(slots[128..<256]))
    }
}
