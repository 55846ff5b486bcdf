import ServiceRuntime

/// What recent requests say about each replica: one that has just failed comes last for a moment, one that fails again and
/// again is left out for a while and then tried with one request.
struct ReplicaBook: Hashable, Sendable {
    /// A failure makes a replica come last for this time.
    static let shunNanoseconds: Int64 = 2_000_000_000
    /// Left out for the pause of the rule times the number of times in a row, at most this many.
    static let ejectionLimit = 10
    /// A trial that says nothing for this time does not keep others from trying.
    static let trialNanoseconds: Int64 = 10_000_000_000
    static let capacity = 1_024

    private struct Page: Hashable, Sendable {
        var shunnedUntil: Int64 = .min
        var failures: [Int64] = []
        var ejectedUntil: Int64?
        var ejections = 0
        /// Half open: one request tries it, the others wait for that, but not for ever.
        var triedUntil: Int64?
    }

    enum State: Hashable, Sendable {
        case good
        /// Failed moments ago: others first.
        case shunned
        /// Not to be used while there is any other.
        case ejected
    }

    /// So many failures within the window, none of them followed by an answer, leave a replica out.
    private let failureLimit: Int
    private let windowNanoseconds: Int64
    private let ejectionNanoseconds: Int64
    private var pages: [String: Page] = [:]

    init(rule: CircuitBreaker.Rule = CircuitBreaker.Rule()) {
        self.failureLimit = rule.failures
        self.windowNanoseconds = Int64(rule.window / .nanoseconds(1))
        self.ejectionNanoseconds = Int64(rule.pause / .nanoseconds(1))
    }

    var isEmpty: Bool { self.pages.isEmpty }
    /// Replicas left out at `now`.
    func ejectedCount(now: Int64) -> Int { self.pages.values.count { $0.ejectedUntil.map { $0 > now } ?? false } }

    /// - Parameter now: nanoseconds of a monotonic clock.
    func state(_ address: String, now: Int64) -> State {
        guard let page = self.pages[address] else { return .good }
        if let until = page.ejectedUntil { return now < max(until, page.triedUntil ?? .min) ? .ejected : .good }
        return page.shunnedUntil > now ? .shunned : .good
    }

    /// A request is sent there: the first one after an ejection is the trial.
    mutating func use(_ address: String, now: Int64) {
        guard let until = self.pages[address]?.ejectedUntil, now >= until else { return }
        self.pages[address]?.triedUntil = now + Self.trialNanoseconds
    }

    mutating func failed(_ address: String, now: Int64) {
        if self.pages[address] == nil, self.pages.count >= Self.capacity {
            self.pages = self.pages.filter {
                $0.value.ejectedUntil != nil
                    || $0.value.failures.last.map { now - $0 < self.windowNanoseconds } ?? false
            }
            guard self.pages.count < Self.capacity else { return }
        }
        var page = self.pages[address] ?? Page()
        page.shunnedUntil = now + Self.shunNanoseconds
        page.failures.removeAll { now - $0 >= self.windowNanoseconds }
        page.failures.append(now)
        let hasFailedTrial = page.triedUntil != nil
        page.triedUntil = nil
        if hasFailedTrial || page.failures.count >= self.failureLimit {
            page.ejections = min(Self.ejectionLimit, page.ejections + 1)
            page.ejectedUntil = now + self.ejectionNanoseconds * Int64(page.ejections)
            page.failures = []
        }
        self.pages[address] = page
    }

    /// It answered: all is forgotten.
    mutating func answered(_ address: String) { self.pages[address] = nil }
}
