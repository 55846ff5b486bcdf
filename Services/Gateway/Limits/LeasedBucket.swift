/// One caller's bucket on one instance when the limit counts over all: it spends slices that it has taken from the shared bucket
/// in the database. A value: it is told the time and what the database said, and answers what to do.
///
/// A slice is what the caller asked for since the last one, so few tokens lie unspent anywhere. Nothing is admitted
/// without a token, apart from ``advance`` requests of a caller who is new here; those are paid for with the first slices. So
/// all instances together admit at most the limit and ``advance`` for each of them. While the database is away each goes on at
/// the rate it was granted last, alone: together that is at most the rate of the limit again.
struct LeasedBucket: Hashable, Sendable {
    /// The database is asked at most this often while the shared bucket has tokens, and this often while it has none.
    static let askNanoseconds: Int64 = 5_000_000
    static let scarceNanoseconds: Int64 = 750_000_000
    /// An answer later than this counts as none.
    static let patienceNanoseconds: Int64 = 1_000_000_000

    struct Grant: Hashable, Sendable {
        let granted: Int
        /// Tokens left in the shared bucket.
        let remaining: Int
        let retryNanoseconds: Int64
        let resetNanoseconds: Int64
    }

    private(set) var policy: GCRA
    /// Below zero: admitted in advance.
    private(set) var tokens = 0
    private var slice = 0
    private var askedAt: Int64 = .min
    private var isAsking = false
    private var wantedSince = 0
    private var last: Grant?
    private var lastAt: Int64 = 0
    /// Tokens a second that were granted lately; what goes on while the database is away.
    private var grantedPerSecond = 0.0
    private var awayArrival: Int64?

    init(policy: GCRA) { self.policy = policy }

    /// The same bucket under another policy; it keeps at most what that allows.
    func under(_ policy: GCRA) -> LeasedBucket {
        var bucket = self
        bucket.policy = policy
        bucket.tokens = min(self.tokens, policy.burst)
        bucket.slice = min(self.slice, policy.burst)
        return bucket
    }

    /// Requests admitted before the first slice is there, 1 ... 4.
    var advance: Int { max(1, min(4, self.policy.burst / 100)) }

    /// Never so long that the shared bucket would overflow unasked.
    private var scarceInterval: Int64 {
        min(Self.scarceNanoseconds, Int64(self.policy.burst) * self.policy.intervalNanoseconds / 4 * 3)
    }

    /// Whether nothing would be lost by forgetting it.
    func isIdle(now: Int64) -> Bool {
        !self.isAsking && self.tokens >= 0 && now - self.lastAt > 10_000_000_000
    }

    /// - Returns: the decision, and how many tokens to ask for now; nil: none.
    mutating func admit(now: Int64) -> (decision: GCRA.Decision, ask: Int?) {
        self.wantedSince += 1
        if let arrival = self.awayArrival {
            // Alone, at the rate of the latest grants.
            let alone = GCRA(
                burst: max(1, Int(self.grantedPerSecond / 10)),
                refillPerSecond: min(1_000_000, max(0.1, self.grantedPerSecond)))
            var moved = arrival
            let decision = alone.admit(&moved, now: now)
            self.awayArrival = moved
            return (decision, self.ask(now: now))
        }
        let isAdmitted = self.tokens > 0 || (self.last == nil && self.tokens > -self.advance)
        if isAdmitted { self.tokens -= 1 }
        return (self.decision(isAdmitted: isAdmitted, now: now), self.ask(now: now))
    }

    private func decision(isAdmitted: Bool, now: Int64) -> GCRA.Decision {
        let passed = max(0, now - self.lastAt)
        let remaining = (self.last?.remaining ?? self.policy.burst) + max(0, self.tokens)
        let reset = max(0, (self.last?.resetNanoseconds ?? 0) - passed)
        guard !isAdmitted else {
            return GCRA.Decision(
                isAdmitted: true, remaining: remaining, retryAfterNanoseconds: 0, resetNanoseconds: reset)
        }
        let retry = max(
            1, (self.last?.retryNanoseconds ?? self.policy.intervalNanoseconds) - passed, self.nextAsk - now)
        return GCRA.Decision(
            isAdmitted: false, remaining: 0, retryAfterNanoseconds: retry, resetNanoseconds: max(reset, retry))
    }

    /// When the database may be asked again; 0: now.
    private var nextAsk: Int64 {
        guard self.askedAt > .min, let last else { return 0 }
        return self.askedAt + (last.remaining == 0 ? self.scarceInterval : Self.askNanoseconds)
    }

    private mutating func ask(now: Int64) -> Int? {
        if self.isAsking, now - self.askedAt < Self.patienceNanoseconds { return nil }
        guard now >= self.nextAsk, self.tokens < max(1, self.slice / 4) else { return nil }
        // While the database is away it is not asked with every request.
        if self.awayArrival != nil, now - self.lastAt < Self.scarceNanoseconds { return nil }
        self.slice = min(self.policy.burst, max(self.wantedSince, min(100, self.policy.burst / 10)))
        self.isAsking = true
        self.askedAt = now
        self.wantedSince = 0
        return min(self.policy.burst, max(1, self.slice - self.tokens))
    }

    /// The database has answered.
    mutating func take(_ grant: Grant, now: Int64) {
        let seconds = max(0.001, Double(now - self.lastAt) / 1e9)
        if self.last != nil, seconds < 60 {
            // Over about five seconds: single grants are uneven.
            let share = min(1, seconds / 5)
            self.grantedPerSecond += share * (Double(grant.granted) / seconds - self.grantedPerSecond)
        } else {
            self.grantedPerSecond = Double(grant.granted)
        }
        self.tokens += grant.granted
        self.last = grant
        self.lastAt = now
        self.isAsking = false
        self.awayArrival = nil
    }

    /// The database did not answer.
    mutating func fail(now: Int64) {
        self.isAsking = false
        self.tokens = max(0, self.tokens)
        self.lastAt = now
        if self.awayArrival == nil { self.awayArrival = .min }
        // Nothing was ever granted here: a tenth of the limit must do.
        if self.last == nil { self.grantedPerSecond = 1e8 / Double(self.policy.intervalNanoseconds) }
    }
}
