import Logging
import Model
import TestSupport
import Testing

@testable import Postgres

@Suite("Schema")
struct SchemaTests {
    @Test("an empty database is migrated once, also by several processes at the same time")
    func concurrentMigration() async throws {
        try await TestDatabase.with(migrated: false) { database in
            let applied = try await withThrowingTaskGroup(of: [Int].self) { group in
                for _ in 0..<4 {
                    group.addTask { try await Migrator(logger: .silent).migrate(database.configuration) }
                }
                return try await group.reduce(into: [Int]()) { $0 += $1 }
            }
            #expect(applied.sorted() == Migration.all.map(\.number))
            #expect(try await Migrator(logger: .silent).migrate(database.configuration) == [])
        }
    }

    @Test("a newer program brings the previous schema forward; data stays")
    func previousSchema() async throws {
        try await TestDatabase.with { database in
            let next = Migration(
                number: (Migration.all.last?.number ?? 0) + 1, name: "next",
                sql: "ALTER TABLE topology ADD COLUMN note text")
            try await database.withConnection { connection in
                try await connection.query("INSERT INTO topology VALUES ('t', 'a', 'b')")
                #expect(
                    try await Migrator(migrations: Migration.all + [next], logger: .silent).pending(on: connection) == [
                        next.number
                    ])
                #expect(
                    try await Migrator(migrations: Migration.all + [next], logger: .silent).migrate(on: connection) == [
                        next.number
                    ])
                #expect(
                    try await connection.query("SELECT count(*) FROM topology WHERE note IS NULL").column(Int.self) == [
                        1
                    ])
                // The older program refuses the newer schema.
                await #expect(throws: PostgresError(.migrationMismatch, detail: "")) {
                    _ = try await Migrator(logger: .silent).migrate(on: connection)
                }
            }
        }
    }

    @Test("an edited migration stops the start, and a failing one leaves nothing behind")
    func badMigrations() async throws {
        try await TestDatabase.with(migrated: false) { database in
            try await database.withConnection { connection in
                let first = Migration(number: 1, name: "one", sql: "CREATE TABLE one (n int)")
                _ = try await Migrator(migrations: [first], logger: .silent).migrate(on: connection)
                let edited = Migration(number: 1, name: "one", sql: "CREATE TABLE one (n bigint)")
                await #expect(throws: PostgresError(.migrationMismatch, detail: "")) {
                    _ = try await Migrator(migrations: [edited], logger: .silent).migrate(on: connection)
                }
                let failing = Migration(number: 2, name: "two", sql: "CREATE TABLE two (n int); SELECT 1/0")
                await #expect(throws: PostgresError(.invalidData, sqlState: "22012", detail: "")) {
                    _ = try await Migrator(migrations: [first, failing], logger: .silent).migrate(on: connection)
                }
                let found = try await connection.query("SELECT to_regclass('two') IS NOT NULL")
                #expect(try found.column(Bool.self) == [false])
            }
        }
    }

    @Test("a migration lets others pass while its table is in use, and gives up in the end with nothing left behind")
    func tableInUse() async throws {
        try await TestDatabase.with { database in
            let next = Migration(
                number: (Migration.all.last?.number ?? 0) + 1, name: "next",
                sql: "CREATE TABLE half_done (n int); ALTER TABLE topology ADD COLUMN note text")
            let migrator = Migrator(migrations: Migration.all + [next], patience: .seconds(2), logger: .silent)
            try await database.withConnection { reader in
                try await reader.begin()
                try await reader.query("SELECT count(*) FROM topology")
                let outcome = Task { try await migrator.migrate(database.configuration) }
                try await database.withConnection { other in
                    var slowest = Duration.zero
                    for _ in 0..<40 {
                        let began = ContinuousClock.now
                        try await other.query("SELECT count(*) FROM topology")
                        slowest = max(slowest, began.duration(to: .now))
                        try await Task.sleep(for: .milliseconds(20))
                    }
                    #expect(slowest < .seconds(2), "somebody waited \(slowest) behind the migration")
                }
                await #expect(throws: PostgresError(.lockNotAvailable, sqlState: "55P03", detail: "")) {
                    _ = try await outcome.value
                }
                try await reader.commit()
                #expect(try await migrator.pending(on: reader) == [next.number])
                let found = try await reader.query("SELECT to_regclass('half_done') IS NOT NULL")
                #expect(try found.column(Bool.self) == [false])
                #expect(try await migrator.migrate(database.configuration) == [next.number])
            }
        }
    }

    @Test("partitions are made once for each day, by racing replicas too, and never beyond the limit")
    func partitions() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                let days = Set((17_000..<17_100).map { ObservationPartitions.Day(number: $0) })
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for _ in 0..<3 {
                        group.addTask { try await ObservationPartitions(logger: .silent).ensure(days, pool: pool) }
                    }
                    try await group.waitForAll()
                }
                let count = try await pool.query(
                    "SELECT count(*) FROM pg_inherits WHERE inhparent = 'observations'::regclass")
                #expect(try count.column(Int.self) == [100])
                let bounded = ObservationPartitions(limit: 101, logger: .silent)
                await #expect(throws: PostgresError(.limitReached, detail: "")) {
                    try await bounded.ensure([.init(number: 1), .init(number: 2)], pool: pool)
                }
                try await bounded.ensure([.init(number: 1)], pool: pool)
            }
        }
    }

    @Test("a day names its partition and the other way round, before 1970 too", arguments: [-1, 0, 17_755, 2_932_896])
    func days(number: Int64) {
        let day = ObservationPartitions.Day(number: number)
        #expect(ObservationPartitions.Day(partition: day.partition) == day)
        #expect(ObservationPartitions.Day(containing: day.start) == day)
        #expect(ObservationPartitions.Day(containing: day.end.advanced(byMilliseconds: -1)) == day)
    }
}
