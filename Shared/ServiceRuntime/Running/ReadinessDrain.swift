import Logging
import ServiceLifecycle

/// Listed last, so it is told to stop first: turns `/readyz` to 503 and waits before the listener stops, because
/// load balancers learn of it only by asking.
struct ReadinessDrain: Service {
    let health: HealthMonitor
    let time: Duration
    let logger: Logger

    func run() async throws {
        try await gracefulShutdown()
        self.health.startDraining()
        self.logger.info("draining", metadata: ["seconds": "\(self.time.components.seconds)"])
        try? await Task.sleep(for: self.time)
    }
}

/// Runs the pool until the group stops; stopped after everything that uses it.
struct PoolService: Service {
    let run_: @Sendable () async -> Void

    func run() async throws { await cancelWhenGracefulShutdown { await self.run_() } }
}
