import Engine
import Model
import Postgres
import TestSupport
import Testing

@testable import GraphBuilder

@Suite("Retention")
struct RetentionTests {
    typealias Day = ObservationPartitions.Day
    static let dayMs: Int64 = 86_400_000

    static func time(_ day: Int64, _ offsetMs: Int64 = 0) -> Timestamp {
        Timestamp(milliseconds: day * Self.dayMs + offsetMs)
    }

    static func days(_ numbers: some Sequence<Int64>) -> [Day] { numbers.map { Day(number: $0) } }

    @Test("each domain keeps its days back from its own newest observation, whatever the others have")
    func plan() {
        let plan = RetentionPlan(
            days: 3,
            domains: [
                .init(name: "old", newest: Self.time(100, 5), neededMs: 0),
                .init(name: "new", newest: Self.time(2_000, 5), neededMs: 0),
            ])
        let kept = Self.days(97...100) + Self.days(1_997...2_000)
        let gone = Self.days([-5, 50, 96, 101, 1_000, 1_996, 2_001])
        #expect(plan.retired(kept + gone) == gone)
        #expect(plan.start(of: "old") == Self.time(97) && plan.start(of: "unknown") == nil)
        #expect(plan.keeps(Day(number: 3), of: "unknown"))
        #expect(RetentionPlan(days: 3, domains: []).retired(gone).isEmpty)
    }

    @Test("what evaluations look back on is kept, however few days are asked for")
    func neededWindow() {
        let domain = RetentionPlan.Domain(name: "d", newest: Self.time(50, 10), neededMs: 5 * Self.dayMs)
        let plan = RetentionPlan(days: 1, domains: [domain])
        #expect(plan.retired(Self.days(40...50)) == Self.days(40...44))
    }

    static func observations(_ domain: String, days: some Sequence<Int64>, node: Int = 0) -> [Observation] {
        days.map {
            Observation(
                node: NodeKey(domain: domain, event: "\(domain)-\(node)", market: "m", venue: "v"),
                time: Self.time($0, Int64(node)), value: Double($0))
        }
    }

    /// Stores by the real way in, which makes partitions under their real names.
    static func store(_ observations: [Observation], _ pool: PostgresPool, _ partitions: ObservationPartitions)
        async throws
    {
        let writer = IngestWriter(
            pool: pool, partitions: partitions, nodes: NodeTable(), notifier: IngestNotifier(), metrics: IngestMetrics()
        )
        var chunk = IngestChunk()
        for item in observations {
            chunk.newNodes[item.node.id.rawValue] = item.node
            chunk.append(
                .init(
                    shard: Int16(Shard(event: item.node.event).rawValue), node: item.node.id.rawValue,
                    timeMs: item.time.milliseconds, value: item.value))
        }
        _ = try await writer.commit(chunk)
    }

    static func storedDays(_ pool: PostgresPool) async throws -> [Int64] {
        try await pool.query(
            "SELECT DISTINCT (extract(epoch FROM observed_at)::bigint / 86400) FROM observations ORDER BY 1"
        ).column(Int64.self)
    }

