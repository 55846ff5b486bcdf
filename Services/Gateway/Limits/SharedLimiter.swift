import Postgres
import Synchronization

/// Admits requests of callers by their names.
protocol CallerLimiter: Sendable {
    var policy: GCRA { get }
    /// What a refusal says about the reach of the limit.
    var scope: String { get }
    func admit(_ key: String) -> GCRA.Decision
    /// Another policy from now on.
    func set(policy: GCRA)
}

extension RateLimiter: CallerLimiter {
    var scope: String { "per-instance" }
}

/// Where slices come from.
protocol LeaseSource: Sendable {
    func take(_ key: String, wanted: Int, policy: GCRA) async throws -> LeasedBucket.Grant
}

/// The table `rate_leases`.
struct LeaseStore: LeaseSource {
    static let limit = Duration.milliseconds(900)
    static let select: PostgresStatement = """
        SELECT granted, remaining, retry_ns, reset_ns FROM take_rate_lease($1, $2, $3, $4)
        """

    let pool: PostgresPool

    func take(_ key: String, wanted: Int, policy: GCRA) async throws -> LeasedBucket.Grant {
        let rows = try await self.pool.query(
            Self.select,
            [.text(key), .int(wanted), .int(policy.burst), .int(Int(policy.intervalNanoseconds))],
            deadline: ContinuousClock.now + Self.limit)
        guard let row = rows.first else { throw CancellationError() }
        let (granted, remaining, retry, reset) = try row.decode((Int, Int, Int, Int).self)
        return LeasedBucket.Grant(
            granted: granted, remaining: remaining, retryNanoseconds: Int64(retry), resetNanoseconds: Int64(reset))
    }
}

/// One limit over all instances: ``LeasedBucket``s behind locks, with slices from the database. A request never waits for it.
final class SharedLimiter: CallerLimiter {
    /// Callers with a bucket here, at most; beyond it callers share one.
    static let capacity = 100_000
    /// Questions to the database at the same time, at most.
    static let concurrentAsks = 32

    /// Looks for callers that are gone, at most this often: that takes all of the table.
    static let sweepNanoseconds: Int64 = 1_000_000_000

    private struct Table {
        var buckets: [String: LeasedBucket] = [:]
        var sweptAt: Int64?

        /// The bucket a caller's requests count in.
        mutating func name(of key: String, now: Int64) -> String {
            guard self.buckets[key] == nil, self.buckets.count >= SharedLimiter.capacity else { return key }
            if self.sweptAt.map({ now - $0 >= SharedLimiter.sweepNanoseconds }) ?? true {
                self.sweptAt = now
                self.buckets = self.buckets.filter { !$0.value.isIdle(now: now) }
            }
            return self.buckets.count >= SharedLimiter.capacity ? "overflow" : key
        }
    }

    let scope = "global"
    private let currentPolicy: Mutex<GCRA>
    private let source: any LeaseSource
    private let table = Mutex(Table())
    private let asking = Atomic<Int>(0)
    private let now: @Sendable () -> Int64

    init(
        policy: GCRA, source: any LeaseSource,
        now: @escaping @Sendable () -> Int64 = { MonotonicClock.nanoseconds() }
    ) {
        self.currentPolicy = Mutex(policy)
        self.source = source
        self.now = now
    }

    var policy: GCRA { self.currentPolicy.withLock { $0 } }

    /// What was granted under the old policy may still be spent; it is little.
    func set(policy: GCRA) {
        self.currentPolicy.withLock { $0 = policy }
        self.table.withLock { $0.buckets = $0.buckets.mapValues { $0.under(policy) } }
    }

    func admit(_ key: String) -> GCRA.Decision {
        let policy = self.policy
        let now = self.now()
        let (name, decision, ask) = self.table.withLock { table -> (String, GCRA.Decision, Int?) in
            let name = table.name(of: key, now: now)
            let (decision, ask) = table.buckets[name, default: LeasedBucket(policy: policy)].admit(now: now)
            return (name, decision, ask)
        }
        if let ask { self.fetch(name, wanted: ask) }
        return decision
    }

    private func fetch(_ key: String, wanted: Int) {
        guard self.asking.add(1, ordering: .relaxed).newValue <= Self.concurrentAsks else {
            self.asking.subtract(1, ordering: .relaxed)
            self.table.withLock { $0.buckets[key]?.withdrawQuestion() }
            return
        }
        Task {
            let grant = try? await self.source.take(key, wanted: wanted, policy: self.policy)
            self.asking.subtract(1, ordering: .relaxed)
            let now = self.now()
            self.table.withLock { table in
                if let grant {
                    table.buckets[key]?.take(grant, now: now)
                } else {
                    table.buckets[key]?.fail(now: now)
                }
            }
        }
    }
}
