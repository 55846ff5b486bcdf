import Logging
import Model
import Postgres
import ServiceRuntime
import Synchronization
import Telemetry

/// Carries out trials in this replica. Made only where CHAOS_ENABLED is set, which the production profile refuses.
final class ChaosControl: Sendable {
    private struct State {
        var slowUntil: ContinuousClock.Instant?
        var delay = Duration.zero
        /// Memory taken up on purpose, and its owner.
        var ballast: [UInt8] = []
        var ballastEnds: Task<Void, Never>?
        /// One for each trial that is being looked at, by its id; each removes itself.
        var watching: [String: Task<Void, Never>] = [:]
    }

    private let pool: PostgresPool
    private let engine: EvaluationEngine
    private let keeper: LeaseKeeper
    private let layers: LayerControl
    private let ceilingBytes: @Sendable () -> Int
    private let slowness: DatabaseSlowness
    private let logger: Logger
    private let watch: ChaosWatch
    private let replica: String
    let book = ChaosBook()
    private let state = Mutex(State())

    init(
        pool: PostgresPool, engine: EvaluationEngine, keeper: LeaseKeeper, layers: LayerControl,
        slowness: DatabaseSlowness, watch: ChaosWatch, replica: String,
        ceilingBytes: @escaping @Sendable () -> Int, logger: Logger
    ) {
        self.pool = pool
        self.engine = engine
        self.keeper = keeper
        self.layers = layers
        self.slowness = slowness
        self.watch = watch
        self.replica = replica
        self.ceilingBytes = ceilingBytes
        self.logger = logger
    }

    /// Carries a trial out, and looks at what comes of it until all is as before.
    /// - Parameter event: whose owner is meant; nil: whoever is asked.
    /// - Returns: the trial as it stands now; ``book`` has its result later.
    /// - Throws: 503 when another replica owns the event by now.
    func begin(_ plan: ChaosTrial.Plan, at event: String? = nil) async throws -> ChaosBook.Entry {
        if let event, !self.keeper.isTrusted(Shard(event: event)) {
            throw Problem(.unavailable, detail: "another replica owns this event at the moment", retryAfter: 1)
        }
        let plan = try plan.leaving(out: self.layers.standing.resting)
        try self.book.requireRoom()
        let before = try await self.watch.standing()
        let graphs = self.watch.graphCount
        let done = try await self.carryOut(plan)
        let running = ChaosBook.Result(state: .running, faults: [], seen: ChaosSeen(graphsBefore: graphs))
        let entry = ChaosBook.Entry(
            id: String(UInt64.random(in: 0 ... .max), radix: 16), replica: self.replica,
            startedAt: Timestamp(milliseconds: WallClock.milliseconds()), kind: plan.kind, seconds: plan.seconds,
            expectation: plan.expectation, done: done, result: running)
        self.book.add(entry)
        // The task belongs to this object and ends by itself once all is back or its patience is over.
        let task = Task { [book, watch] in
            let result = await watch.follow(plan, before: before, graphs: graphs) { book.note($0, of: entry.id) }
            book.note(result, of: entry.id)
            self.state.withLock { $0.watching[entry.id] = nil }
        }
        self.state.withLock { state in
            // Over already when the result stands.
            if book.isRunning(entry.id) { state.watching[entry.id] = task }
        }
        return entry
    }

    /// Ends looking; what was broken for a while comes back by itself.
    func stop() {
        for task in self.state.withLock({ Array($0.watching.values) }) { task.cancel() }
    }

    /// What was done, in words.
    private func carryOut(_ plan: ChaosTrial.Plan) async throws -> String {
        self.logger.warning("chaos trial", metadata: ["kind": "\(plan.kind)", "seconds": "\(plan.seconds)"])
        switch plan.kind {
        case .layer, .allLayers:
            self.layers.kill(plan.layers, for: .seconds(plan.seconds))
            return "\(plan.layers.map(\.code).joined(separator: ", ")) will fail for \(plan.seconds) s"
        case .slowDatabase:
            self.slowness.slow(by: .milliseconds(plan.delayMs), for: .seconds(plan.seconds))
            return "each read waits \(plan.delayMs) ms on the server for \(plan.seconds) s"
        case .connectionLoss:
            let ended =
                try await self.pool.query(
                    """
                    SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = $1
                    """, [.text(GraphBuilder.name)]
                ).column(Int.self).first ?? 0
            return "\(ended) connections were ended by the server"
        case .workerKill:
            if Bool.random() {
                await self.engine.die()
                return "the evaluation worker lost everything it knew"
            }
            self.keeper.forget()
            return "the lease keeper forgot its leases; they run out on their own"
        case .memory: return try self.takeMemory(for: .seconds(plan.seconds))
        }
    }

    /// Fills memory up to the ceiling with pages that are really there.
    private func takeMemory(for duration: Duration) throws -> String {
        let wanted = max(0, self.ceilingBytes() - ProcessMetrics.residentBytes() + (8 << 20))
        // Trials are of this process, not of its machine.
        guard wanted <= ProcessMetrics.availableBytes() / 2 else {
            throw Problem(.invalidRequest, detail: "the machine has not twice the \(wanted) bytes this would take up")
        }
        var ballast = [UInt8](repeating: 0, count: wanted)
        for page in stride(from: 0, to: wanted, by: 4_096) { ballast[page] = UInt8(truncatingIfNeeded: page >> 12) | 1 }
        // The task belongs to this object and ends by itself after the trial; a new trial replaces it.
        let release = Task { [weak self] in
            try? await Task.sleep(for: duration)
            guard !Task.isCancelled else { return }
            self?.state.withLock { $0.ballast = [] }
        }
        self.state.withLock { state in
            state.ballastEnds?.cancel()
            state.ballast = ballast
            state.ballastEnds = release
        }
        return "\(wanted) bytes of memory are taken up"
    }
}

/// Whether reads are made slow at this moment.
final class DatabaseSlowness: Sendable {
    private let state = Mutex<(delay: Duration, until: ContinuousClock.Instant)?>(nil)

    func slow(by delay: Duration, for duration: Duration) {
        self.state.withLock { $0 = (delay, ContinuousClock.now + duration) }
    }

    var delay: Duration? { self.state.withLock { $0.flatMap { ContinuousClock.now < $0.until ? $0.delay : nil } } }
}
