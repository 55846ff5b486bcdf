import Foundation
import Glibc
import Postgres
import Synchronization

/// The PostgreSQL server all tests of this process share.
final class TestServer: Sendable {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// Connection settings without a database name, or a URL.
    private let connection: @Sendable (_ database: String) -> String
    private let counter = Mutex(0)
    private let template: String

    private static let starting = Task { try await TestServer.start() }

    static func shared() async throws -> TestServer { try await self.starting.value }

    private init(template: String, connection: @escaping @Sendable (String) -> String) {
        self.template = template
        self.connection = connection
    }

    private static func start() async throws -> TestServer {
        let connection: @Sendable (String) -> String
        if let url = ProcessInfo.processInfo.environment["TEST_DATABASE_URL"], !url.isEmpty {
            guard let base = URLComponents(string: url) else {
                throw Failure(description: "TEST_DATABASE_URL is not a URL")
            }
            connection = { database in
                var parts = base
                parts.path = "/" + database
                return parts.string ?? url
            }
        } else {
            let cluster = try TestCluster.start()
            connection = { "host=\(cluster.socketFolder) user=undercurrent dbname=\($0)" }
        }
        let template = "undercurrent_template_\(getpid())"
        let server = TestServer(template: template, connection: connection)
        try await server.administer("CREATE DATABASE \(template)")
        try await Migrator(logger: .silent).migrate(server.configuration(template))
        return server
    }

    private func configuration(_ database: String) throws -> PostgresConfiguration {
        try PostgresConfiguration(connectionString: self.connection(database), applicationName: "tests")
    }

    private func administer(_ text: String) async throws {
        let connection = try await PostgresConnection.connect(self.configuration("postgres"))
        do {
            try await connection.runScript(PostgresStatement(composed: text))
            await connection.close()
        } catch {
            await connection.close()
            throw error
        }
    }

    func createDatabase(migrated: Bool) async throws -> TestDatabase {
        let number = self.counter.withLock { count in
            count += 1
            return count
        }
        let name = "undercurrent_test_\(getpid())_\(number)"
        // Copying by file is faster than by log for small databases.
        let source = migrated ? self.template : "template0"
        for attempt in 1... {
            do {
                try await self.administer("CREATE DATABASE \(name) TEMPLATE \(source) STRATEGY file_copy")
                break
            } catch let error as PostgresError where error.sqlState == "55006" && attempt < 50 {
                // Someone is still connected to the template; it lasts for a moment.
                try await Task.sleep(for: .milliseconds(20))
            }
        }
        return TestDatabase(configuration: try self.configuration(name), name: name)
    }

    func drop(_ database: TestDatabase) async throws {
        try await self.administer("DROP DATABASE IF EXISTS \(database.name) WITH (FORCE)")
    }
}
