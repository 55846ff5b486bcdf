import Logging
import Model
import Postgres
import ServiceLifecycle
import ServiceRuntime
import Synchronization

/// Knows which replica answers what: reads leases and live replicas from PostgreSQL once a second and keeps the last
/// map while the database is away.
final class ServiceDirectory: Sendable {
    static let pollInterval = Duration.milliseconds(500)
    static let pollLimit = Duration.milliseconds(900)

    /// What ends later than any lease lasts was given before the database's clock stepped back.
    static let selectLeases: PostgresStatement = """
        SELECT shard, owner_address FROM shard_leases
        WHERE owner_address IS NOT NULL AND expires_at > now() AND expires_at <= now() + interval '5 minutes'
        """
    static let selectReplicas: PostgresStatement = """
        SELECT service, address FROM replicas WHERE expires_at > now() AND expires_at <= now() + interval '5 minutes'
        ORDER BY service, address LIMIT 1000
        """

    private struct State {
        var map = ShardMap()
        /// What the names of services were looked up to.
        var named: [Upstream: [String]] = [:]
        var book: ReplicaBook
        var budgets: [Upstream: RetryBudget] = [:]
        var turn = 0
        var readAt: Int64?
    }

    private let pool: PostgresPool?
    private let fallback: [Upstream: [String]]
    private let logger: Logger
    private let state: Mutex<State>

    /// - Parameters:
    ///   - pool: nil: only the configured addresses are used.
    ///   - fallback: base URLs by service, for as long as no live replica of it is known.
    ///   - breaker: when a replica that fails is left out.
    init(
        pool: PostgresPool?, fallback: [Upstream: [String]], breaker: CircuitBreaker.Rule = CircuitBreaker.Rule(),
        logger: Logger
    ) {
        self.state = Mutex(State(book: ReplicaBook(rule: breaker)))
        self.pool = pool
        self.fallback = fallback
        self.logger = logger
    }

    /// Addresses to try, best first, at most two. What has been left out for its failures is only tried when there is no other.
    ///
    /// To be asked for a request that will be sent: it may be the trial of a replica, and counts for second attempts.
    func candidates(for upstream: Upstream, shard: Shard?) -> [String] {
        let now = MonotonicClock.nanoseconds()
        return self.state.withLock { state in
            state.turn &+= 1
            let book = state.book
            let ordered = state.map.candidates(
                for: upstream, shard: shard, fallback: self.standing(upstream, state), turn: state.turn & Int.max,
                isShunned: { !book.isEmpty && book.state($0, now: now) != .good })
            guard let first = ordered.first else { return [] }
            state.budgets[upstream, default: RetryBudget()].deposit(now: now)
            guard !book.isEmpty else { return ordered }
            let kept = ordered.filter { book.state($0, now: now) != .leftOut }
            state.book.use(kept.first ?? first, now: now)
            return kept.isEmpty ? ordered : kept
        }
    }

    /// Every address known for a service, for health checks.
    func addresses(of upstream: Upstream) -> [String] {
        self.state.withLock { state in
            let live = state.map.replicas[upstream] ?? []
            return live.isEmpty ? self.standing(upstream, state) : live
        }
    }

    /// Addresses that do not come from the table of replicas.
    private func standing(_ upstream: Upstream, _ state: State) -> [String] {
        let fixed = self.fallback[upstream] ?? []
        guard let named = state.named[upstream], !named.isEmpty else { return fixed }
        return fixed + named
    }

    /// Takes the addresses that names of services have now.
    func take(named: [Upstream: [String]]) { self.state.withLock { $0.named = named } }

    /// The replica could not be reached, broke off, answered that it failed, or not at all.
    func failed(_ address: String, sentAt: Int64) {
        let now = MonotonicClock.nanoseconds()
        self.state.withLock { $0.book.failed(address, sentAt: sentAt, now: now) }
    }

    func answered(_ address: String, sentAt: Int64) {
        self.state.withLock { state in
            guard !state.book.isEmpty else { return }
            state.book.answered(address, sentAt: sentAt, now: MonotonicClock.nanoseconds())
        }
    }

    /// A request ended without a word about the replica: its client went away, or left too little time.
    func saidNothing(_ address: String, sentAt: Int64) {
        self.state.withLock { $0.book.saidNothing(address, sentAt: sentAt) }
    }

    /// A check of health has ended.
    func checked(_ address: String, _ check: ReplicaBook.Check) {
        let now = MonotonicClock.nanoseconds()
        self.state.withLock { $0.book.checked(address, check, now: now) }
    }

    /// Takes a second attempt out of the budget of the service.
    func mayRetry(_ upstream: Upstream) -> Bool {
        let now = MonotonicClock.nanoseconds()
        return self.state.withLock { $0.budgets[upstream, default: RetryBudget()].withdraw(now: now) }
    }

    /// Replicas left out at the moment, for their failures and because they are not ready.
    var leftOut: (ejected: Int, unready: Int) {
        let now = MonotonicClock.nanoseconds()
        return self.state.withLock { ($0.book.ejectedCount(now: now), $0.book.unreadyCount(now: now)) }
    }

    /// Nanoseconds since the map was last read; nil before the first time.
    var age: Int64? {
        let now = MonotonicClock.nanoseconds()
        return self.state.withLock { $0.readAt.map { now - $0 } }
    }

    /// Takes a map in place of the one that was read.
    func take(_ map: ShardMap) {
        let now = MonotonicClock.nanoseconds()
        self.state.withLock { state in
            state.map = map
            state.readAt = now
        }
    }

    /// Reads the map once.
    func refresh() async throws {
        guard let pool else { return }
        let deadline = ContinuousClock.now + Self.pollLimit
        let map = try await pool.withConnection(deadline: deadline) { connection in
            let leases = try await connection.query(Self.selectLeases, [], deadline: deadline)
            let replicas = try await connection.query(Self.selectReplicas, [], deadline: deadline)
            return try Self.map(leases: leases, replicas: replicas)
        }
        self.take(map)
    }

    private static func map(leases: PostgresRows, replicas: PostgresRows) throws(PostgresError) -> ShardMap {
        var map = ShardMap()
        for (shard, address) in try leases.decode((Int, String).self) {
            guard (0..<Shard.count).contains(shard), let url = ShardMap.baseURL(address) else { continue }
            map.owners[Shard(rawValue: shard)] = url
        }
        for (service, address) in try replicas.decode((String, String).self) {
            guard let upstream = ShardMap.upstream(named: service), let url = ShardMap.baseURL(address) else {
                continue
            }
            map.replicas[upstream, default: []].append(url)
        }
        return map
    }
}

extension ServiceDirectory: Service {
    func run() async throws {
        guard self.pool != nil else {
            try await gracefulShutdown()
            return
        }
        await cancelWhenGracefulShutdown {
            var isAway = false
            while !Task.isCancelled {
                do {
                    try await self.refresh()
                    if isAway { self.logger.info("shard map is read again") }
                    isAway = false
                } catch {
                    if !isAway, !Task.isCancelled {
                        self.logger.warning(
                            "shard map cannot be read, the last one stays", metadata: ["error": "\(error)"])
                    }
                    isAway = true
                }
                do { try await Task.sleep(for: Self.pollInterval) } catch { return }
            }
        }
    }
}
