import ServiceRuntime

/// What recent requests and checks of health say about each replica: one that has just failed comes last for a moment, one that
/// fails again and again is left out for a while and then tried with one request, one that says that it is not ready is left out
/// until it is.
///
/// Every outcome comes with the time its request was sent: what was sent before a replica was left out says nothing about it
/// since, however late it is answered.
struct ReplicaBook: Hashable, Sendable {
    /// A failure makes a replica come last for this time.
    static let shunNanoseconds: Int64 = 2_000_000_000
    /// Left out for the pause of the rule times the number of times in a row, at most this many.
    static let ejectionLimit = 10
    /// A trial that says nothing for this time does not keep others from trying.
    static let trialNanoseconds: Int64 = 10_000_000_000
    /// A check of health that is not repeated counts for this time.
    static let checkNanoseconds: Int64 = 10_000_000_000
    /// Checks in a row that must fail before a replica that does not say why is left out.
    static let failedCheckLimit = 2
    static let capacity = 1_024

    /// What a check of health found.
    enum Check: Hashable, Sendable {
        case ready
        /// It says itself that no requests should come: it starts, stops, or lacks something.
        case unready
        case unanswered
    }

    private struct Page: Hashable, Sendable {
        var shunnedUntil: Int64 = .min
        var failures: [Int64] = []
        var ejection: Ejection?
        var ejections = 0
        var unreadyUntil: Int64 = .min
        var failedChecks = 0
    }

    private struct Ejection: Hashable, Sendable {
        let at: Int64
        var until: Int64
        /// Half open: one request tries it, the others wait for that, but not for ever.
        var triedUntil: Int64?
    }

    enum State: Hashable, Sendable {
        case good
        /// Failed moments ago: others first.
        case shunned
        /// Not to be used while there is any other.
        case leftOut
    }

    /// So many failures within the window leave a replica out, whatever it answers in between.
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
    /// Replicas left out for their failures at `now`.
    func ejectedCount(now: Int64) -> Int { self.pages.values.count { $0.ejection.map { $0.until > now } ?? false } }
    /// Replicas left out at `now` because they are not ready.
    func unreadyCount(now: Int64) -> Int { self.pages.values.count { $0.unreadyUntil > now } }

    /// - Parameter now: nanoseconds of a monotonic clock.
    func state(_ address: String, now: Int64) -> State {
        guard let page = self.pages[address] else { return .good }
        if page.unreadyUntil > now { return .leftOut }
        if let ejection = page.ejection {
            return now < max(ejection.until, ejection.triedUntil ?? .min) ? .leftOut : .good
        }
        return page.shunnedUntil > now ? .shunned : .good
    }

    /// A request is sent there: the first one after an ejection is the trial.
    mutating func use(_ address: String, now: Int64) {
        guard let ejection = self.pages[address]?.ejection, now >= ejection.until else { return }
        self.pages[address]?.ejection?.triedUntil = now + Self.trialNanoseconds
    }

    /// - Parameter sentAt: when the request was sent, or the connection was begun, that came to nothing.
    mutating func failed(_ address: String, sentAt: Int64, now: Int64) {
        guard var page = self.page(address, now: now) else { return }
        if let ejection = page.ejection {
            // Late ones, and those of a replica that is used because there is no other, do not prolong it; the trial does.
            guard sentAt >= ejection.until else { return }
            self.eject(&page, now: now)
        } else {
            page.shunnedUntil = now + Self.shunNanoseconds
            page.failures.removeAll { now - $0 >= self.windowNanoseconds }
            page.failures.append(now)
            if page.failures.count >= self.failureLimit { self.eject(&page, now: now) }
        }
        self.pages[address] = page
    }

    private func eject(_ page: inout Page, now: Int64) {
        page.ejections = min(Self.ejectionLimit, page.ejections + 1)
        page.ejection = Ejection(at: now, until: now + self.ejectionNanoseconds * Int64(page.ejections))
        page.failures = []
    }

    /// It answered: it no longer comes last, and is no longer left out if the request was sent since it was. Its failures stay
    /// counted until the window has passed.
    mutating func answered(_ address: String, sentAt: Int64, now: Int64) {
        guard var page = self.pages[address] else { return }
        if let ejection = page.ejection {
            guard sentAt >= ejection.at else { return }
            page.ejection = nil
            page.ejections = 0
            page.shunnedUntil = .min
        } else if let last = page.failures.last {
            if now - last >= self.windowNanoseconds { page.failures = [] }
            if sentAt >= last { page.shunnedUntil = .min }
        }
        self.keep(page, address, now: now)
    }

    /// It neither answered nor failed. If that was the trial, the next request is one; an earlier trial that ends late takes
    /// nothing from the one that runs.
    mutating func saidNothing(_ address: String, sentAt: Int64) {
        guard let triedUntil = self.pages[address]?.ejection?.triedUntil, sentAt >= triedUntil - Self.trialNanoseconds
        else { return }
        self.pages[address]?.ejection?.triedUntil = nil
    }

    /// A check of health has ended.
    mutating func checked(_ address: String, _ check: Check, now: Int64) {
        switch check {
        case .ready:
            guard var page = self.pages[address] else { return }
            page.unreadyUntil = .min
            page.failedChecks = 0
            // It is there again: no longer than the first pause.
            if var ejection = page.ejection {
                ejection.until = min(ejection.until, ejection.at + self.ejectionNanoseconds)
                page.ejection = ejection
            }
            self.keep(page, address, now: now)
        case .unready:
            guard var page = self.page(address, now: now) else { return }
            page.unreadyUntil = now + Self.checkNanoseconds
            self.pages[address] = page
        case .unanswered:
            guard var page = self.page(address, now: now) else { return }
            page.failedChecks += 1
            page.shunnedUntil = max(page.shunnedUntil, now + Self.shunNanoseconds)
            if page.failedChecks >= Self.failedCheckLimit { page.unreadyUntil = now + Self.checkNanoseconds }
            self.pages[address] = page
        }
    }

    /// The page of a replica, a new one when there is room.
    private mutating func page(_ address: String, now: Int64) -> Page? {
        if let page = self.pages[address] { return page }
        if self.pages.count >= Self.capacity { self.pages = self.pages.filter { !self.isBlank($0.value, now: now) } }
        return self.pages.count < Self.capacity ? Page() : nil
    }

    private mutating func keep(_ page: Page, _ address: String, now: Int64) {
        self.pages[address] = self.isBlank(page, now: now) ? nil : page
    }

    /// Whether it says nothing any more. A replica that was left out and has not been asked since may never come back: where
    /// addresses change, such pages would fill the book.
    private func isBlank(_ page: Page, now: Int64) -> Bool {
        let askedAgainAt = page.ejection.map { max($0.until, $0.triedUntil ?? .min) }
        let isEjected = askedAgainAt.map { now - $0 < self.windowNanoseconds } ?? false
        return !isEjected && page.shunnedUntil <= now && page.unreadyUntil <= now
            && page.failures.last.map { now - $0 >= self.windowNanoseconds } ?? true
    }
}
