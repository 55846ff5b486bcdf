import Logging
import Postgres
import Synchronization

/// No traffic before the schema is as new as the program: services may be started before `migrate` has run.
final class SchemaCheck: Sendable {
    private let database: PostgresPool
    private let isCurrent = Atomic<Bool>(false)

    init(database: PostgresPool) { self.database = database }

    var check: HealthMonitor.Check {
        HealthMonitor.Check("schema", stopsTraffic: true) { await self.fault() }
    }

    /// What is missing; nil: nothing. A schema only grows, so it is not asked for again once it is there.
    func fault() async -> String? {
        if self.isCurrent.load(ordering: .relaxed) { return nil }
        do {
            let missing = try await self.database.withConnection { connection in
                try await Migrator(logger: Logger(label: "schema")).pending(on: connection)
            }
            self.isCurrent.store(missing.isEmpty, ordering: .relaxed)
            return missing.isEmpty ? nil : "the schema lacks migrations \(missing)"
        } catch {
            return "the schema cannot be read"
        }
    }
}