    static func with(
        _ body: (PostgresPool, ObservationPartitions, ObservationRetention) async throws -> Void
    ) async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                let partitions = ObservationPartitions(logger: .silent)
                try await body(
                    pool, partitions, ObservationRetention(pool: pool, partitions: partitions, days: 3, logger: .silent)
                )
            }
        }
    }

    @Test("partitions that nobody keeps are gone, the others and what comes later for a retired day are there")
    func retiring() async throws {
        try await Self.with { pool, partitions, retention in
            try await Self.store(Self.observations("old", days: 90...100), pool, partitions)
            try await Self.store(Self.observations("new", days: 196...200), pool, partitions)
            let outcome = try await retention.round()
            #expect(outcome.retired == Self.days(Array(90...96) + [196]))
            #expect(try await Self.storedDays(pool) == Array(97...100) + Array(197...200))
            let tables = try await pool.query(
                "SELECT count(*) FROM pg_class WHERE relname LIKE 'observations\\_%' AND relkind = 'r'"
            ).column(Int.self)
            #expect(tables == [8])
            // Late data for a retired day makes its partition anew, and the next round retires it again.
            try await Self.store(Self.observations("old", days: [92]), pool, partitions)
            #expect(try await Self.storedDays(pool).first == 92)
            #expect(try await retention.round().retired == Self.days([92]))
            #expect(try await retention.round() == .init())
        }
    }

    @Test("two replicas that retire at once and a sender of new domains lose nothing that is kept", arguments: 0..<4)
    func concurrently(round: Int) async throws {
        try await Self.with { pool, partitions, retention in
            try await Self.store(Self.observations("old", days: 60...100), pool, partitions)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<2 { group.addTask { _ = try await retention.round() } }
                group.addTask {
                    // Domains of their own in days that are being retired: each is the newest there.
                    for day in Int64(60)...90 {
                        try await Self.store(Self.observations("late-\(day)", days: [day], node: 1), pool, partitions)
                    }
                }
                try await group.waitForAll()
            }
            let rows = try await pool.query(
                "SELECT count(*) FROM observations o JOIN nodes n USING (shard, node_id) WHERE n.domain LIKE 'late-%'"
            ).column(Int.self)
            #expect(rows == [31])
            #expect(try await Self.storedDays(pool).suffix(4) == Array(97...100))
        }
    }

    @Test("a detachment that was interrupted is finished first")
    func interrupted() async throws {
        try await Self.with { pool, partitions, retention in
            try await Self.store(Self.observations("d", days: 90...100), pool, partitions)
            // A reader in a transaction makes the detachment wait; its end by timeout leaves it pending.
            var hasty = retention
            hasty.bounds.timeout = .milliseconds(500)
            try await pool.withTransaction(.repeatableRead) { reader in
                try await reader.query("SELECT count(*) FROM observations")
                await #expect(throws: (any Error).self) { try await hasty.round() }
                let pending = try await pool.query(RetentionStatements.pending).column(String.self)
                #expect(pending.count == 1)
            }
            #expect(try await retention.round().retired.count == 7)
            #expect(try await Self.storedDays(pool) == Array(97...100))
        }
    }

    @Test("derived rows go with their days; the newest evaluation of a shard and what is not read yet stay")
    func derivedRows() async throws {
        try await Self.with { pool, partitions, retention in
            try await Self.store(Self.observations("d", days: 99...100), pool, partitions)
            let node = NodeKey(domain: "d", event: "d-0", market: "m", venue: "v")
            try await pool.query(
                """
                INSERT INTO evaluations (shard, domain, window_end, bucket_ms, revision, duration_us)
                SELECT s, 'd', to_timestamp(86400 * day), 60000, day, 1 FROM generate_series(80, 100) day, (VALUES (3), (4)) v(s)
                WHERE s = 3 OR day < 90
                """)
            try await pool.query(
                "INSERT INTO reader_positions (shard, reader, revision) VALUES (3, 'r', 95), (4, 'r', 100)")
            try await pool.query(
                """
                INSERT INTO findings (shard, event_id, kind, node_id, window_end, domain, bucket_ms, statistic, level, detail,
                    revision)
                SELECT 3, 'd-0', 'nodeResidual', $1, to_timestamp(86400 * day), 'd', 60000, 1, 1, '{}', day + 5
                FROM generate_series(80, 100) day
                """, [.node(node.id)])
            try await pool.query(
                """
                INSERT INTO node_scores SELECT $2, $1, to_timestamp(86400 * day), 0, 0, 0, 0, 0 FROM generate_series(80, 100) day
                """, [.node(node.id), .shard(Shard(event: node.event))])
            try await pool.query(
                "INSERT INTO event_scores SELECT 3, 'd-0', 'd', to_timestamp(86400 * day), 0 FROM generate_series(80, 100) day"
            )
            var small = retention
            small.bounds.rowsPerStatement = 7
            // 17 of shard 3 below day 97, less those above revision 95; of shard 4 all but its newest.
            #expect(try await small.round().rows == 16 + 9 + 11 + 17 + 17)
            func days(_ table: String) async throws -> [Int] {
                try await pool.query(
                    PostgresStatement(
                        composed: "SELECT (extract(epoch FROM window_end) / 86400)::bigint FROM \(table) ORDER BY 1")
                ).column(Int.self)
            }
            #expect(try await days("evaluations") == [89] + Array(96...100))
            #expect(try await days("findings") == Array(91...100))
            #expect(try await days("node_scores") == Array(97...100))
            #expect(try await days("event_scores") == Array(97...100))
        }
    }
}
