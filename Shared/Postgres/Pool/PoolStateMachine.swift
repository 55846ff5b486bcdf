import DequeModule
import OrderedCollections

/// Every decision of the connection pool, as a value without clock, socket or lock: what came in goes to a method, what is to be
/// done comes back as ``Action``s. The shell (``PostgresPool``) obeys.
///
/// Invariants: connections (opening, idle, leased) never exceed `maximum`; waiters never exceed the greater of
/// `waiterLimit` and `maximum`; nobody waits while a connection idles; waiters are served first come, first served. Times are durations since the pool's start.
struct PoolStateMachine {
    struct ConnectionID: Hashable, Sendable { let number: Int }
    struct WaiterID: Hashable, Sendable { let number: UInt64 }

    enum Refusal: Hashable, Sendable {
        /// The queue of waiters is full.
        case queueFull
        /// The waiter's time is over.
        case timedOut
        /// The server is away; the next attempt to connect is due in that time.
        case unavailable(retryAfter: Duration)
        case cancelled
        case shutDown
    }

    enum Action: Hashable, Sendable {
        case open(ConnectionID)
        case close(ConnectionID)
        /// - waited: time since the waiter asked.
        case grant(WaiterID, ConnectionID, waited: Duration)
        case refuse(WaiterID, Refusal)
    }

    private enum State {
        case opening
        case idle(since: Duration)
        case leased
    }

    private struct Connection {
        var state: State
        /// When it became usable.
        var openedAt: Duration
    }

    private struct Waiter {
        let askedAt: Duration
        let deadline: Duration
    }

    private let settings: PostgresConfiguration.Pool
    /// Connections in state `opening`, counted so that nobody has to look through all of them.
    private var openingCount = 0
    private var connections: OrderedDictionary<ConnectionID, Connection> = [:]
    /// The most recently used is lent first, so that the others can age out.
    private var idle: [ConnectionID] = []
    private var waiters: OrderedDictionary<WaiterID, Waiter> = [:]
    private var nextNumber = 0
    private var failures = 0
    /// No attempt to connect before this time.
    private var pausedUntil: Duration = .zero
    private var isShutDown = false

    init(settings: PostgresConfiguration.Pool) { self.settings = settings }

    struct Counts: Hashable, Sendable {
        var opening = 0
        var idle = 0
        var leased = 0
        var waiters = 0
        /// Attempts to connect that failed since the last one that did not.
        var failures = 0
    }

    var counts: Counts {
        Counts(
            opening: self.openingCount, idle: self.idle.count,
            leased: self.connections.count - self.openingCount - self.idle.count, waiters: self.waiters.count,
            failures: self.failures)
    }

    /// Lends a connection that idles; nil when there is none, or no more.
    mutating func leaseIdle() -> ConnectionID? {
        // After shutting down nothing idles; while anything idles nobody waits.
        guard let connection = self.idle.popLast() else { return nil }
        self.connections[connection]?.state = .leased
        return connection
    }

    /// Someone wants a connection.
    mutating func lease(_ waiter: WaiterID, now: Duration, deadline: Duration) -> [Action] {
        if self.isShutDown { return [.refuse(waiter, .shutDown)] }
        if let connection = self.leaseIdle() {
            return [.grant(waiter, connection, waited: .zero)]
        }
        if deadline <= now { return [.refuse(waiter, .timedOut)] }
        if self.isAway(now: now) { return [.refuse(waiter, .unavailable(retryAfter: self.pausedUntil - now))] }
        guard self.waiters.count < self.settings.waiterLimit || self.canOpenFor(waiters: self.waiters.count + 1) else {
            return [.refuse(waiter, .queueFull)]
        }
        self.waiters[waiter] = Waiter(askedAt: now, deadline: deadline)
        return self.openForDemand(now: now)
    }

    /// The waiter gave up; nothing happens when it was served meanwhile.
    mutating func cancel(_ waiter: WaiterID) -> [Action] {
        guard self.waiters.removeValue(forKey: waiter) != nil else { return [] }
        return [.refuse(waiter, .cancelled)]
    }

    /// An attempt to connect succeeded.
    mutating func opened(_ connection: ConnectionID, now: Duration) -> [Action] {
        guard self.connections[connection] != nil else { return [.close(connection)] }
        self.openingCount -= 1
        self.failures = 0
        self.pausedUntil = .zero
        self.connections[connection] = Connection(state: .idle(since: now), openedAt: now)
        return self.makeAvailable(connection, now: now) + self.openForDemand(now: now)
    }

    /// An attempt to connect failed. Without any live connection those who wait are told at once.
    ///
    /// - Parameter jitter: 0 ..< 1, chosen by the shell; spreads the attempts of many replicas.
    mutating func openFailed(_ connection: ConnectionID, now: Duration, jitter: Double) -> [Action] {
        guard self.connections.removeValue(forKey: connection) != nil else { return [] }
        self.openingCount -= 1
        self.failures += 1
        let doubled = self.settings.backoff.lowerBound * Double(1 << min(self.failures - 1, 20))
        let pause = min(doubled, self.settings.backoff.upperBound)
        self.pausedUntil = now + pause * (0.5 + jitter / 2)
        guard !self.hasLiveConnection else { return [] }
        let refusal = Refusal.unavailable(retryAfter: self.pausedUntil - now)
        let actions = self.waiters.keys.map { Action.refuse($0, refusal) }
        self.waiters.removeAll()
        return actions
    }

