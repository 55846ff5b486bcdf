import Logging
import Metrics
import ServiceLifecycle

/// Runs ``ObservationRetention`` now and then, beside requests and never inside one.
struct RetentionService: Service {
    let retention: ObservationRetention
    let logger: Logger
    private let interval: Duration
    /// Soon after the start, then every `interval`.
    private var firstDelay: Duration { min(.seconds(60), self.interval) }
    private let partitions: Counter
    private let rows: Counter
    private let failures: Counter

    init(
        retention: ObservationRetention, interval: Duration, logger: Logger,
        factory: any MetricsFactory = MetricsSystem.factory
    ) {
        self.retention = retention
        self.interval = interval
        self.logger = logger
        self.partitions = Counter(label: "retention_partitions_retired_total", factory: factory)
        self.rows = Counter(label: "retention_rows_deleted_total", factory: factory)
        self.failures = Counter(label: "retention_failures_total", factory: factory)
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var pause = self.firstDelay
            while (try? await Task.sleep(for: pause)) != nil {
                pause = self.interval
                do {
                    let outcome = try await self.retention.round()
                    self.partitions.increment(by: outcome.retired.count)
                    self.rows.increment(by: outcome.rows)
                } catch is CancellationError {
                    return
                } catch {
                    // What could not be retired is retired in the next round.
                    self.failures.increment()
                    self.logger.warning("retention failed", metadata: ["error": "\(String(reflecting: error))"])
                }
            }
        }
    }
}
