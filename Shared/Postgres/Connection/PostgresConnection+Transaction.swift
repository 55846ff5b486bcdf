import CLibpq
import Synchronization

/// How a transaction sees others.
public enum TransactionMode: String, Sendable, Hashable {
    case readCommitted = "BEGIN ISOLATION LEVEL READ COMMITTED"
    case repeatableRead = "BEGIN ISOLATION LEVEL REPEATABLE READ"
    /// One snapshot for all reads; never fails by serialization.
    case readOnly = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    case serializable = "BEGIN ISOLATION LEVEL SERIALIZABLE"
}

extension PostgresConnection {
    /// Runs `body` in a transaction: commits when it returns, rolls back when it throws.
    ///
    /// With a deadline the server itself stops each statement at it (`SET LOCAL statement_timeout`), even when this process
    /// is gone. Calling it inside a transaction makes a savepoint instead: a failure undoes the inner part only.
    /// - Throws: what `body` throws; from COMMIT an error of code `.connectionLost` leaves open whether it took effect.
    public nonisolated(nonsending) func transaction<Result>(
        _ mode: TransactionMode = .readCommitted, deadline: ContinuousClock.Instant? = nil,
        _ body: (PostgresConnection) async throws -> Result
    ) async throws -> Result {
        if self.isInTransaction { return try await self.savepoint(body) }
        try await self.begin(mode, deadline: deadline)
        let result: Result
        do {
            result = try await body(self)
        } catch {
            try? await self.rollBack()
            throw error
        }
        try await self.commit()
        return result
    }

    /// Starts a transaction with the time left as `statement_timeout`, in one round trip. Prefer ``transaction(_:deadline:_:)``.
    public func begin(
        _ mode: TransactionMode = .readCommitted, deadline: ContinuousClock.Instant? = nil
    ) async throws(PostgresError) {
        var text = mode.rawValue
        let bound = PostgresDeadline.statement
        if let limit = PostgresDeadline.earliest(deadline) {
            let left = (limit - ContinuousClock.now).wholeMilliseconds
            guard left > 0 else { throw PostgresError(.timeout, detail: "before BEGIN") }
            let milliseconds = min(left, bound?.milliseconds ?? .max, Int64(Int32.max))
            text += "; SET LOCAL statement_timeout = \(milliseconds)"
        } else if let bound {
            text += "; SET LOCAL statement_timeout = \(bound.milliseconds)"
        }
        if let delay = bound?.delay { text += "; SELECT pg_sleep(\(delay.inSeconds))" }
        try await self.perform(deadline: deadline) { session, operation throws(PostgresError) in
            _ = try session.runSimple(text, &operation)
        }
    }

    /// Commits even when the task has been cancelled: the work is done, and its fate must be known.
    /// - Throws: `.other` when the server turned the COMMIT of a failed transaction into a rollback.
    public func commit() async throws(PostgresError) {
        let failed = self.standing.withLock { $0.transaction == .failed }
        try await self.finish("COMMIT")
        if failed {
            throw PostgresError(.other, detail: "a statement of the transaction had failed; it was rolled back")
        }
    }

    /// Rolls back even when the task has been cancelled.
    public func rollBack() async throws(PostgresError) { try await self.finish("ROLLBACK") }

    private func finish(_ text: String) async throws(PostgresError) {
        let deadline = ContinuousClock.now + .seconds(30)
        try await self.perform(deadline: deadline, heedsCancellation: false) {
            session, operation throws(PostgresError) in
            _ = try session.runSimple(text, &operation)
        }
    }

    private nonisolated(nonsending) func savepoint<Result>(
        _ body: (PostgresConnection) async throws -> Result
    ) async throws -> Result {
        // Savepoints nest by name shadowing: the innermost of a name is the one meant.
        try await self.runScript("SAVEPOINT inner_part")
        let result: Result
        do {
            result = try await body(self)
        } catch {
            try? await self.finish("ROLLBACK TO SAVEPOINT inner_part; RELEASE SAVEPOINT inner_part")
            throw error
        }
        try await self.runScript("RELEASE SAVEPOINT inner_part")
        return result
    }

    /// Leaves the connection as a new user expects it; closes it when that cannot be done.
    func cleanUp() async {
        guard self.isInTransaction else { return }
        do { try await self.rollBack() } catch { self.close() }
    }
}
