import CLibpq
import Foundation
import Glibc

/// One prepared statement sent by whoever calls, without a change of thread.
extension ConnectionCore {
    /// A statement that was sent, and what has come back so far.
    struct Unfinished {
        let key: StatementCache.Key
        let sentAt: UInt64
        var rows: PostgresRows?
        var failure: PostgresError?
    }

    enum InlineOutcome {
        case answered(Result<PostgresRows, PostgresError>)
        /// Sent; ``finish(on:_:)`` must follow on the connection's thread.
        case sent
        /// Nothing was sent: the statement is not prepared yet, or something else is going on.
        case declined
    }

    /// Longest time the caller's thread waits for the answer. A server on the same machine answers a single-row statement in a
    /// fraction of it; waking two threads takes longer.
    private static let inlineWaitNanoseconds: UInt64 = 50_000
    /// After two answers in a row that came later, this many statements are left to the connection's thread before another try.
    private static let patience = 16

    func sendInline(_ query: PostgresQuery) -> InlineOutcome {
        guard query.statement.isPrepared, self.statements.limit > 0, self.lock.try() else { return .declined }
        defer { self.lock.unlock() }
        guard let session, !session.isBroken, self.unfinished == nil, self.droppedStatements.count < 16,
            session.transactionStatus == PQTRANS_IDLE
        else { return .declined }
        let parameters = EncodedParameters(query.parameters)
        let key = StatementCache.Key(text: query.statement.text, types: parameters.types)
        guard let name = self.statements.name(for: key) else { return .declined }
        do throws(PostgresError) {
            try parameters.send(statement: name, isName: true, on: session)
        } catch {
            self.session = nil
            return .answered(.failure(error))
        }
        var unfinished = Unfinished(key: key, sentAt: Self.monotonicNanoseconds())
        guard PQflush(session.pointer) == 0, self.mayAnswerSoon(), self.read(&unfinished, on: session) else {
            self.unfinished = unfinished
            return .sent
        }
        self.lateAnswers = 0
        return .answered(self.conclude(unfinished))
    }

    /// Whether waiting on the caller's thread is worth a try; counts the try as late until it has succeeded.
    private func mayAnswerSoon() -> Bool {
        if self.lateAnswers >= 2 + Self.patience { self.lateAnswers = 1 }
        self.lateAnswers += 1
        return self.lateAnswers <= 2
    }

    /// Waits a moment for the answer.
    /// - Returns: whether it is complete.
    private func read(_ unfinished: inout Unfinished, on session: Session) -> Bool {
        var descriptor = pollfd(fd: PQsocket(session.pointer), events: Int16(POLLIN), revents: 0)
        let operation = Session.Operation(ticket: 0, deadline: nil)
        while true {
            let passed = Self.monotonicNanoseconds() - unfinished.sentAt
            guard passed < Self.inlineWaitNanoseconds else { return false }
            var left = timespec(tv_sec: 0, tv_nsec: Int(Self.inlineWaitNanoseconds - passed))
            // Whatever goes wrong here is found and reported by the connection's thread.
            guard ppoll(&descriptor, 1, &left, nil) > 0, PQconsumeInput(session.pointer) == 1 else { return false }
            if self.take(&unfinished, on: session, operation) { return true }
        }
    }

    /// Takes what has arrived.
    /// - Returns: whether that was all.
    private func take(
        _ unfinished: inout Unfinished, on session: Session, _ operation: Session.Operation
    ) -> Bool {
        while PQisBusy(session.pointer) == 0 {
            guard let result = PQgetResult(session.pointer) else { return true }
            switch PQresultStatus(result) {
            case PGRES_TUPLES_OK, PGRES_COMMAND_OK, PGRES_EMPTY_QUERY:
                unfinished.rows = PostgresRows(result: ResultHandle(result))
            default:
                if unfinished.failure == nil { unfinished.failure = session.failure(result, operation) }
                PQclear(result)
            }
        }
        return false
    }

    /// Reads, on the connection's thread, the answer to what ``sendInline(_:)`` sent.
    func finish(
        on session: Session, _ operation: inout Session.Operation
    ) throws(PostgresError) -> Result<PostgresRows, PostgresError> {
        guard var unfinished = self.unfinished else {
            throw PostgresError(.connectionLost, detail: "there is no statement under way")
        }
        self.unfinished = nil
        try session.flush(&operation)
        while !self.take(&unfinished, on: session, operation) {
            try session.wait(for: POLLIN, &operation)
            guard PQconsumeInput(session.pointer) == 1 else { throw session.lost("PQconsumeInput") }
        }
        return self.conclude(unfinished)
    }

    private func conclude(_ unfinished: Unfinished) -> Result<PostgresRows, PostgresError> {
        if let failure = unfinished.failure { return .failure(self.judge(failure, of: unfinished.key)) }
        guard let rows = unfinished.rows else {
            return .failure(PostgresError(.connectionLost, detail: "the server's answer ended early"))
        }
        return .success(rows)
    }

    private static func monotonicNanoseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
