import Logging
import Postgres
import ServiceLifecycle

/// Keeps a ``FindingsReader`` level with graph-builder's log: woken by notifications, and once a second anyway.
struct FindingsWorker: Service {
    /// Notified by graph-builder after it has written; only a wake-up.
    static let channel = "evaluations"

    let reader: FindingsReader
    let listener: PostgresListener?
    let metrics: WorkerMetrics
    let logger: Logger
    var pollInterval: Duration = .seconds(1)
    var backoff: ClosedRange<Duration> = .milliseconds(100) ... .seconds(5)

    func run() async throws {
        await cancelWhenGracefulShutdown { await self.follow() }
    }

    /// Until the task is cancelled.
    func follow() async {
        self.metrics.recordProgress()
        // One waiting wake-up is as good as many, so the stream cannot grow.
        let (wakeUps, wakeUp) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        await withDiscardingTaskGroup { group in
            group.addTask {
                while !Task.isCancelled {
                    wakeUp.yield()
                    try? await Task.sleep(for: self.pollInterval)
                }
            }
            if let listener = self.listener {
                group.addTask { for await _ in listener.notifications() { wakeUp.yield() } }
            }
            for await _ in wakeUps { await self.catchUp() }
            group.cancelAll()
        }
        try? await self.reader.saveUnsaved()
    }

    /// Rounds until nothing is left; pauses, longer each time, while the database is away.
    private func catchUp() async {
        var pause = self.backoff.lowerBound
        while !Task.isCancelled {
            do {
                let hasMore = try await self.reader.round()
                self.metrics.recordProgress()
                guard hasMore else { return }
                pause = self.backoff.lowerBound
            } catch {
                guard !Task.isCancelled else { return }
                self.metrics.recordFailure()
                self.logger.warning(
                    "reading findings failed",
                    metadata: ["error": "\(String(reflecting: error))", "retryIn": "\(pause)"])
                try? await Task.sleep(for: pause * Double.random(in: 0.5..<1))
                pause = min(pause * 2, self.backoff.upperBound)
            }
        }
    }
}
