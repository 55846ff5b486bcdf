import Logging
import Postgres

/// Wakes the readers of the ingest log: `NOTIFY ingest` after commits, at most once per 100 ms. Readers poll every second anyway,
/// so a lost one costs time, not data.
final class IngestNotifier: Sendable {
    private let signals: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation
    private let interval: Duration
    private let logger: Logger

    init(interval: Duration = .milliseconds(100), logger: Logger = Logger(label: "ingest-notifier")) {
        self.interval = interval
        self.logger = logger
        // One waiting signal stands for all that came since the last NOTIFY.
        (self.signals, self.continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// Something was committed.
    func signal() { self.continuation.yield() }

    /// Sends notifications until the task is cancelled. Call it once.
    func run(pool: PostgresPool) async {
        for await _ in self.signals {
            do {
                try await pool.query(IngestStatements.notify)
            } catch {
                self.logger.debug("no notification", metadata: ["error": "\(String(reflecting: error))"])
            }
            try? await Task.sleep(for: self.interval)
        }
    }
}
