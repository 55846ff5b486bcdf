import NIOCore
import NIOPosix
import Synchronization

/// Ends the work for requests that nobody waits for any more: those whose time has passed, and those whose peer has hung up.
///
/// Hummingbird ends no handler when its connection closes, and a timer for each request costs more than most requests.
public final class CallWatch: Sendable {
    /// Names a connection for as long as it is open.
    public typealias ConnectionID = ObjectIdentifier

    /// How often deadlines are looked at while there are any.
    static let tick = TimeAmount.milliseconds(10)

    private struct Call {
        let deadline: ContinuousClock.Instant?
        let connection: ConnectionID?
        let cancel: @Sendable () -> Void
    }

    private struct Connection {
        /// HTTP/1.1 has one call at work for each connection.
        var call: UInt64?
        var hasHungUp = false
    }

    private struct State {
        var calls: [UInt64: Call] = [:]
        var connections: [ConnectionID: Connection] = [:]
        var lastCall: UInt64 = 0
        /// Calls that have a deadline.
        var timedCount = 0
        var isTicking = false
    }

    private let state = Mutex(State())
    private let eventLoop: any EventLoop

    public init(eventLoop: any EventLoop = MultiThreadedEventLoopGroup.singleton.any()) { self.eventLoop = eventLoop }

    var callCount: Int { self.state.withLock { $0.calls.count } }
    var connectionCount: Int { self.state.withLock { $0.connections.count } }

    // MARK: - Connections

    func opened(_ connection: ConnectionID) { self.state.withLock { $0.connections[connection] = Connection() } }

    func closed(_ connection: ConnectionID) {
        self.hungUp(connection)
        self.state.withLock { $0.connections[connection] = nil }
    }

    /// The peer says nothing more, which a client that still waits for an answer does not do.
    func hungUp(_ connection: ConnectionID) {
        let cancel = self.state.withLock { state -> (@Sendable () -> Void)? in
            state.connections[connection]?.hasHungUp = true
            return state.connections[connection]?.call.flatMap { state.calls[$0]?.cancel }
        }
        cancel?()
    }

    func hasHungUp(_ connection: ConnectionID) -> Bool {
        self.state.withLock { $0.connections[connection]?.hasHungUp ?? false }
    }

    // MARK: - Calls

    /// Watches a call until ``end(_:)``.
    ///
    /// - Parameters:
    ///   - deadline: `cancel` runs at most a tick after it; nil: time does not end the call.
    ///   - connection: nil, or one that was never opened here: the call does not end with it.
    ///   - cancel: may run more than once, and from any thread.
    func begin(
        deadline: ContinuousClock.Instant?, connection: ConnectionID?, cancel: @escaping @Sendable () -> Void
    ) -> UInt64 {
        let (id, isGone, startsTicking) = self.state.withLock { state in
            state.lastCall += 1
            let id = state.lastCall
            state.calls[id] = Call(deadline: deadline, connection: connection, cancel: cancel)
            if let connection { state.connections[connection]?.call = id }
            let isGone = connection.flatMap { state.connections[$0]?.hasHungUp } ?? false
            if deadline != nil { state.timedCount += 1 }
            let startsTicking = state.timedCount > 0 && !state.isTicking
            if startsTicking { state.isTicking = true }
            return (id, isGone, startsTicking)
        }
        if startsTicking { self.scheduleTick() }
        if isGone { cancel() }
        return id
    }

    func end(_ id: UInt64) {
        self.state.withLock { state in
            guard let call = state.calls.removeValue(forKey: id) else { return }
            if call.deadline != nil { state.timedCount -= 1 }
            if let connection = call.connection, state.connections[connection]?.call == id {
                state.connections[connection]?.call = nil
            }
        }
    }

    private func scheduleTick() {
        self.eventLoop.scheduleTask(in: Self.tick) { self.look(now: .now) }
    }

    /// Calls at most as many as the service admits: looking at each is cheaper than keeping them in order.
    func look(now: ContinuousClock.Instant) {
        let (late, continues) = self.state.withLock { state in
            let late = state.calls.values.filter { call in call.deadline.map { $0 <= now } ?? false }
            state.isTicking = state.timedCount > 0
            return (late.map(\.cancel), state.isTicking)
        }
        for cancel in late { cancel() }
        if continues { self.scheduleTick() }
    }
}
