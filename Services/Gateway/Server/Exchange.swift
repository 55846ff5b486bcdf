import Model
import NIOCore
import Synchronization

/// One request and its response, as the connection sees them: the deadline, whether the client is still there, and
/// what to cancel when either ends.
final class Exchange: Sendable {
    /// Why an exchange must stop before it is answered.
    enum Interruption: Hashable, Sendable {
        case clientGone, deadlinePassed, bodyStalled, bodyTooLarge(limit: Int)
    }

    private struct State {
        var interruption: Interruption?
        var cancel: (@Sendable () -> Void)?
        /// When the gateway began to wait for the next piece of the body; nil while it does not wait.
        var waitingSince: Int64?
        var mustClose = false
    }

    /// Monotonic nanoseconds of the arrival of the head.
    let startedAt: Int64
    private let state = Mutex(State())
    private let channel: any Channel

    init(channel: any Channel, startedAt: Int64) {
        self.channel = channel
        self.startedAt = startedAt
    }

    var interruption: Interruption? { self.state.withLock { $0.interruption } }
    var mustClose: Bool { self.state.withLock { $0.mustClose } }

    /// Registers what stops the work, replacing what was registered before; runs it at once if it is too late.
    func onInterruption(_ cancel: (@Sendable () -> Void)?) {
        let isOver = self.state.withLock { state in
            state.cancel = cancel
            return state.interruption != nil
        }
        if isOver { cancel?() }
    }

    /// Stops the work; the first reason counts.
    func interrupt(_ reason: Interruption) {
        let cancel = self.state.withLock { state -> (@Sendable () -> Void)? in
            guard state.interruption == nil else { return nil }
            state.interruption = reason
            return state.cancel
        }
        cancel?()
    }

    /// The connection cannot serve another request: part of this one was left unread.
    func closeAfterResponse() { self.state.withLock { $0.mustClose = true } }

    func beginWaitingForBody() {
        let now = MonotonicClock.nanoseconds()
        self.state.withLock { $0.waitingSince = now }
    }

    func endWaitingForBody() { self.state.withLock { $0.waitingSince = nil } }

    /// Interrupts when the client has let the gateway wait for its body longer than `limit` nanoseconds.
    func checkBody(now: Int64, limit: Int64) {
        let isStalled = self.state.withLock { state in
            state.waitingSince.map { now - $0 >= limit } ?? false
        }
        if isStalled { self.interrupt(.bodyStalled) }
    }

    /// `100 Continue`, for a client that waits for it before it sends its body.
    func sendContinue() {
        self.channel.triggerUserOutboundEvent(ConnectionGuard.SendContinue(), promise: nil)
    }
}
