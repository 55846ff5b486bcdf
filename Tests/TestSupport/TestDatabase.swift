import Foundation
import Logging
import Postgres

/// A database of its own for one test, with the schema in place.
///
/// The first use in a process starts a private PostgreSQL on a Unix socket in a temporary folder (or takes the server named by
/// `TEST_DATABASE_URL`, whose role must be allowed to create databases) and migrates a template; each test then gets a copy.
///
///     try await TestDatabase.with { database in
///         try await database.withPool { pool in ... }
///     }
public struct TestDatabase: Sendable {
    public let configuration: PostgresConfiguration
    public let name: String
    public var url: String { self.configuration.connectionString }

    /// - Parameter migrated: false gives an empty database.
    public static func with<Result>(
        migrated: Bool = true, _ body: (TestDatabase) async throws -> Result
    ) async throws -> Result {
        let server = try await TestServer.shared()
        let database = try await server.createDatabase(migrated: migrated)
        do {
            let result = try await body(database)
            try? await server.drop(database)
            return result
        } catch {
            try? await server.drop(database)
            throw error
        }
    }

    /// Runs a pool on this database for the length of `body`.
    public func withPool<Result>(
        _ pool: PostgresConfiguration.Pool = .init(minimum: 0, maximum: 6),
        _ body: (PostgresPool) async throws -> Result
    ) async throws -> Result {
        var configuration = self.configuration
        configuration.pool = pool
        return try await PostgresPool.withPool(configuration, logger: .silent, body)
    }

    public func withConnection<Result>(_ body: (PostgresConnection) async throws -> Result) async throws -> Result {
        let connection = try await PostgresConnection.connect(self.configuration)
        do {
            let result = try await body(connection)
            await connection.close()
            return result
        } catch {
            await connection.close()
            throw error
        }
    }
}

extension Logger {
    /// Says nothing: for code under test whose warnings are expected.
    public static var silent: Logger { Logger(label: "silent") { _ in SwiftLogNoOpLogHandler() } }
}
