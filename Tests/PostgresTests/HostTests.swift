import Glibc
import Logging
import TestSupport
import Testing

@testable import Postgres

@Suite("Hosts")
struct HostTests {
    @Test("a list of hosts is taken apart as libpq does")
    func lists() {
        let list = HostList("postgres://u:p@a:1,b:2/db?target_session_attrs=read-write")
        #expect(list.hosts == [.init(name: "a", port: "1"), .init(name: "b", port: "2")])
        #expect(list.passes == [nil])
        #expect(HostList("host=a,b port=5").hosts == [.init(name: "a", port: "5"), .init(name: "b", port: "5")])
        #expect(HostList("host=a port=5").hosts == [.init()])
        // What libpq refuses is left to libpq.
        #expect(HostList("host=a,b port=1,2,3").hosts == [.init()])
        #expect(HostList("host=a,b target_session_attrs=prefer-standby").passes == ["standby", "any"])
    }

    /// Accepts connections into its backlog and says nothing, for ever.
    private final class SilentHost: Sendable {
        let descriptor: CInt
        let port: UInt16

        init() throws {
            (self.descriptor, self.port) = try FreePort.listen()
        }

        deinit { close(self.descriptor) }
    }

    @Test("a silent host does not use up the time of the next one")
    func silentHost() async throws {
        let silent = try SilentHost()
        let port = try FreePort.find()
        let cluster = try TestCluster.start(options: ["-c listen_addresses=127.0.0.1", "-c port=\(port)"])
        defer {
            try? cluster.stopServer()
            cluster.remove()
        }
        let configuration = try PostgresConfiguration(
            connectionString: "host=127.0.0.1,127.0.0.1 port=\(silent.port),\(port) user=undercurrent dbname=postgres",
            connectTimeout: .seconds(4))
        let clock = ContinuousClock()
        let start = clock.now
        let connection = try await PostgresConnection.connect(configuration)
        #expect(clock.now - start < .milliseconds(3_900))
        #expect(try await connection.query("SELECT 1::bigint").column(Int.self) == [1])
        await connection.close()
    }

    @Test("a server that comes back on another port behind the same service name is found without a restart")
    func serviceFile() async throws {
        let cluster = try TestCluster.start()
        defer {
            try? cluster.stopServer()
            cluster.remove()
        }
        func name(port: Int) throws {
            try cluster.write(
                "[uc]\nhost=\(cluster.socketFolder)\nport=\(port)\nuser=undercurrent\ndbname=postgres\n", to: "services"
            )
        }
        try name(port: 5432)
        setenv("PGSERVICEFILE", "\(cluster.folder)/services", 1)
        defer { unsetenv("PGSERVICEFILE") }
        var configuration = try PostgresConfiguration(connectionString: "service=uc")
        configuration.pool = .init(minimum: 1, maximum: 2, leaseTimeout: .seconds(10))
        try await PostgresPool.withPool(configuration, logger: .silent) { pool in
            func port() async throws -> Int {
                try await pool.query("SELECT current_setting('port')::bigint").column(Int.self)[0]
            }
            #expect(try await port() == 5432)
            try cluster.stopServer()
            try cluster.startServer(options: ["-c port=5433"])
            try name(port: 5433)
            var answer: Int?
            for _ in 0..<100 where answer == nil {
                answer = try? await port()
                if answer == nil { try await Task.sleep(for: .milliseconds(50)) }
            }
            #expect(answer == 5433)
        }
    }

    @Test("the host with the wanted role is found, and after it moved to another port, found again")
    func roles() async throws {
        let (first, second) = (try FreePort.find(), try FreePort.find())
        let readOnly = ["-c listen_addresses=127.0.0.1", "-c default_transaction_read_only=on"]
        let standby = try TestCluster.start(options: readOnly + ["-c port=\(first)"])
        let primary = try TestCluster.start(options: ["-c listen_addresses=127.0.0.1", "-c port=\(second)"])
        defer {
            for cluster in [standby, primary] {
                try? cluster.stopServer()
                cluster.remove()
            }
        }
        var configuration = try PostgresConfiguration(
            connectionString:
                "host=127.0.0.1,127.0.0.1 port=\(first),\(second) user=undercurrent dbname=postgres target_session_attrs=read-write"
        )
        configuration.pool = .init(minimum: 1, maximum: 2, leaseTimeout: .seconds(20))
        try await PostgresPool.withPool(configuration, logger: .silent) { pool in
            func port() async throws -> Int {
                try await pool.query("SELECT current_setting('port')::bigint").column(Int.self)[0]
            }
            #expect(try await port() == Int(second))
            // Fail-over: the primary goes, and the other host takes writes.
            try primary.stopServer()
            try standby.stopServer()
            try standby.startServer(options: ["-c listen_addresses=127.0.0.1", "-c port=\(first)"])
            var answer: Int?
            for _ in 0..<100 where answer == nil {
                answer = try? await port()
                if answer == nil { try await Task.sleep(for: .milliseconds(50)) }
            }
            #expect(answer == Int(first))
        }
    }
}
