import Logging
import Model
import TestSupport
import Testing

@testable import Postgres

/// Prepared statements, and statements through the pool.
@Suite("Statements")
struct StatementTests {
    @Test("the cache drops the statement unused for longest")
    func leastRecentlyUsed() {
        var cache = StatementCache(limit: 2)
        func key(_ text: String) -> StatementCache.Key { .init(text: text, types: []) }
        #expect(cache.insert(key("a"), name: "u1") == nil)
        #expect(cache.insert(key("b"), name: "u2") == nil)
        #expect(cache.name(for: key("a")) == "u1")
        #expect(cache.insert(key("c"), name: "u3") == "u2")
        #expect(cache.name(for: key("a")) == "u1" && cache.name(for: key("b")) == nil && cache.count == 2)
    }

    @Test("a changed table and DISCARD ALL are not noticed by the caller", arguments: [false, true])
    func staleStatements(throughPool: Bool) async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withPool(.init(minimum: 0, maximum: 1)) { pool in
                func read() async throws -> Int {
                    let select: PostgresStatement = "SELECT * FROM s"
                    if throughPool { return try await pool.query(select).count }
                    return try await pool.withConnection { try await $0.query(select).count }
                }
                func script(_ text: String) async throws {
                    try await pool.withConnection { try await $0.runScript(PostgresStatement(composed: text)) }
                }
                try await script("CREATE TABLE s (a int); INSERT INTO s VALUES (1)")
                for _ in 0..<3 { #expect(try await read() == 1) }
                try await script("ALTER TABLE s ADD b text")
                for _ in 0..<3 { #expect(try await read() == 1) }
                try await script("DISCARD ALL")
                for _ in 0..<3 { #expect(try await read() == 1) }
            }
        }
    }

    @Test("a stale plan inside a transaction ends it with an error to retry at once, and the retry works")
    func staleInTransaction() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withPool(.init(minimum: 0, maximum: 1)) { pool in
                try await pool.withConnection { connection in
                    try await connection.runScript("CREATE TABLE s (a int); INSERT INTO s VALUES (1)")
                    try await connection.query("SELECT * FROM s")
                    try await connection.runScript("ALTER TABLE s ADD b text")
                    let error = await #expect(throws: PostgresError.self) {
                        try await connection.transaction { connection in
                            _ = try await connection.query("SELECT * FROM s")
                        }
                    }
                    #expect(error?.code == .staleStatement && error?.severity == .retryNow)
                    try await connection.runScript("ALTER TABLE s ADD c text")
                }
                let count = try await pool.withRetriedTransaction { connection in
                    try await connection.query("SELECT * FROM s").count
                }
                #expect(count == 1)
            }
        }
    }

    @Test("a pipeline with a COMMIT in it is not run twice when a later plan is stale")
    func staleAfterCommit() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withConnection { connection in
                try await connection.runScript("CREATE TABLE s (a int); CREATE TABLE done (a int)")
                try await connection.query("SELECT * FROM s")
                try await connection.runScript("ALTER TABLE s ADD b text")
                await #expect(throws: PostgresError(.staleStatement, sqlState: "0A000", detail: "")) {
                    _ = try await connection.pipeline([
                        PostgresQuery("BEGIN"), PostgresQuery("INSERT INTO done VALUES (1)"), PostgresQuery("COMMIT"),
                        PostgresQuery("SELECT * FROM s"),
                    ])
                }
                #expect(try await connection.query("SELECT count(*) FROM done").column(Int.self) == [1])
            }
        }
    }

    @Test("what the server cannot do at all is not taken for a stale plan")
    func unsupported() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withPool { pool in
                for _ in 0..<3 {
                    await #expect(throws: PostgresError(.invalidStatement, sqlState: "0A000", detail: "")) {
                        try await pool.query("SELECT count(DISTINCT 1) OVER ()")
                    }
                }
            }
        }
    }

    @Test("hundreds of callers at once each get their own answer, whoever is cancelled, fails or runs late")
    func manyCallers() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withPool(.init(minimum: 0, maximum: 4, waiterLimit: 1_000, leaseTimeout: .seconds(60))) {
                pool in
                let right = await withTaskGroup(of: Int.self) { group in
                    for caller in 0..<200 { group.addTask { await Self.call(pool, caller) } }
                    return await group.reduce(0, +)
                }
                #expect(right == 200 * 20)
                #expect(pool.status.inUse == 0 && pool.status.waiters == 0)
                let after = try await pool.query("SELECT 1::bigint")
                #expect(try after.column(Int.self) == [1])
            }
        }
    }

    /// - Returns: how many of 20 statements ended as they should.
    private static func call(_ pool: PostgresPool, _ caller: Int) async -> Int {
        var right = 0
        for turn in 0..<20 {
            let number = Int64(caller * 1_000 + turn)
            do {
                switch (caller + turn) % 10 {
                case 0:
                    let task = Task { try await pool.query("SELECT $1::bigint, pg_sleep(0.002)", [.int64(number)]) }
                    task.cancel()
                    do { _ = try await task.value } catch let error as PostgresError where error.code == .cancelled {}
                    right += 1
                case 1:
                    do { try await pool.query("SELECT 1 / ($1::bigint - $1::bigint)", [.int64(number)]) } catch let
                        error as PostgresError where error.sqlState == "22012"
                    { right += 1 }
                case 2:
                    let deadline = ContinuousClock.now + .microseconds(300 * (turn + 1))
                    do { try await pool.query("SELECT $1::bigint", [.int64(number)], deadline: deadline) } catch let
                        error as PostgresError where error.code == .timeout || error.code == .overloaded
                    {}
                    right += 1
                default:
                    let rows = try await pool.query("SELECT $1::bigint", [.int64(number)])
                    if try rows.column(Int64.self) == [number] { right += 1 }
                }
            } catch {
                Issue.record(error)
            }
        }
        return right
    }

    @Test("the settings of a statement that left a transaction open do not reach the next user")
    func beginThroughPool() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withPool(.init(minimum: 0, maximum: 1)) { pool in
                for _ in 0..<3 {
                    try await pool.query("BEGIN")
                    #expect(pool.status.inUse == 0)
                    let open = try await pool.withConnection { $0.isInTransaction }
                    #expect(!open)
                }
            }
        }
    }
}
