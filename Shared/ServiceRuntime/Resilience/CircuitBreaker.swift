/// Stops asking what keeps failing: after so many failures within a window nothing is asked for a pause, then one question is let
/// through; its outcome decides. A value that is told the time, without clock or lock.
public struct CircuitBreaker: Hashable, Sendable {
    public enum State: String, Hashable, Sendable, Codable, CaseIterable { case closed, halfOpen, open }

    public struct Rule: Hashable, Sendable {
        /// This many failures within ``window`` open the circuit.
        public var failures: Int
        public var window: Duration
        /// How long it stays open before one question is let through.
        public var pause: Duration

        public init(failures: Int = 5, window: Duration = .seconds(60), pause: Duration = .seconds(30)) {
            precondition(failures > 0, "a circuit that opens without a failure would never close")
            self.failures = failures
            self.window = window
            self.pause = pause
        }
    }

    public let rule: Rule
    /// When the last failures were, at most as many as open the circuit.
    private var failedAt: [Duration] = []
    private var openedAt: Duration?
    private var isTrying = false
    /// What failed last, in words.
    public private(set) var lastFailure = ""

    public init(rule: Rule = Rule()) { self.rule = rule }

    public func state(now: Duration) -> State {
        guard let openedAt else { return .closed }
        return now - openedAt >= self.rule.pause ? .halfOpen : .open
    }

    /// Whether it has been half open for 5 s, or for another pause where that is less, and no question came: a real one says more
    /// than a sign of life.
    func isUnused(now: Duration) -> Bool {
        guard let openedAt, !self.isTrying else { return false }
        return now - openedAt >= self.rule.pause + min(self.rule.pause, .seconds(5))
    }

    /// Whether a question may be asked. While half open only one may, until its outcome is told.
    public mutating func admits(now: Duration) -> Bool {
        switch self.state(now: now) {
        case .closed: return true
        case .open: return false
        case .halfOpen:
            guard !self.isTrying else { return false }
            self.isTrying = true
            return true
        }
    }

    /// A question was answered: closes the circuit, whoever asked.
    public mutating func succeeded() {
        guard self.openedAt != nil else { return }
        self.openedAt = nil
        self.isTrying = false
        self.failedAt = []
    }

    /// A question that was let through came to no outcome: the next one is let through instead.
    public mutating func abandoned() { self.isTrying = false }

    /// - Returns: whether this failure opened the circuit, or kept it open.
    @discardableResult
    public mutating func failed(_ reason: String, now: Duration) -> Bool {
        self.lastFailure = reason
        if self.openedAt != nil {
            // Late failures of questions from before do not prolong the pause; that of the trial does.
            guard self.state(now: now) == .halfOpen else { return false }
            self.openedAt = now
            self.isTrying = false
            return true
        }
        self.failedAt = self.failedAt.filter { now - $0 < self.rule.window }.suffix(self.rule.failures - 1) + [now]
        guard self.failedAt.count >= self.rule.failures else { return false }
        self.openedAt = now
        self.isTrying = false
        return true
    }

    /// Time until a question is let through; zero when one may be asked now.
    public func wait(now: Duration) -> Duration {
        guard let openedAt else { return .zero }
        return max(.zero, self.rule.pause - (now - openedAt))
    }

    /// `the circuit is open after 5 failures within 60 s, last: ...`
    public var reason: String {
        "its circuit is open after \(self.rule.failures) failures within \(self.rule.window.components.seconds) s, last: \(self.lastFailure)"
    }
}
