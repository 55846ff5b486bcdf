import Logging

/// Brings a database to the schema this program needs. Any number of processes may call it at once.
///
/// Each migration is one transaction, recorded in `schema_migrations` with a checksum. An applied migration that has been
/// edited stops the start; so does a database that is newer than the program.
///
/// Whoever comes while a migration waits for a table waits behind it, so it waits for a moment only, lets everybody pass and
/// begins again.
public struct Migrator: Sendable {
    private let migrations: [Migration]
    private let logger: Logger
    private let patience: Duration
    /// Longest wait for a table lock: less than the 50 ms a reader has by default.
    private static let lockTimeout = "25ms"
    /// Between two attempts.
    private static let pause = Duration.milliseconds(200)...Duration.milliseconds(600)

    /// - Parameter patience: how long one migration is begun again when it does not get its locks.
    public init(
        migrations: [Migration] = Migration.all, patience: Duration = .seconds(90),
        logger: Logger = Logger(label: "migrations")
    ) {
        self.migrations = migrations
        self.patience = patience
        self.logger = logger
    }

    /// Applies what is missing, on a connection of its own.
    /// - Returns: numbers of the migrations applied now, in order; empty when there was nothing to do.
    /// - Throws: `.migrationMismatch` with the number in its detail, `.lockNotAvailable`, or what a statement failed with; the
    ///   failed migration leaves nothing behind.
    @discardableResult
    public func migrate(_ configuration: PostgresConfiguration) async throws -> [Int] {
        let connection = try await PostgresConnection.connect(configuration)
        do {
            let applied = try await self.migrate(on: connection)
            await connection.close()
            return applied
        } catch {
            await connection.close()
            throw error
        }
    }

    /// Like ``migrate(_:)`` on a connection the caller owns.
    public func migrate(on connection: PostgresConnection) async throws -> [Int] {
        try await self.createTable(on: connection)
        var applied: [Int] = []
        for migration in self.migrations where try await self.applyPatiently(migration, on: connection) {
            applied.append(migration.number)
        }
        try await self.check(connection)
        return applied
    }

    /// What the schema lacks: numbers not applied yet. Changes nothing; readiness and `check-config` use it.
    public func pending(on connection: PostgresConnection) async throws -> [Int] {
        let rows = try await connection.query("SELECT to_regclass('schema_migrations') IS NOT NULL")
        guard try rows[0].decode(Bool.self, at: 0) else { return self.migrations.map(\.number) }
        let known = Set(try await connection.query("SELECT number FROM schema_migrations").column(Int.self))
        return self.migrations.map(\.number).filter { !known.contains($0) }
    }

    private func createTable(on connection: PostgresConnection) async throws {
        try await connection.transaction { connection in
            try await connection.lock(.migrations)
            try await connection.runScript(
                """
                CREATE TABLE IF NOT EXISTS schema_migrations (
                    number integer PRIMARY KEY,
                    name text NOT NULL,
                    checksum bigint NOT NULL,
                    applied_at timestamptz NOT NULL DEFAULT now())
                """)
        }
    }

    /// Begins again, whole, where others held what it needs; what it had done is undone then, so nobody waits for it meanwhile.
    private func applyPatiently(_ migration: Migration, on connection: PostgresConnection) async throws -> Bool {
        let deadline = ContinuousClock.now + self.patience
        var attempts = 0
        while true {
            do {
                return try await self.apply(migration, on: connection)
            } catch let error as PostgresError
                where [.lockNotAvailable, .deadlock].contains(error.code) && ContinuousClock.now < deadline
            {
                attempts += 1
                if attempts == 1 {
                    self.logger.notice(
                        "a table is in use, beginning again until it is free",
                        metadata: ["number": "\(migration.number)", "patience": "\(self.patience)"])
                }
                let share = Double.random(in: 0...1)
                try await Task.sleep(
                    for: Self.pause.lowerBound + (Self.pause.upperBound - Self.pause.lowerBound) * share)
            }
        }
    }

    /// - Returns: false when it had been applied before.
    private func apply(_ migration: Migration, on connection: PostgresConnection) async throws -> Bool {
        try await connection.transaction { connection in
            try await connection.lock(.migrations)
            let rows = try await connection.query(
                "SELECT checksum FROM schema_migrations WHERE number = $1", [.int32(Int32(migration.number))])
            if let row = rows.first {
                guard try row.decode(Int64.self, at: 0) == migration.checksum else {
                    throw PostgresError(
                        .migrationMismatch,
                        detail: "migration \(migration.number) (\(migration.name)) was applied with another text")
                }
                return false
            }
            self.logger.info(
                "applying migration", metadata: ["number": "\(migration.number)", "name": "\(migration.name)"])
            try await connection.runScript(
                PostgresStatement(
                    composed: "SET LOCAL lock_timeout = '\(Self.lockTimeout)'; SET LOCAL statement_timeout = 0"))
            try await connection.runScript(PostgresStatement(composed: migration.sql))
            try await connection.query(
                "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)",
                [.int32(Int32(migration.number)), .text(migration.name), .int64(migration.checksum)])
            return true
        }
    }

    private func check(_ connection: PostgresConnection) async throws {
        let newest = try await connection.query("SELECT coalesce(max(number), 0) FROM schema_migrations")
        let number = try newest[0].decode(Int.self, at: 0)
        let known = self.migrations.last?.number ?? 0
        guard number <= known else {
            throw PostgresError(
                .migrationMismatch, detail: "the schema is at migration \(number), this program knows \(known)")
        }
    }
}
