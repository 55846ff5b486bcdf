import CLibpq
import Glibc
import Synchronization

/// Wakes the thread that waits for a connection's socket when the Swift task behind the operation is cancelled.
///
/// The waiting thread itself sends the cancel request, so a request can never hit the operation that comes after it. An
/// `eventfd` is one more descriptor in its `poll`.
final class CancelSignal: Sendable {
    private struct State {
        var ticket: UInt64 = 0
        var isCancelled = false
    }

    let descriptor: CInt
    private let state = Mutex(State())

    init() throws(PostgresError) {
        self.descriptor = eventfd(0, CInt(EFD_NONBLOCK) | CInt(EFD_CLOEXEC))
        guard self.descriptor >= 0 else {
            throw PostgresError(.outOfResources, detail: "eventfd: errno \(errno)")
        }
    }

    deinit { close(self.descriptor) }

    /// Starts a new operation; signals of earlier ones no longer count.
    func begin() -> UInt64 {
        self.state.withLock { state in
            state.ticket += 1
            self.drain()
            state.isCancelled = false
            return state.ticket
        }
    }

    /// Does nothing when the operation of that ticket is over.
    func cancel(_ ticket: UInt64) {
        self.state.withLock { state in
            guard state.ticket == ticket, !state.isCancelled else { return }
            state.isCancelled = true
            var one: UInt64 = 1
            _ = write(self.descriptor, &one, 8)
        }
    }

    func isCancelled(_ ticket: UInt64) -> Bool {
        self.state.withLock { $0.ticket == ticket && $0.isCancelled }
    }

    /// So that one signal wakes once.
    func drain() {
        var counter: UInt64 = 0
        _ = read(self.descriptor, &counter, 8)
    }
}
