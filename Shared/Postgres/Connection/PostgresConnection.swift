import CLibpq
import Glibc
import Logging
import Synchronization

/// One libpq connection. A `PGconn` is not safe for concurrent use and its calls wait, so the actor is both lock and thread.
///
/// Each method is one operation on the server; it ends at the earlier of its deadline and ``PostgresDeadline/current``, or when
/// its task is cancelled, by asking the server to stop. After an error of code `.connectionLost` the connection is dead.
public actor PostgresConnection {
    private nonisolated let executor: ConnectionExecutor
    public nonisolated var unownedExecutor: UnownedSerialExecutor { self.executor.asUnownedSerialExecutor() }

    /// Unique within the process; for logs.
    public nonisolated let id: Int
    nonisolated let configuration: PostgresConfiguration
    nonisolated let signal: CancelSignal
    /// What the pool may know without waiting for the thread; written after each operation.
    nonisolated let standing: Mutex<Standing>
    nonisolated let core: ConnectionCore

    struct Standing {
        enum Transaction { case none, open, failed }
        var isUsable = false
        var transaction = Transaction.none
        var descriptor: CInt = -1
    }

    private static let nextID = Atomic<Int>(0)

    init(configuration: PostgresConfiguration) throws(PostgresError) {
        self.id = Self.nextID.add(1, ordering: .relaxed).newValue
        self.executor = ConnectionExecutor(label: "postgres-\(self.id)")
        self.configuration = configuration
        self.signal = try CancelSignal()
        self.standing = Mutex(Standing())
        self.core = ConnectionCore(preparedStatementLimit: configuration.preparedStatementLimit)
    }

    /// Connects outside any pool: for migrations, listeners and tests. Close it with ``close()``.
    /// - Throws: `.unavailable` when no server answers, `.forbidden` when it refuses us, `.timeout`.
    public static func connect(_ configuration: PostgresConfiguration) async throws(PostgresError) -> PostgresConnection
    {
        let connection = try PostgresConnection(configuration: configuration)
        try await connection.open()
        return connection
    }

    /// False once the connection has broken or was closed.
    public nonisolated var isUsable: Bool { self.standing.withLock { $0.isUsable } }

    /// Whether a transaction is open, failed or not.
    public nonisolated var isInTransaction: Bool { self.standing.withLock { $0.transaction != .none } }

    /// Whether an idle connection has something to say: mostly that the server closed it. No round trip.
    nonisolated var hasPendingInput: Bool {
        let descriptor = self.standing.withLock { $0.isUsable ? $0.descriptor : -1 }
        return descriptor >= 0 && Session.hasPendingInput(descriptor)
    }

    /// Ends the connection; safe to call twice.
    public func close() {
        self.core.close()
        self.standing.withLock { $0 = Standing() }
    }

    private func open() async throws(PostgresError) {
        let deadline = ContinuousClock.now + self.configuration.connectTimeout
        let result = await self.blocking(deadline: deadline, heedsCancellation: true) {
            operation throws(PostgresError) in
            let session = try Session.open(self.configuration, signal: self.signal, operation: &operation)
            if !self.configuration.usesTransactionPooler { _ = try session.runSimple(self.greeting, &operation) }
            self.core.adopt(session)
        }
        if case .failure(let error) = result {
            // A server that stays silent while we connect is away, whatever the clock says.
            if error.code == .timeout {
                throw PostgresError(.unavailable, detail: "no answer within \(self.configuration.connectTimeout)")
            }
            throw error
        }
        self.noteStanding()
    }

    /// Session settings, in one round trip. An abandoned transaction must not hold back the readers of the ingest log.
    private var greeting: String {
        var text = "SET idle_in_transaction_session_timeout = '60s'; SET timezone = 'UTC'"
        if let timeout = self.configuration.statementTimeout {
            text += "; SET statement_timeout = \(max(1, timeout.wholeMilliseconds))"
        }
        return text
    }

    /// Runs one operation on the open session.
    ///
    /// - Parameters:
    ///   - heedsCancellation: false for what must run even in a cancelled task, such as ROLLBACK.
    ///   - isUnderWay: whether it was sent already: then it is read to its end whatever happened meanwhile.
    func perform<Result>(
        deadline: ContinuousClock.Instant? = nil, heedsCancellation: Bool = true, isUnderWay: Bool = false,
        _ body: (Session, inout Session.Operation) throws(PostgresError) -> Result
    ) async throws(PostgresError) -> Result {
        let limit = heedsCancellation ? PostgresDeadline.earliest(deadline) : deadline
        if !isUnderWay {
            if heedsCancellation, Task.isCancelled { throw PostgresError(.cancelled, detail: "before it was sent") }
            if let limit, limit <= ContinuousClock.now { throw PostgresError(.timeout, detail: "before it was sent") }
        }
        let result = await self.blocking(deadline: limit, heedsCancellation: heedsCancellation) {
            operation throws(PostgresError) in
            try self.core.use { session throws(PostgresError) in
                guard isUnderWay || self.core.unfinished == nil else {
                    throw PostgresError(.invalidStatement, detail: "a statement is under way on this connection")
                }
                guard isUnderWay || !self.core.isCopying else {
                    throw PostgresError(.invalidStatement, detail: "a COPY is under way on this connection")
                }
                defer { if operation.stopReason != nil { session.settleCancel(&operation) } }
                return try body(session, &operation)
            }
        }
        self.noteStanding()
        return try result.get()
    }

    /// Puts down what the pool may know without waiting for the thread.
    nonisolated func noteStanding() {
        let standing = self.core.standing
        self.standing.withLock { $0 = standing }
    }

    /// The body runs on the connection's thread without suspending; cancelling the task wakes it.
    private func blocking<Result>(
        deadline: ContinuousClock.Instant?, heedsCancellation: Bool,
        _ body: (inout Session.Operation) throws(PostgresError) -> Result
    ) async -> Swift.Result<Result, PostgresError> {
        let signal = self.signal
        let ticket = signal.begin()
        var operation = Session.Operation(ticket: ticket, deadline: deadline, heedsCancellation: heedsCancellation)
        return await withTaskCancellationHandler {
            // Also makes the closure capture the actor: otherwise it would run on the cooperative pool and block it.
            self.preconditionIsolated()
            do throws(PostgresError) { return .success(try body(&operation)) } catch { return .failure(error) }
        } onCancel: {
            signal.cancel(ticket)
        }
    }
}

extension Duration {
    /// Cut off; saturates far beyond any timeout.
    var wholeMilliseconds: Int64 {
        let (seconds, attoseconds) = self.components
        guard abs(seconds) < 1_000_000_000 else { return seconds < 0 ? Int64.min : Int64.max }
        return seconds * 1_000 + attoseconds / 1_000_000_000_000_000
    }

    var inSeconds: Double {
        let (seconds, attoseconds) = self.components
        return Double(seconds) + Double(attoseconds) * 1e-18
    }
}
