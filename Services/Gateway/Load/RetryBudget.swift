/// How many second attempts are allowed: at most a fifth of the requests of the last seconds, and a few besides, so that a
/// service in trouble does not get twice the load.
struct RetryBudget: Hashable, Sendable {
    static let share = 0.2
    /// Tokens that come back each second whatever the load.
    static let floorPerSecond = 2.0
    static let most = 100.0

    private var tokens = 10.0
    private var refilledAt: Int64?

    /// A first attempt at `now` (monotonic nanoseconds).
    mutating func deposit(now: Int64) {
        self.refill(now: now)
        self.tokens = min(Self.most, self.tokens + Self.share)
    }

    /// - Returns: whether a second attempt may be made.
    mutating func withdraw(now: Int64) -> Bool {
        self.refill(now: now)
        guard self.tokens >= 1 else { return false }
        self.tokens -= 1
        return true
    }

    private mutating func refill(now: Int64) {
        let seconds = Double(now - (self.refilledAt ?? now)) / 1e9
        self.refilledAt = now
        self.tokens = min(Self.most, self.tokens + max(0, seconds) * Self.floorPerSecond)
    }
}
