/// The buckets of many callers in bounded memory.
///
/// A full bucket equals one never seen, so forgetting it loses nothing. When the table is full of buckets in use,
/// newcomers share one overflow bucket: memory stays bounded and known callers keep exactly their own limit.
struct RateTable: Sendable {
    private(set) var policy: GCRA
    /// Callers with a bucket of their own, at most.
    let capacity: Int
    private var arrivals: [String: Int64] = [:]
    private var overflow: Int64 = .min
    private var nextSweep: Int64 = .min

    init(policy: GCRA, capacity: Int) {
        precondition(capacity > 0, "a table without room would refuse everyone")
        self.policy = policy
        self.capacity = capacity
    }

    var count: Int { self.arrivals.count }

    /// - Parameter now: nanoseconds of a monotonic clock.
    mutating func admit(_ key: String, now: Int64) -> GCRA.Decision {
        if let index = self.arrivals.index(forKey: key) {
            return self.policy.admit(&self.arrivals.values[index], now: now)
        }
        if self.arrivals.count >= self.capacity { self.sweep(now: now) }
        guard self.arrivals.count < self.capacity else { return self.policy.admit(&self.overflow, now: now) }
        var arrival = Int64.min
        let decision = self.policy.admit(&arrival, now: now)
        self.arrivals[key] = arrival
        return decision
    }

    /// Goes on under another policy. Whoever had spent everything has one token of the new one: no old wait goes on.
    mutating func set(policy: GCRA, now: Int64) {
        let latest = now + Int64(policy.burst - 1) * policy.intervalNanoseconds
        self.policy = policy
        self.arrivals = self.arrivals.mapValues { min($0, latest) }
        self.overflow = min(self.overflow, latest)
    }

    /// What ``admit(_:now:)`` would say, without spending.
    func peek(_ key: String, now: Int64) -> GCRA.Decision {
        var arrival = self.arrivals[key] ?? (self.arrivals.count < self.capacity ? .min : self.overflow)
        return self.policy.admit(&arrival, now: now)
    }

    /// Forgets full buckets; at most once a second, because a sweep costs O(count).
    private mutating func sweep(now: Int64) {
        guard now >= self.nextSweep else { return }
        self.nextSweep = now + 1_000_000_000
        self.arrivals = self.arrivals.filter { $0.value > now }
    }
}
