import Logging
import Synchronization

extension PostgresPool {
    /// Opens, closes and times connections until ``shutDown()`` is called or the task is cancelled. Call it once.
    public func run() async {
        await withTaskCancellationHandler {
            await withDiscardingTaskGroup { group in
                self.apply { machine, now in machine.tick(now: now) }
                var isStopping = false
                for await work in self.work {
                    switch work {
                    case .open(let id): group.addTask { await self.open(id) }
                    case .close(let connection): group.addTask { await connection.close() }
                    case .openLane: group.addTask { await self.runLane() }
                    case .wake(let time): group.addTask { await self.wake(at: time) }
                    case .stop: isStopping = true
                    }
                    // Leased connections come back one by one; the last one ends the loop.
                    if isStopping, self.state.withLock({ $0.connections.isEmpty }) { break }
                }
                group.cancelAll()
                for connection in self.allConnections { group.addTask { await connection.close() } }
            }
        } onCancel: {
            self.shutDown()
        }
    }

    /// Runs the pool for the length of `body`: for commands and tests.
    public nonisolated(nonsending) static func withPool<Result>(
        _ configuration: PostgresConfiguration, logger: Logger = Logger(label: "postgres"),
        metrics: PoolMetrics = PoolMetrics(), _ body: (PostgresPool) async throws -> Result
    ) async throws -> Result {
        let pool = PostgresPool(configuration: configuration, logger: logger, metrics: metrics)
        // The task is owned by this call: it is told to end and awaited on every way out.
        let runner = Task { await pool.run() }
        do {
            let result = try await body(pool)
            pool.shutDown()
            await runner.value
            return result
        } catch {
            pool.shutDown()
            await runner.value
            throw error
        }
    }

    private var allConnections: [PostgresConnection] {
        self.state.withLock { state in
            defer { state.connections.removeAll() }
            return Array(state.connections.values)
        }
    }

    private func wake(at time: Duration) async {
        let left = time - self.now
        // Rounded up: a wake-up before its time would find nothing due.
        if left > .zero { try? await Task.sleep(for: left + .milliseconds(1)) }
        guard !Task.isCancelled else { return }
        self.state.withLock { if $0.wakeAt == time { $0.wakeAt = nil } }
        self.apply { machine, now in machine.tick(now: now) }
    }

    private func open(_ id: PoolStateMachine.ConnectionID) async {
        do {
            let connection = try await PostgresConnection.connect(self.configuration)
            self.metrics.recordOpen(succeeded: true)
            self.state.withLock { state in
                state.connections[id] = connection
                state.lastFailure = nil
            }
            self.apply { machine, now in machine.opened(id, now: now) }
        } catch {
            self.metrics.recordOpen(succeeded: false)
            self.logger.warning("cannot connect to the database", metadata: ["error": "\(String(reflecting: error))"])
            self.state.withLock { $0.lastFailure = error }
            let jitter = Double.random(in: 0..<1)
            self.apply { machine, now in machine.openFailed(id, now: now, jitter: jitter) }
        }
    }
}
