import CLibpq
import DequeModule
import Foundation
import Glibc
import Synchronization

/// A connection that many callers share: each sends its statement from its own thread, followed by a synchronisation point of its
/// own, so that each is a transaction of its own; answers come in the same order and are read by the connection's thread.
///
/// The server cannot be told *which* statement to stop, only to stop what it does now. So only the statement at the head is ever
/// stopped, and one that was hit by mistake left nothing behind and runs again, alone.
///
/// `@unchecked Sendable`: `lock` guards everything mutable, the session included; the connection is leased to this lane.
final class PipelineLane: @unchecked Sendable {
    /// A statement that was sent, and what has come back of it.
    struct Flight {
        let job: PipelineJob
        /// The statement was prepared just before, under this name.
        var preparing: String?
        var rows: PostgresRows?
        var failure: PostgresError?
        /// Why the server was asked to stop it.
        var stopReason: PostgresError.Code?
        /// Stopped for the sake of those behind it.
        var isEvicted = false
    }

    /// Most statements under way at a time; more would only wait in the server's socket instead of in the queue.
    static let window = 32

    let connection: PostgresConnection
    let core: ConnectionCore
    let signal: CancelSignal
    let openedAt = ContinuousClock.now
    /// Statements promised to this lane or under way; read without the lock when a lane is chosen.
    let load = Atomic<Int>(0)
    let lock = NSLock()
    var flights: Deque<Flight> = []
    /// Names prepared by statements that are under way.
    var preparing: [StatementCache.Key: String] = [:]
    var cancels: [CancelRequest] = []
    /// When the next cancel request is due, and how many the head has had.
    var cancelAgainAt: ContinuousClock.Instant?
    var headCancels = 0
    /// Nothing is due before; nil: look.
    var watchAt: ContinuousClock.Instant?
    /// Whether callers may send: once in pipeline mode, and until the lane is to end.
    var isOpen = false

    init(connection: PostgresConnection) {
        self.connection = connection
        self.core = connection.core
        self.signal = connection.signal
    }

    enum Sending { case sent, closed, finished }

    /// Sends a statement from the caller's thread.
    func send(_ job: PipelineJob) -> Sending {
        self.lock.lock()
        defer { self.lock.unlock() }
        guard self.isOpen, let session = self.core.session, !session.isBroken else { return .closed }
        // An idle connection that has something to say was mostly closed by the server; its thread is about to find out.
        if self.flights.isEmpty, Session.hasPendingInput(PQsocket(session.pointer)) { return .closed }
        guard job.markSent(on: self) else {
            job.fail(PostgresError(.cancelled, detail: "before it was sent"))
            return .finished
        }
        var flight = Flight(job: job)
        do throws(PostgresError) {
            if let name = self.core.statements.name(for: job.key) ?? self.preparing[job.key] {
                try job.parameters.send(statement: name, isName: true, on: session)
            } else if self.core.statements.limit == 0 {
                try job.parameters.send(statement: job.text, isName: false, on: session)
            } else {
                let name = self.core.statements.newName()
                let types = job.parameters.types
                guard PQsendPrepare(session.pointer, name, job.text, CInt(types.count), types) == 1 else {
                    throw session.lost("PQsendPrepare")
                }
                try job.parameters.send(statement: name, isName: true, on: session)
                flight.preparing = name
                self.preparing[job.key] = name
            }
            guard PQpipelineSync(session.pointer) == 1 else { throw session.lost("PQpipelineSync") }
        } catch {
            session.giveUp()
            self.flights.append(flight)
            self.wake()
            return .sent
        }
        self.flights.append(flight)
        if let deadline = job.deadline, let watchAt = self.watchAt, deadline < watchAt { self.watchAt = deadline }
        // What the socket does not take now, and a deadline, are the connection's thread's business.
        if PQflush(session.pointer) != 0 || job.deadline != nil && self.flights.count == 1 { self.wake() }
        return .sent
    }

    /// Makes the connection's thread look at everything.
    func wake() {
        var one: UInt64 = 1
        _ = write(self.signal.descriptor, &one, 8)
    }
}
