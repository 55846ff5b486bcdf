import Foundation
import Glibc
import Logging
import TestSupport
import Testing

@testable import Postgres

/// Through pgbouncer in transaction mode, where each transaction may meet another server process.
@Suite("Transaction pooler")
struct PoolerTests {
    private static let program = "/usr/sbin/pgbouncer"

    /// A private pgbouncer before a private server, on sockets in the server's folder.
    private static func withPooler(_ body: (PostgresConfiguration, PostgresConfiguration) async throws -> Void)
        async throws
    {
        let cluster = try TestCluster.start()
        defer {
            try? cluster.stopServer()
            cluster.remove()
        }
        try cluster.write("\"undercurrent\" \"\"\n", to: "users.txt")
        try cluster.write(
            """
            [databases]
            * = host=\(cluster.socketFolder) port=5432
            [pgbouncer]
            listen_addr =
            listen_port = 6432
            unix_socket_dir = \(cluster.folder)
            auth_type = trust
            auth_file = \(cluster.folder)/users.txt
            pool_mode = transaction
            default_pool_size = 2
            max_client_conn = 100
            """, to: "pgbouncer.ini")
        let process = try cluster.spawn(
            [Self.program, "\(cluster.folder)/pgbouncer.ini"], log: "\(cluster.folder)/pgbouncer.log")
        defer {
            // By way of runuser when we are root; it hands the signal on.
            kill(process, SIGTERM)
            var status: CInt = 0
            waitpid(process, &status, 0)
        }
        let settings = "host=\(cluster.socketFolder) user=undercurrent dbname=postgres"
        for _ in 0..<100 where access("\(cluster.folder)/.s.PGSQL.6432", F_OK) != 0 {
            try await Task.sleep(for: .milliseconds(50))
        }
        var pooled = try PostgresConfiguration(connectionString: "\(settings) port=6432", usesTransactionPooler: true)
        pooled.pool = .init(minimum: 0, maximum: 6, waiterLimit: 1_000, leaseTimeout: .seconds(20))
        try await body(pooled, try PostgresConfiguration(connectionString: "\(settings) port=5432"))
    }

    @Test(
        "statements, transactions, COPY, cancelling and deadlines work through pgbouncer in transaction mode",
        .enabled(if: access(program, X_OK) == 0, "pgbouncer is not installed"))
    func throughPooler() async throws {
        try await Self.withPooler { pooled, direct in
            try await Migrator(logger: .silent).migrate(direct)
            try await PostgresPool.withPool(pooled, logger: .silent) { pool in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for caller in 0..<12 {
                        group.addTask { try await Self.ask(pool, caller) }
                    }
                    try await group.waitForAll()
                }
                try await pool.withTransaction(deadline: .now + .seconds(20)) { connection in
                    try await connection.runScript("CREATE TABLE c (n bigint)")
                    try await connection.transaction { inner in
                        let stored = try await inner.copyIn("COPY c FROM STDIN (FORMAT binary)") {
                            (rows) throws(PostgresError) in
                            try rows.beginRow(columns: 1)
                            rows.int64(1)
                        }
                        #expect(stored == 1)
                    }
                    let both = try await connection.pipeline([
                        PostgresQuery("INSERT INTO c VALUES ($1)", [2]), PostgresQuery("SELECT count(*) FROM c"),
                    ])
                    #expect(try both[1].column(Int.self) == [2])
                }
                await #expect(throws: PostgresError(.timeout, sqlState: "57014", detail: "")) {
                    try await pool.query("SELECT pg_sleep(30)", deadline: .now + .milliseconds(200))
                }
                let task = Task { try await pool.query("SELECT pg_sleep(30)") }
                try await Task.sleep(for: .milliseconds(100))
                task.cancel()
                await #expect(throws: PostgresError(.cancelled, sqlState: "57014", detail: "")) { try await task.value }
                for _ in 0..<10 { #expect(try await pool.query("SELECT count(*) FROM c").column(Int.self) == [2]) }
            }
        }
    }

    private static func ask(_ pool: PostgresPool, _ caller: Int) async throws {
        for turn in 0..<20 {
            let number = caller * 100 + turn
            let alone = try await pool.query("SELECT $1::bigint", [.int(number)])
            let shared = try await pool.pipelined("SELECT $1::bigint", [.int(number)])
            #expect(try alone.column(Int.self) == [number] && shared.column(Int.self) == [number])
        }
    }

    @Test("where LISTEN does not work, a listener says at intervals that it is time to look")
    func polling() async throws {
        var configuration = try PostgresConfiguration(connectionString: "host=/nowhere", usesTransactionPooler: true)
        configuration.pool.backoff = .milliseconds(1) ... .milliseconds(2)
        let listener = try PostgresListener(
            configuration: configuration, channels: ["ingest"], pollInterval: .milliseconds(20), logger: .silent)
        var notes = listener.notifications().makeAsyncIterator()
        for _ in 0..<3 { #expect(await notes.next() == .listening) }
    }
}