    /// A connection came back.
    ///
    /// - Parameter isUsable: false when it broke or could not be cleaned; it is then replaced, not lent again.
    mutating func release(_ connection: ConnectionID, now: Duration, isUsable: Bool) -> [Action] {
        guard let known = self.connections[connection] else { return [.close(connection)] }
        let isTooOld = now - known.openedAt >= self.settings.lifetime
        guard isUsable, !isTooOld, !self.isShutDown else {
            self.connections.removeValue(forKey: connection)
            return [.close(connection)] + self.openForDemand(now: now)
        }
        self.connections[connection]?.state = .idle(since: now)
        return self.makeAvailable(connection, now: now)
    }

    /// What time alone brings: waiters whose deadline passed, idle and old connections, attempts that are due, the minimum.
    mutating func tick(now: Duration) -> [Action] {
        var actions: [Action] = []
        for (waiter, entry) in self.waiters where entry.deadline <= now {
            actions.append(.refuse(waiter, .timedOut))
        }
        for case .refuse(let waiter, _) in actions { self.waiters.removeValue(forKey: waiter) }
        for connection in self.idle {
            guard let entry = self.connections[connection], case .idle(let since) = entry.state else { continue }
            let isSurplus = self.connections.count > self.settings.minimum && now - since >= self.settings.idleTimeout
            guard isSurplus || now - entry.openedAt >= self.settings.lifetime else { continue }
            self.connections.removeValue(forKey: connection)
            actions.append(.close(connection))
        }
        self.idle.removeAll { self.connections[$0] == nil }
        return actions + self.openForDemand(now: now)
    }

    /// Whether returning a connection now can make ``tick(now:)`` due before that time.
    func mayAdvance(_ wakeAt: Duration?, now: Duration) -> Bool {
        guard let wakeAt else { return true }
        guard let connection = self.idle.last, let entry = self.connections[connection] else { return false }
        return min(now + self.settings.idleTimeout, entry.openedAt + self.settings.lifetime) < wakeAt
    }

    /// When ``tick(now:)`` has something to do at the latest; nil: only after another event.
    func nextTick(now: Duration) -> Duration? {
        var next = self.waiters.values.map(\.deadline).min()
        func consider(_ time: Duration) { next = next.map { min($0, time) } ?? time }
        for connection in self.idle {
            guard let entry = self.connections[connection], case .idle(let since) = entry.state else { continue }
            consider(entry.openedAt + self.settings.lifetime)
            if self.connections.count > self.settings.minimum { consider(since + self.settings.idleTimeout) }
        }
        let isShort = self.connections.count < self.settings.minimum || !self.waiters.isEmpty
        if isShort, self.pausedUntil > now, !self.isShutDown { consider(self.pausedUntil) }
        return next
    }

    /// Refuses everyone and closes what idles; leased connections are closed as they come back.
    mutating func shutDown() -> [Action] {
        guard !self.isShutDown else { return [] }
        self.isShutDown = true
        var actions = self.waiters.keys.map { Action.refuse($0, .shutDown) }
        self.waiters.removeAll()
        for connection in self.idle {
            self.connections.removeValue(forKey: connection)
            actions.append(.close(connection))
        }
        self.idle.removeAll()
        let opening = self.connections.filter { if case .opening = $0.value.state { true } else { false } }
        // Attempts under way are forgotten; `opened` closes what they bring.
        for connection in opening.keys { self.connections.removeValue(forKey: connection) }
        self.openingCount = 0
        return actions
    }

    private var hasLiveConnection: Bool { self.connections.count > self.openingCount }

    /// The last attempt failed, nothing works, and the next attempt is not due: waiting would be in vain.
    private func isAway(now: Duration) -> Bool {
        self.failures > 0 && self.pausedUntil > now && !self.hasLiveConnection
    }

    /// Whether the queue of that length would be served by connections being opened or that may be opened.
    private func canOpenFor(waiters: Int) -> Bool {
        waiters <= self.openingCount + self.settings.maximum - self.connections.count
    }

    private mutating func makeAvailable(_ connection: ConnectionID, now: Duration) -> [Action] {
        guard let (waiter, entry) = self.waiters.elements.first else {
            self.idle.append(connection)
            return []
        }
        self.waiters.removeFirst()
        self.connections[connection]?.state = .leased
        return [.grant(waiter, connection, waited: now - entry.askedAt)]
    }

    /// Opens as many as waiters and minimum ask for; a single one while the server has not proven to be back.
    private mutating func openForDemand(now: Duration) -> [Action] {
        guard !self.isShutDown, now >= self.pausedUntil else { return [] }
        var actions: [Action] = []
        while self.connections.count < self.settings.maximum {
            let isNeeded = self.openingCount < self.waiters.count || self.connections.count < self.settings.minimum
            guard isNeeded, self.failures == 0 || self.openingCount == 0 else { break }
            let connection = ConnectionID(number: self.nextNumber)
            self.nextNumber += 1
            self.connections[connection] = Connection(state: .opening, openedAt: now)
            self.openingCount += 1
            actions.append(.open(connection))
        }
        return actions
    }
}
