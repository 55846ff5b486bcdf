/// One caller's bucket on one instance when the limit counts over all: it spends slices that it has taken from the shared bucket
/// in the database. A value: it is told the time and what the database said, and answers what to do.
///
/// A request never waits for the database, so some are admitted in advance and paid for with the next slice: only while the
/// shared bucket has a token by what the database said last and the time that has passed since, and at most ``advance(of:)``
/// at a time. So nobody with tokens left is refused because the slice here is used up, and whoever waited for as long as it was
/// told is admitted, unless other instances have spent the caller's tokens meanwhile. All instances together admit at most the
/// limit and, once, a tenth of the burst for each of them. While the database is away each goes on at the rate it was granted
/// last, alone: together that is at most the rate of the limit again, and a tenth of it for each instance that never had a
/// grant.
struct LeasedBucket: Hashable, Sendable {
    /// The database is asked at most this often while the shared bucket has tokens; while it has none, this often, or once for
    /// ``leastSlice`` requests.
    static let askNanoseconds: Int64 = 5_000_000
    static let scarceNanoseconds: Int64 = 750_000_000
    static let crowdedNanoseconds: Int64 = 50_000_000
    /// How long an answer usually takes at most.
    static let answerNanoseconds: Int64 = 20_000_000
    /// Tokens taken at once, at least, where that is at most an eighth of the burst: then under 1 % of requests ask.
    static let leastSlice = 125
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
    /// When it came, and when it was asked for: from then on tokens come back.
    private var lastAt: Int64 = 0
    private var lastAskedAt: Int64 = 0
    /// Tokens a second that were granted lately; what goes on while the database is away.
    private var grantedPerSecond = 0.0
    private var awayArrival: Int64?

    init(policy: GCRA) { self.policy = policy }

    /// The same bucket under another policy; it keeps at most what that allows, and no old wait.
    func under(_ policy: GCRA) -> LeasedBucket {
        var bucket = self
        bucket.policy = policy
        bucket.last = nil
        bucket.tokens = min(self.tokens, policy.burst)
        bucket.slice = min(self.slice, policy.burst)
        return bucket
    }

    /// Requests that may be admitted before they are paid for, at least 1: a tenth of the burst when the shared bucket must be
    /// full, a twentieth of what is there while it had tokens when it was asked last; else 1 ... 4, for then other instances
    /// spend, too.
    private func advance(of available: Int) -> Int {
        let least = max(1, min(4, self.policy.burst / 100))
        if available >= self.policy.burst { return max(least, self.policy.burst / 10) }
        return self.last.map { $0.remaining > 0 } ?? true ? max(least, available / 20) : least
    }

    private var capacityNanoseconds: Int64 { Int64(self.policy.burst) * self.policy.intervalNanoseconds }

    /// Tokens in the shared bucket now, if nobody has taken any since the last answer.
    private func available(now: Int64) -> Int {
        guard let last else { return self.policy.burst }
        let missing = max(0, last.resetNanoseconds - max(0, now - self.lastAskedAt))
        return Int(max(0, self.capacityNanoseconds - missing) / self.policy.intervalNanoseconds)
    }

    /// Never so long that the shared bucket would overflow unasked.
    private var scarceInterval: Int64 {
        min(Self.scarceNanoseconds, self.capacityNanoseconds / 4 * 3)
    }

    /// Whether little would be lost by forgetting it: what it owes would have come back by now.
    func isIdle(now: Int64) -> Bool {
        let debt = Int64(max(0, -self.tokens)) * self.policy.intervalNanoseconds
        return now - max(self.lastAt, self.askedAt) > max(10_000_000_000, self.capacityNanoseconds + debt)
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
            return (decision, self.isDue(now: now) ? self.ask(now: now) : nil)
        }
        let isDue = self.isDue(now: now)
        let available = self.available(now: now)
        // The last one in advance goes with a question: nobody is told to wait for an answer that nobody asked for.
        let advance = self.advance(of: available) - (isDue ? 0 : 1)
        let isAdmitted = self.tokens > 0 || -self.tokens < min(advance, available)
        if isAdmitted { self.tokens -= 1 }
        let decision = self.decision(isAdmitted: isAdmitted, available: available, now: now)
        return (decision, isDue ? self.ask(now: now) : nil)
    }

    private func decision(isAdmitted: Bool, available: Int, now: Int64) -> GCRA.Decision {
        let passed = max(0, now - self.lastAskedAt)
        let debt = Int64(max(0, -self.tokens))
        let interval = self.policy.intervalNanoseconds
        let missing = max(0, (self.last?.resetNanoseconds ?? 0) - passed)
        let reset = missing + debt * interval
        guard !isAdmitted else {
            return GCRA.Decision(
                isAdmitted: true, remaining: max(0, min(self.policy.burst, available + self.tokens)),
                retryAfterNanoseconds: 0, resetNanoseconds: reset)
        }
        // When there is a token for one more, and when the database can be asked or will have answered.
        let token = missing - self.capacityNanoseconds + (debt + 1) * interval
        let answer = self.isAsking ? Self.answerNanoseconds : self.nextAsk - now
        let retry = max(1, token, answer)
        return GCRA.Decision(
            isAdmitted: false, remaining: 0, retryAfterNanoseconds: retry, resetNanoseconds: max(reset, retry))
    }

    /// When the database may be asked again; 0: now. Never before it can have a token.
    private var nextAsk: Int64 {
        guard self.askedAt > .min, let last else { return 0 }
        guard last.remaining == 0 else { return self.askedAt + Self.askNanoseconds }
        return max(self.askedAt + self.scarceInterval, self.lastAskedAt + last.retryNanoseconds)
    }

    private func isDue(now: Int64) -> Bool {
        if self.isAsking, now - self.askedAt < Self.patienceNanoseconds { return false }
        guard now < self.nextAsk, let last else { return true }
        return self.wantedSince >= Self.leastSlice && now >= self.askedAt + Self.crowdedNanoseconds
            && now >= self.lastAskedAt + last.retryNanoseconds
    }

    /// Tokens to take at once: what was asked for since the last time, or what a tenth of a second may ask for, or in steady use
    /// ``leastSlice``. It begins with less, for every instance may be asked for the same caller.
    private func wantedSlice(now: Int64) -> Int {
        let burst = self.policy.burst
        let seconds = max(0.001, Double(max(0, now - max(0, self.askedAt))) / 1e9)
        let soon = Int(min(Double(burst / 4), Double(self.wantedSince) / seconds / 10))
        let least = min(Self.leastSlice, burst / 8, max(burst / 40, 2 * self.slice))
        return min(burst, max(self.wantedSince, soon, least))
    }

    private mutating func ask(now: Int64) -> Int? {
        guard self.tokens < max(1, self.slice / 12) else { return nil }
        // While the database is away it is not asked with every request.
        if self.awayArrival != nil, now - self.lastAt < Self.scarceNanoseconds { return nil }
        self.slice = self.wantedSlice(now: now)
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
        self.lastAskedAt = self.askedAt
        self.isAsking = false
        self.awayArrival = nil
    }

    /// The question was not put to the database, which may be well: the next request asks again.
    mutating func withdrawQuestion() { self.isAsking = false }

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
