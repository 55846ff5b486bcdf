import Model
import TestSupport
import Testing

@testable import Postgres

/// Statements of many callers on shared connections.
@Suite("Shared pipelines")
struct PipelineTests {
    static let settings = PostgresConfiguration.Pool(
        minimum: 0, maximum: 3, waiterLimit: 5_000, leaseTimeout: .seconds(60))

    @Test("hundreds of callers each get their own answer; failures and cancellations stay with their callers")
    func ownAnswers() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withPool(Self.settings) { pool in
                try await pool.withConnection { try await $0.runScript("CREATE TABLE t (n bigint PRIMARY KEY)") }
                let right = await withTaskGroup(of: Int.self) { group in
                    for caller in 0..<200 { group.addTask { await Self.call(pool, caller) } }
                    return await group.reduce(0, +)
                }
                #expect(right == 200 * 30)
                // Every one that was acknowledged is there, and each of the twice-inserted ones once.
                let count = try await pool.query("SELECT count(*) FROM t").column(Int.self)
                #expect(count == [200 * 3])
                while pool.status.inUse > 0 { try await Task.sleep(for: .milliseconds(5)) }
                #expect(pool.status.waiters == 0)
            }
        }
    }

    /// - Returns: how many of 30 statements ended as they should.
    private static func call(_ pool: PostgresPool, _ caller: Int) async -> Int {
        var right = 0
        for turn in 0..<30 {
            let number = Int64(caller * 1_000 + turn)
            do {
                switch turn % 10 {
                case 0:
                    try await pool.pipelined("INSERT INTO t VALUES ($1)", [.int64(number)])
                    right += 1
                case 1:
                    do { try await pool.pipelined("INSERT INTO t VALUES ($1)", [.int64(number - 1)]) } catch let error
                        as PostgresError where error.code == .uniqueViolation
                    { right += 1 }
                case 2 where caller % 10 == 0:
                    let task = Task { try await pool.pipelined("SELECT $1::bigint, pg_sleep(0.02)", [.int64(number)]) }
                    await Task.yield()
                    task.cancel()
                    do { _ = try await task.value } catch let error as PostgresError where error.code == .cancelled {}
                    right += 1
                case 3 where caller % 10 == 0:
                    let deadline = ContinuousClock.now + .milliseconds(turn)
                    do { try await pool.pipelined("SELECT pg_sleep(0.02)", deadline: deadline) } catch let error
                        as PostgresError where error.code == .timeout || error.code == .overloaded
                    {}
                    right += 1
                default:
                    let rows = try await pool.pipelined("SELECT $1::bigint", [.int64(number)])
                    if try rows.column(Int64.self) == [number] { right += 1 }
                }
            } catch {
                Issue.record(error)
            }
        }
        return right
    }

    @Test("reads that go together: one that fails, is cancelled or runs out of time takes nothing from the others")
    func readsTogether() async throws {
        try await TestDatabase.with(migrated: false) { database in
            var settings = Self.settings
            settings.maximum = 1
            try await database.withPool(settings) { pool in
                let right = await withTaskGroup(of: Int.self) { group in
                    for caller in 0..<40 { group.addTask { await Self.read(pool, caller) } }
                    return await group.reduce(0, +)
                }
                #expect(right == 40 * 50)
                while pool.status.inUse > 0 { try await Task.sleep(for: .milliseconds(5)) }
            }
        }
    }

    /// - Returns: how many of 50 reads ended as they should.
    private static func read(_ pool: PostgresPool, _ caller: Int) async -> Int {
        var right = 0
        for turn in 0..<50 {
            let number = Int64(caller * 1_000 + turn)
            do {
                switch (caller + turn) % 16 {
                case 0:
                    do {
                        try await pool.pipelined("SELECT 1 / ($1::bigint - $1)", [.int64(number)], isReadOnly: true)
                    } catch let error as PostgresError where error.sqlState == "22012" { right += 1 }
                case 1:
                    let task = Task {
                        try await pool.pipelined("SELECT $1::bigint", [.int64(number)], isReadOnly: true)
                    }
                    task.cancel()
                    do { _ = try await task.value } catch let error as PostgresError where error.code == .cancelled {}
                    right += 1
                case 2:
                    let deadline = ContinuousClock.now + .microseconds(turn * 20)
                    do {
                        try await pool.pipelined("SELECT pg_sleep(0.001)", deadline: deadline, isReadOnly: true)
                    } catch let error as PostgresError where error.code == .timeout || error.code == .overloaded {}
                    right += 1
                case 3:
                    // A text of its own each time is prepared within the group.
                    let text = PostgresStatement(composed: "SELECT \(number)::bigint")
                    if try await pool.pipelined(text, isReadOnly: true).column(Int64.self) == [number] { right += 1 }
                default:
                    let rows = try await pool.pipelined("SELECT $1::bigint", [.int64(number)], isReadOnly: true)
                    if try rows.column(Int64.self) == [number] { right += 1 }
                }
            } catch {
                Issue.record(error)
            }
        }
        return right
    }

    @Test("reads that wait behind one that hangs obey their deadline, and a broken connection loses none of them")
    func readsWaiting() async throws {
        try await TestDatabase.with(migrated: false) { database in
            var settings = Self.settings
            settings.maximum = 1
            try await database.withPool(settings) { pool in
                let hanging = Task { try await pool.pipelined("SELECT pg_sleep(30)", isReadOnly: true) }
                try await Task.sleep(for: .milliseconds(100))
                let late = await #expect(throws: PostgresError.self) {
                    try await pool.pipelined("SELECT 1", deadline: .now + .milliseconds(200), isReadOnly: true)
                }
                #expect(late?.code == .timeout)
                let waiting = (0..<5).map { number in
                    Task { try await pool.pipelined("SELECT $1::bigint", [.int64(number)], isReadOnly: true) }
                }
                try await Task.sleep(for: .milliseconds(100))
                try await database.withConnection { connection in
                    _ = try await connection.query(
                        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                }
                let error = await #expect(throws: PostgresError.self) { _ = try await hanging.value }
                #expect(error?.code == .connectionLost)
                for (number, task) in waiting.enumerated() {
                    #expect(try await task.value.column(Int64.self) == [Int64(number)])
                }
            }
        }
    }

    @Test("a slow statement is moved out of the way of one that cannot wait, and still gets its answer, once")
    func eviction() async throws {
        try await TestDatabase.with(migrated: false) { database in
            var settings = Self.settings
            settings.maximum = 2
            settings.minimum = 2
            try await database.withPool(settings) { pool in
                try await pool.withConnection { try await $0.runScript("CREATE TABLE t (n bigint)") }
                try await pool.pipelined("SELECT 1")
                let slow = Task {
                    try await pool.pipelined("WITH s AS (SELECT pg_sleep(6)) INSERT INTO t SELECT 1 FROM s")
                }
                try await Task.sleep(for: .milliseconds(10))
                let clock = ContinuousClock()
                let start = clock.now
                let error = await #expect(throws: PostgresError.self) {
                    try await pool.pipelined("SELECT pg_sleep(30)", deadline: start + .seconds(1))
                }
                #expect(error?.code == .timeout)
                #expect(clock.now - start < .seconds(5))
                #expect(try await slow.value.affectedRows == 1)
                #expect(try await pool.query("SELECT count(*) FROM t").column(Int.self) == [1])
            }
        }
    }

    @Test("who has no time to wait for a connection does not take the others with him")
    func patience() async throws {
        try await TestDatabase.with(migrated: false) { database in
            var settings = Self.settings
            settings.maximum = 1
            try await database.withPool(settings) { pool in
                let holder = Task {
                    try await pool.withConnection { _ in try await Task.sleep(for: .milliseconds(600)) }
                }
                while pool.status.inUse == 0 { try await Task.sleep(for: .milliseconds(5)) }
                let hurried = Task { try await pool.pipelined("SELECT 1", deadline: .now + .milliseconds(50)) }
                let patient = Task { try await pool.pipelined("SELECT 7::bigint") }
                await #expect(throws: PostgresError.self) { try await hurried.value }
                #expect(try await patient.value.column(Int64.self) == [7])
                try await holder.value
            }
        }
    }

    @Test("shared connections give way to a caller who waits for one of his own")
    func yields() async throws {
        try await TestDatabase.with(migrated: false) { database in
            var settings = Self.settings
            settings.maximum = 1
            settings.leaseTimeout = .seconds(5)
            try await database.withPool(settings) { pool in
                let busy = Task {
                    while !Task.isCancelled { _ = try? await pool.pipelined("SELECT 1") }
                }
                for _ in 0..<10 {
                    let value = try await pool.withConnection {
                        try await $0.query("SELECT 7::bigint").column(Int.self)
                    }
                    #expect(value == [7])
                }
                busy.cancel()
                await busy.value
            }
        }
    }

    @Test("killed connections fail the statements under way and no others; stale plans are not noticed")
    func trouble() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withPool(Self.settings) { pool in
                try await pool.withConnection {
                    try await $0.runScript("CREATE TABLE s (a int); INSERT INTO s VALUES (1)")
                }
                #expect(try await pool.pipelined("SELECT * FROM s").count == 1)
                try await pool.withConnection { try await $0.runScript("ALTER TABLE s ADD b text") }
                #expect(try await pool.pipelined("SELECT * FROM s").count == 1)
                let sleeping = Task { try await pool.pipelined("SELECT pg_sleep(30)") }
                try await Task.sleep(for: .milliseconds(100))
                try await database.withConnection { connection in
                    _ = try await connection.query(
                        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                }
                let error = await #expect(throws: PostgresError.self) { _ = try await sleeping.value }
                #expect(error?.code == .connectionLost)
                for _ in 0..<5 { #expect(try await pool.pipelined("SELECT * FROM s").count == 1) }
            }
        }
    }
}
