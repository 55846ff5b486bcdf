import Logging
import Model
import Synchronization
import TestSupport
import Testing

@testable import Postgres

/// What goes wrong with connections and servers. Bounds on time are wide: they tell "at once" from "never".
@Suite("Trouble")
struct TroubleTests {
    @Test("a statement stops at its deadline and the connection goes on")
    func deadline() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withConnection { connection in
                let clock = ContinuousClock()
                try await connection.query("SELECT 1")
                let start = clock.now
                await #expect(throws: PostgresError(.timeout, sqlState: "57014", detail: "")) {
                    try await connection.query("SELECT pg_sleep(30)", deadline: start + .milliseconds(200))
                }
                #expect(clock.now - start < .seconds(10))
                #expect(try await connection.query("SELECT 1::bigint").column(Int.self) == [1])
                await #expect(throws: PostgresError(.timeout, sqlState: "57014", detail: "")) {
                    try await PostgresDeadline.$current.withValue(clock.now + .milliseconds(200)) {
                        try await connection.transaction { connection in
                            _ = try await connection.query("SELECT pg_sleep(30)")
                        }
                    }
                }
                #expect(!connection.isInTransaction)
            }
        }
    }

    @Test("the server itself stops a statement at the transaction's deadline")
    func serverSideTimeout() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withConnection { connection in
                let deadline = ContinuousClock.now + .seconds(5)
                let text = try await connection.transaction(deadline: deadline) { connection in
                    try await connection.query("SELECT current_setting('statement_timeout')").column(String.self)[0]
                }
                #expect(text.hasSuffix("ms") || text == "5s")
                let after = try await connection.query("SELECT current_setting('statement_timeout')")
                #expect(try after.column(String.self) == ["30s"])
            }
        }
    }

    @Test("cancelling the task stops the statement on the server; the next one is not hit")
    func cancellation() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withConnection { connection in
                for _ in 0..<5 {
                    let task = Task { try await connection.query("SELECT pg_sleep(30)") }
                    try await Task.sleep(for: .milliseconds(50))
                    task.cancel()
                    await #expect(throws: PostgresError(.cancelled, sqlState: "57014", detail: "")) {
                        try await task.value
                    }
                    #expect(try await connection.query("SELECT 1::bigint").column(Int.self) == [1])
                }
                let running = try await connection.query(
                    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%' AND state = 'active' AND datname = current_database() AND pid <> pg_backend_pid()"
                )
                #expect(try running.column(Int.self) == [0])
            }
        }
    }

    @Test("a killed backend is an error of that statement only; the pool goes on")
    func killedBackend() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withPool { pool in
                let error = await #expect(throws: PostgresError.self) {
                    try await pool.withConnection { connection in
                        let pid = try await connection.query("SELECT pg_backend_pid()").column(Int32.self)[0]
                        async let sleeping: PostgresRows = connection.query("SELECT pg_sleep(30)")
                        try await Task.sleep(for: .milliseconds(100))
                        try await pool.query("SELECT pg_terminate_backend($1)", [.int32(pid)])
                        _ = try await sleeping
                    }
                }
                #expect(error?.code == .connectionLost)
                #expect(try await pool.query("SELECT 1::bigint").column(Int.self) == [1])
                // Idle connections that were killed are found out before they are lent.
                try await pool.query(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                for _ in 0..<4 { #expect(try await pool.query("SELECT 1::bigint").column(Int.self) == [1]) }
            }
        }
    }

    @Test("a connection left in a transaction comes back clean")
    func leftInTransaction() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withPool(.init(minimum: 0, maximum: 1)) { pool in
                try await pool.withConnection { connection in
                    try await connection.begin()
                    try await connection.runScript("CREATE TABLE left_over (n int)")
                }
                let found = try await pool.query("SELECT to_regclass('left_over') IS NOT NULL")
                #expect(try found.column(Bool.self) == [false])
            }
        }
    }

    @Test("an inner transaction is a savepoint: its failure undoes its own part only")
    func savepoints() async throws {
        struct Inner: Error {}
        try await TestDatabase.with(migrated: false) { database in
            try await database.withConnection { connection in
                try await connection.runScript("CREATE TABLE t (n bigint)")
                try await connection.transaction { connection in
                    try await connection.query("INSERT INTO t VALUES (1)")
                    await #expect(throws: Inner.self) {
                        try await connection.transaction { connection in
                            try await connection.query("INSERT INTO t VALUES (2)")
                            throw Inner()
                        }
                    }
                    await #expect(throws: PostgresError.self) {
                        try await connection.transaction { connection in _ = try await connection.query("SELECT 1/0") }
                    }
                    try await connection.transaction { connection in
                        _ = try await connection.query("INSERT INTO t VALUES (3)")
                    }
                }
                #expect(try await connection.query("SELECT n FROM t ORDER BY n").column(Int.self) == [1, 3])
            }
        }
    }

    @Test("with the server away a lease fails at once; when it is back, leases work without a restart")
    func serverAway() async throws {
        let cluster = try TestCluster.start()
        defer {
            try? cluster.stopServer()
            cluster.remove()
        }
        var configuration = try PostgresConfiguration(
            connectionString: "host=\(cluster.socketFolder) user=undercurrent dbname=postgres")
        configuration.pool = .init(minimum: 1, maximum: 4, leaseTimeout: .seconds(20))
        try await PostgresPool.withPool(configuration, logger: .silent) { pool in
            try await pool.query("SELECT 1")
            try cluster.stopServer()
            let clock = ContinuousClock()
            let start = clock.now
            for _ in 0..<3 {
                let error = await #expect(throws: PostgresError.self) { try await pool.query("SELECT 1") }
                #expect(error?.code == .unavailable || error?.code == .connectionLost)
                if let error { #expect(Problem(error).status == 503 && Problem(error).retryAfter != nil) }
            }
            #expect(clock.now - start < .seconds(10))
            try cluster.startServer()
            var answered = false
            for _ in 0..<100 where !answered {
                do {
                    try await pool.query("SELECT 1")
                    answered = true
                } catch {
                    try await Task.sleep(for: .milliseconds(100))
                }
            }
            #expect(answered)
        }
    }

    @Test("a lease that finds no free connection is refused as overloaded")
    func exhausted() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withPool(.init(minimum: 0, maximum: 1, leaseTimeout: .milliseconds(200))) { pool in
                try await pool.withConnection { _ in
                    let error = await #expect(throws: PostgresError(.overloaded, detail: "")) {
                        try await pool.query("SELECT 1")
                    }
                    if let error { #expect(Problem(error).code == .overloaded) }
                }
                #expect(try await pool.query("SELECT 1::bigint").column(Int.self) == [1])
            }
        }
    }

    @Test("a cancelled waiter leaves the queue, and the pool lends on")
    func cancelledWaiter() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withPool(.init(minimum: 0, maximum: 1)) { pool in
                try await pool.withConnection { _ in
                    let task = Task { try await pool.query("SELECT 1") }
                    while pool.status.waiters == 0 { try await Task.sleep(for: .milliseconds(5)) }
                    task.cancel()
                    await #expect(throws: PostgresError(.cancelled, detail: "")) { try await task.value }
                    #expect(pool.status.waiters == 0)
                }
                #expect(try await pool.query("SELECT 1::bigint").column(Int.self) == [1])
            }
        }
    }

    @Test("notifications arrive, and listening resumes after the connection was killed")
    func listening() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withPool { pool in
                let listener = try PostgresListener(
                    configuration: database.configuration, channels: ["ingest"], logger: .silent)
                var notes = listener.notifications().makeAsyncIterator()
                #expect(await notes.next() == .listening)
                try await pool.query("NOTIFY ingest, 'x'")
                #expect(await notes.next() == .notified(channel: "ingest", payload: "x"))
                try await pool.query(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
                #expect(await notes.next() == .listening)
                try await pool.query("NOTIFY ingest")
                #expect(await notes.next() == .notified(channel: "ingest", payload: ""))
            }
        }
    }

    @Test("wrong settings are refused before connecting, without repeating the secret")
    func configuration() throws {
        #expect(throws: PostgresError(.configuration, detail: "")) {
            try PostgresConfiguration(connectionString: "postgres//secret@host")
        }
        #expect(throws: PostgresError(.configuration, detail: "")) {
            try PostgresConfiguration(connectionString: "host=x", pool: .init(minimum: 9, maximum: 8))
        }
        let configuration = try PostgresConfiguration(connectionString: "postgres://me:hunter2@db:5433/uc")
        #expect(!configuration.redactedConnectionString.contains("hunter2"))
        #expect(configuration.redactedConnectionString.contains("port=5433"))
    }
}
