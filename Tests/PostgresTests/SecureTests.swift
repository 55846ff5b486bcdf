import Foundation
import Logging
import TestSupport
import Testing

@testable import Postgres

/// Encryption and passwords, against servers with a certificate authority made here.
@Suite("Secure connections")
struct SecureTests {
    private static func connect(_ settings: String) async throws -> PostgresConnection {
        try await PostgresConnection.connect(
            try PostgresConfiguration(connectionString: settings, connectTimeout: .seconds(10)))
    }

    /// Makes an authority and a certificate for `localhost` that it signed, in the cluster's folder.
    private static func makeCertificates(_ cluster: TestCluster, authority: String) throws {
        let folder = cluster.folder
        try cluster.run([
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
            "2",
            "-subj", "/CN=\(authority)", "-keyout", "\(folder)/\(authority).key", "-out", "\(folder)/\(authority).crt",
        ])
        try cluster.run([
            "openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
            "/CN=localhost", "-keyout", "\(folder)/server.key", "-out", "\(folder)/server.csr",
        ])
        try cluster.write("subjectAltName=DNS:localhost\n", to: "san.txt")
        try cluster.run([
            "openssl", "x509", "-req", "-in", "\(folder)/server.csr", "-CA", "\(folder)/\(authority).crt", "-CAkey",
            "\(folder)/\(authority).key", "-CAcreateserial", "-days", "2", "-extfile", "\(folder)/san.txt", "-out",
            "\(folder)/server.crt",
        ])
    }

    /// Seen to fail: with words of libpq that are not known: what nobody can mend by waiting is tried again.
    @Test("verify-full takes the right name and refuses a wrong name, an unknown authority and a plain server")
    func verifyFull() async throws {
        let port = try FreePort.find()
        let listen = ["-c listen_addresses=127.0.0.1", "-c port=\(port)"]
        let cluster = try TestCluster.start(options: listen)
        defer {
            try? cluster.stopServer()
            cluster.remove()
        }
        let base = "hostaddr=127.0.0.1 port=\(port) user=undercurrent dbname=postgres sslmode=verify-full"
        try Self.makeCertificates(cluster, authority: "other")
        try Self.makeCertificates(cluster, authority: "ours")
        let plain = await #expect(throws: PostgresError.self) {
            _ = try await Self.connect("\(base) host=localhost sslrootcert=\(cluster.folder)/ours.crt")
        }
        #expect(plain?.code == .forbidden && plain?.severity == .never)
        try cluster.stopServer()
        try cluster.startServer(
            options: listen + [
                "-c ssl=on", "-c ssl_cert_file='\(cluster.folder)/server.crt'",
                "-c ssl_key_file='\(cluster.folder)/server.key'",
            ])
        let connection = try await Self.connect("\(base) host=localhost sslrootcert=\(cluster.folder)/ours.crt")
        let isEncrypted = try await connection.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        #expect(try isEncrypted.column(Bool.self) == [true])
        await connection.close()
        for (host, authority) in [("db.example", "ours"), ("localhost", "other")] {
            let error = await #expect(throws: PostgresError.self) {
                _ = try await Self.connect("\(base) host=\(host) sslrootcert=\(cluster.folder)/\(authority).crt")
            }
            #expect(error?.code == .forbidden, "\(host), \(authority): \(String(reflecting: error))")
        }
        // Encryption does not stand in the way of sending from the caller's thread, of COPY and of cancelling.
        var configuration = try PostgresConfiguration(
            connectionString: "\(base) host=localhost sslrootcert=\(cluster.folder)/ours.crt")
        configuration.pool = .init(minimum: 0, maximum: 2)
        try await PostgresPool.withPool(configuration, logger: .silent) { pool in
            for number in 0..<200 {
                #expect(try await pool.query("SELECT $1::bigint", [.int(number)]).column(Int.self) == [number])
                #expect(try await pool.pipelined("SELECT $1::bigint", [.int(number)]).column(Int.self) == [number])
            }
            let long = try await pool.query("SELECT repeat('x', 1000000)").column(String.self)
            #expect(long[0].utf8.count == 1_000_000)
            await #expect(throws: PostgresError(.timeout, sqlState: "57014", detail: "")) {
                try await pool.query("SELECT pg_sleep(30)", deadline: .now + .milliseconds(100))
            }
        }
    }

    @Test("SCRAM takes the right password and refuses a wrong one, without repeating it")
    func scram() async throws {
        let cluster = try TestCluster.start()
        defer {
            try? cluster.stopServer()
            cluster.remove()
        }
        let administrator = try await Self.connect("host=\(cluster.socketFolder) user=undercurrent dbname=postgres")
        try await administrator.runScript("CREATE ROLE app LOGIN PASSWORD 'right'")
        let stored = try await administrator.query("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'")
        #expect(try stored.column(String.self)[0].hasPrefix("SCRAM-SHA-256$"))
        try cluster.write("local all app scram-sha-256\nlocal all all trust\n", to: "data/pg_hba.conf")
        try await administrator.query("SELECT pg_reload_conf()")
        try await Task.sleep(for: .milliseconds(300))
        let base = "host=\(cluster.socketFolder) user=app dbname=postgres"
        let connection = try await Self.connect("\(base) password=right")
        #expect(try await connection.query("SELECT 1::bigint").column(Int.self) == [1])
        await connection.close()
        for password in ["password=wr0ng", ""] {
            let error = await #expect(throws: PostgresError.self) { _ = try await Self.connect("\(base) \(password)") }
            #expect(error?.code == .forbidden && error?.severity == .never)
            #expect(error.map { !String(reflecting: $0).contains("wr0ng") } == true)
        }
        let missing = await #expect(throws: PostgresError.self) {
            _ = try await Self.connect("host=\(cluster.socketFolder) user=undercurrent dbname=nowhere")
        }
        #expect(missing?.code == .forbidden && missing?.sqlState == "3D000")
        await administrator.close()
    }
}
