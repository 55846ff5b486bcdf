import CLibpq
import DequeModule
import Foundation
import Glibc
import Synchronization

/// A connection that many callers share: each sends its statement from its own thread, followed by a synchronisation point, so that
/// each is a transaction of its own; answers come in the same order and are read by the connection's thread.
///
/// Reads that meet a busy connection wait for what is under way and then go together, with one synchronisation point: both sides
/// write to the socket, and wake each other, once for all of them. After a failed read the server skips the rest of its group;
/// they come again, each for itself.
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
        /// A synchronisation point follows.
        var endsGroup = true
        /// Commands whose answers have not ended.
        var commandsLeft = 1
    }

    /// Most statements under way at a time; more would only wait in the server's socket instead of in the queue.
    static let window = 64

    let connection: PostgresConnection
    let core: ConnectionCore
    let signal: CancelSignal
    let openedAt = ContinuousClock.now
    /// Statements promised to this lane or under way; read without the lock when a lane is chosen.
    let load = Atomic<Int>(0)
    let lock = NSLock()
    var flights: Deque<Flight> = []
    /// Reads that go together once nothing is under way.
    var pending: Deque<PipelineJob> = []
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

    /// Makes the connection's thread look at everything.
    func wake() {
        var one: UInt64 = 1
        _ = write(self.signal.descriptor, &one, 8)
    }
}
