import CLibpq
import Foundation

/// What lies below one connection's actor: the session and what is known about it, used by one thread at a time.
///
/// Most work happens on the connection's own thread. A statement from the pool is sent by the caller's thread, and a server that
/// answers within microseconds is even read there: two changes of thread cost more than such a statement.
///
/// `@unchecked Sendable`: everything mutable is touched only with `lock` held, and operations hold it from their first byte to
/// their last. Only an operation that was sent and not read yet leaves a gap; ``unfinished`` marks it. While a
/// ``PipelineLane`` has the connection, its own lock takes this one's place; the connection's thread begins and ends that.
final class ConnectionCore: @unchecked Sendable {
    let lock = NSLock()
    var session: Session?
    var statements: StatementCache
    /// Names the cache has let go and the server still keeps; deallocated together between transactions.
    var droppedStatements: [String] = []
    /// A statement that was sent while its answer has not been read to the end.
    var unfinished: Unfinished?
    /// Whether a COPY that is written or read piece by piece is under way.
    var isCopying = false
    /// Statements since the last one whose answer came while the caller's thread waited.
    var lateAnswers = 0

    /// What was sent for one query of a pipeline, and so how many results are to be read for it.
    enum Sent {
        case unnamed
        case named(StatementCache.Key)
        /// The statement was prepared just before.
        case prepared(StatementCache.Key, name: String)
    }

    init(preparedStatementLimit: Int) {
        self.statements = StatementCache(limit: preparedStatementLimit)
    }

    /// Runs one operation on the open session, holding the lock.
    func use<Result>(
        _ body: (Session) throws(PostgresError) -> Result
    ) throws(PostgresError) -> Result {
        self.lock.lock()
        defer { self.lock.unlock() }
        guard let session, !session.isBroken else {
            throw PostgresError(.connectionLost, detail: "the connection is closed")
        }
        do throws(PostgresError) { return try body(session) } catch {
            if error.code == .connectionLost { self.session = nil }
            throw error
        }
    }

    func adopt(_ session: Session) {
        self.lock.lock()
        defer { self.lock.unlock() }
        self.session = session
    }

    func close() {
        self.lock.lock()
        defer { self.lock.unlock() }
        self.session = nil
        self.isCopying = false
    }

    /// What the pool may know without asking.
    var standing: PostgresConnection.Standing {
        self.lock.lock()
        defer { self.lock.unlock() }
        guard let session, !session.isBroken else { return PostgresConnection.Standing() }
        let transaction: PostgresConnection.Standing.Transaction =
            switch session.transactionStatus {
            case PQTRANS_IDLE: .none
            case PQTRANS_INERROR: .failed
            default: .open
            }
        return PostgresConnection.Standing(
            isUsable: true, transaction: transaction, descriptor: PQsocket(session.pointer))
    }
}
