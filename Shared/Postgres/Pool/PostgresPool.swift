import Logging
import Synchronization

/// A pool of connections: the shell around ``PoolStateMachine``, which decides everything.
///
/// ``run()`` owns all background work (connecting, closing, timing) and must run as long as the pool is used; a service wraps it.
/// While the server is away, a lease fails at once with `.unavailable` instead of waiting, and attempts to connect go on with
/// growing pauses; when it is back, leases succeed again without a restart.
public final class PostgresPool: Sendable {
    typealias Lease = (id: PoolStateMachine.ConnectionID, connection: PostgresConnection)

    struct State {
        var machine: PoolStateMachine
        var connections: [PoolStateMachine.ConnectionID: PostgresConnection] = [:]
        var continuations: [PoolStateMachine.WaiterID: CheckedContinuation<Lease, any Error>] = [:]
        var nextWaiter: UInt64 = 0
        var lastFailure: PostgresError?
        /// The earliest time a task of ``PostgresPool/run()`` sleeps for; nil: none does.
        var wakeAt: Duration?
    }

    public let configuration: PostgresConfiguration
    let state: Mutex<State>
    let metrics: PoolMetrics
    let logger: Logger
    /// Statements that share connections.
    let hub: PipelineHub
    private let start = ContinuousClock.now
    /// What ``run()`` has to do; bounded by the number of connections and a wake-up.
    let work: AsyncStream<Work>
    private let workContinuation: AsyncStream<Work>.Continuation

    enum Work: Sendable {
        case open(PoolStateMachine.ConnectionID)
        case close(PostgresConnection)
        /// A connection to be shared is wanted.
        case openLane
        /// Something is due at that time.
        case wake(at: Duration)
        case stop
    }

    public init(
        configuration: PostgresConfiguration, logger: Logger = Logger(label: "postgres"),
        metrics: PoolMetrics = PoolMetrics()
    ) {
        self.configuration = configuration
        self.logger = logger
        self.metrics = metrics
        self.hub = PipelineHub(configuration.pool)
        self.state = Mutex(State(machine: PoolStateMachine(settings: configuration.pool)))
        (self.work, self.workContinuation) = AsyncStream.makeStream(bufferingPolicy: .unbounded)
    }

    var now: Duration { ContinuousClock.now - self.start }

    /// Runs `body` with a connection of its own; it is back in the pool, in no transaction, when this returns.
    ///
    /// - Parameter deadline: latest time to get a connection; the pool's lease timeout and ``PostgresDeadline/current`` count too.
    /// - Throws: `.overloaded` when none came free, `.unavailable` while the server is away, else what `body` throws.
    public nonisolated(nonsending) func withConnection<Result>(
        deadline: ContinuousClock.Instant? = nil, _ body: (PostgresConnection) async throws -> Result
    ) async throws -> Result {
        let lease = try await self.lease(deadline: deadline)
        do {
            let result = try await body(lease.connection)
            await self.release(lease)
            return result
        } catch {
            await self.release(lease)
            throw error
        }
    }

    /// Runs `body` in a transaction on a connection of its own: see ``PostgresConnection/transaction(_:deadline:_:)``.
    public nonisolated(nonsending) func withTransaction<Result>(
        _ mode: TransactionMode = .readCommitted, deadline: ContinuousClock.Instant? = nil,
        _ body: (PostgresConnection) async throws -> Result
    ) async throws -> Result {
        try await self.withConnection(deadline: deadline) { connection in
            try await connection.transaction(mode, deadline: deadline, body)
        }
    }

    /// Like ``withTransaction(_:deadline:_:)``, and runs `body` again, at most `attempts` times in all, after an error of severity
    /// `.retryNow`. Only for a body that may run twice, a COMMIT of unknown outcome included.
    public nonisolated(nonsending) func withRetriedTransaction<Result>(
        _ mode: TransactionMode = .readCommitted, attempts: Int = 3, deadline: ContinuousClock.Instant? = nil,
        _ body: (PostgresConnection) async throws -> Result
    ) async throws -> Result {
        var attempt = 1
        while true {
            do {
                return try await self.withTransaction(mode, deadline: deadline, body)
            } catch let error as PostgresError where error.severity == .retryNow && attempt < attempts {
                attempt += 1
            }
        }
    }

    /// One statement on any connection, as a transaction of its own.
    ///
    /// The quickest way to the server: a free connection is lent without waiting, and a prepared statement is sent by the caller's
    /// own thread. A plan that became stale is made anew, once.
    @discardableResult
    public nonisolated(nonsending) func query(
        _ statement: PostgresStatement, _ parameters: [PostgresValue] = [], deadline: ContinuousClock.Instant? = nil
    ) async throws -> PostgresRows {
        if PostgresDeadline.statement != nil {
            return try await self.query([PostgresQuery(statement, parameters)], deadline: deadline)[0]
        }
        let lease = try await self.lease(deadline: deadline)
        do {
            let rows = try await lease.connection.single(PostgresQuery(statement, parameters), deadline: deadline)
            await self.release(lease)
            return rows
        } catch {
            await self.release(lease)
            throw error
        }
    }

    /// Several statements in one round trip and one transaction, in order.
    /// - Returns: the rows of each.
    public nonisolated(nonsending) func query(
        _ queries: [PostgresQuery], deadline: ContinuousClock.Instant? = nil
    ) async throws -> [PostgresRows] {
        // The server's own limit is local to the transaction, and a pipeline is one.
        let before = PostgresDeadline.statement.map { bound in
            [PostgresQuery("SELECT set_config('statement_timeout', $1, true)", [.text("\(bound.milliseconds)ms")])]
                + (bound.delayQuery.map { [$0] } ?? [])
        }
        return try await self.withConnection(deadline: deadline) { connection in
            let answers = try await connection.pipeline((before ?? []) + queries, deadline: deadline)
            return Array(answers.dropFirst(before?.count ?? 0))
        }
    }

    /// How the pool stands now: for health pages.
    public struct Status: Sendable, Hashable {
        public var opening: Int
        public var idle: Int
        public var inUse: Int
        public var waiters: Int
        /// Failed attempts to connect since the last success; 0 when the server answers.
        public var consecutiveFailures: Int
    }

    public var status: Status {
        let counts = self.state.withLock { $0.machine.counts }
        return Status(
            opening: counts.opening, idle: counts.idle, inUse: counts.leased, waiters: counts.waiters,
            consecutiveFailures: counts.failures)
    }

    /// Whether the server answers, and how long one round trip takes.
    public nonisolated(nonsending) func ping(within limit: Duration = .seconds(2)) async throws -> Duration {
        let clock = ContinuousClock()
        let deadline = clock.now + limit
        return try await self.withConnection(deadline: deadline) { connection in
            let before = clock.now
            try await connection.query("SELECT 1", deadline: deadline)
            return clock.now - before
        }
    }

    /// Asks ``run()`` to do something.
    func enqueue(_ work: Work) { self.workContinuation.yield(work) }

    /// Ends the pool: those who wait and all later leases are refused; ``run()`` returns once leased connections are closed.
    public func shutDown() {
        self.hub.close()
        self.apply { machine, _ in machine.shutDown() }
        self.enqueue(.stop)
    }
}
