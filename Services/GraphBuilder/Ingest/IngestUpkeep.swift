import Logging
import Postgres
import ServiceLifecycle

/// What ingest does beside requests: wakes the readers of the log, and forgets idempotency keys past their time.
struct IngestUpkeep: Service {
    let service: IngestService
    let notifier: IngestNotifier
    let pool: PostgresPool
    let logger: Logger
    var purgeInterval: Duration = .seconds(300)

    func run() async throws {
        await cancelWhenGracefulShutdown {
            await withDiscardingTaskGroup { group in
                group.addTask { await self.notifier.run(pool: self.pool) }
                group.addTask { await self.purge() }
            }
        }
    }

    private func purge() async {
        while !Task.isCancelled {
            do {
                try await Task.sleep(for: self.purgeInterval)
                _ = try await self.service.purgeKeys(pool: self.pool)
            } catch is CancellationError {
                return
            } catch {
                // The next round tries again; keys that live longer than promised harm nobody.
                self.logger.warning("idempotency keys were not purged", metadata: ["error": "\(error)"])
            }
        }
    }
}
