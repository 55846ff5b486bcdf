import Foundation
import Logging
import Model
import Postgres
import ServiceLifecycle
import Synchronization
import Telemetry

/// Wakes the engine: on NOTIFY `ingest`, and every second in any case.
final class EvaluationService: Service {
    static let channel = "ingest"
    static let interval = Duration.seconds(1)

    private let engine: EvaluationEngine
    private let keeper: LeaseKeeper
    private let graphs: GraphStore
    private let metrics: GraphBuilderMetrics
    private let listener: PostgresListener
    private let logger: Logger
    private let standing = Mutex(Standing())

    private struct Standing {
        var succeededAt: Timestamp?
        /// The first failed round since the last that ended well.
        var failingSince: ContinuousClock.Instant?
    }

    init(
        engine: EvaluationEngine, keeper: LeaseKeeper, graphs: GraphStore, metrics: GraphBuilderMetrics,
        listener: PostgresListener, logger: Logger
    ) {
        self.engine = engine
        self.keeper = keeper
        self.graphs = graphs
        self.metrics = metrics
        self.listener = listener
        self.logger = logger
    }

    /// Wall-clock time of the last round that ended well.
    var lastSuccess: Timestamp? { self.standing.withLock { $0.succeededAt } }

    /// How long rounds have failed without one that ended well; zero: they do not. What is in memory is as old then, at least.
    var failing: Duration {
        guard let since = self.standing.withLock({ $0.failingSince }) else { return .zero }
        return ContinuousClock.now - since
    }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            let (wakeUps, wake) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
            await withTaskGroup(of: Void.self) { group in
                group.addTask { for await _ in self.listener.notifications() { wake.yield() } }
                group.addTask {
                    while !Task.isCancelled {
                        wake.yield()
                        try? await Task.sleep(for: Self.interval)
                    }
                    wake.finish()
                }
                group.addTask { for await _ in wakeUps { await self.round() } }
                await group.waitForAll()
            }
        }
        do {
            try await self.engine.storeStates()
        } catch {
            self.logger.warning("states are not stored", metadata: ["error": "\(String(reflecting: error))"])
        }
    }

    private func round() async {
        do {
            try await self.engine.catchUp()
            self.graphs.observe(databaseRevisions: self.keeper.revisions)
            let now = Timestamp(milliseconds: WallClock.milliseconds())
            self.standing.withLock { $0 = Standing(succeededAt: now) }
        } catch is CancellationError {
            return
        } catch {
            guard !Task.isCancelled else { return }
            self.metrics.recordError()
            self.standing.withLock { $0.failingSince = $0.failingSince ?? .now }
            self.logger.error("evaluation round failed", metadata: ["error": "\(String(reflecting: error))"])
            // The next wake-up comes within a second; a database that is away is not asked more often.
            try? await Task.sleep(for: .milliseconds(500))
        }
    }
}
