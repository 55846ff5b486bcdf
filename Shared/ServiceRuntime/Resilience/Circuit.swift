import CoreMetrics
import Logging
import Model
import Synchronization

/// The circuit around one dependency: a ``CircuitBreaker`` with a clock, metrics and a place in `/health`.
public final class Circuit: Sendable {
    public let name: String
    private let breaker: Mutex<CircuitBreaker>
    private let metrics: CircuitMetrics
    private let failures: Counter
    private let opened: Counter
    private let start = ContinuousClock.now

    public init(
        _ name: String, rule: CircuitBreaker.Rule = CircuitBreaker.Rule(),
        factory: any MetricsFactory = MetricsSystem.factory
    ) {
        self.name = name
        self.breaker = Mutex(CircuitBreaker(rule: rule))
        self.metrics = CircuitMetrics(name, factory: factory)
        self.failures = Counter(
            label: "correlation_engine_circuit_failures_total", dimensions: [("circuit", name)], factory: factory)
        self.opened = Counter(
            label: "correlation_engine_circuit_opened_total", dimensions: [("circuit", name)], factory: factory)
        self.note(.closed)
    }

    private var now: Duration { ContinuousClock.now - self.start }

    public var state: CircuitBreaker.State { self.breaker.withLock { $0.state(now: self.now) } }

    /// Why it is not closed; nil when it is.
    public var reason: String? {
        self.breaker.withLock { $0.state(now: self.now) == .closed ? nil : "\(self.name): \($0.reason)" }
    }

    /// - Throws: 503 `unavailable` with the seconds until the circuit lets a question through.
    public func admit() throws(Problem) {
        let now = self.now
        let (isAdmitted, wait, state) = self.breaker.withLock { breaker in
            (breaker.admits(now: now), breaker.wait(now: now), breaker.state(now: now))
        }
        self.note(state)
        guard !isAdmitted else { return }
        let seconds = max(1, (wait / .seconds(1)).rounded(.up))
        throw Problem(
            .unavailable,
            detail: "\(self.name) has failed several times in a row and is left alone for a while.",
            retryAfter: seconds)
    }

    /// Whether nobody uses the circuit since it is half open, and the one question that is let through is the caller's to ask.
    func beginTrial() -> Bool { self.breaker.withLock { $0.isUnused(now: self.now) && $0.admits(now: self.now) } }

    /// It answered; also for signs of life that were not asked through the circuit.
    public func succeeded() {
        let changed = self.breaker.withLock { breaker in
            let before = breaker.state(now: self.now)
            breaker.succeeded()
            return before != .closed
        }
        if changed { self.note(.closed) }
    }

    public func abandoned() { self.breaker.withLock { $0.abandoned() } }

    public func failed(_ reason: String) {
        let now = self.now
        let (opened, state) = self.breaker.withLock { ($0.failed(reason, now: now), $0.state(now: now)) }
        self.failures.increment()
        if opened { self.opened.increment() }
        self.note(state)
    }

    private func note(_ state: CircuitBreaker.State) {
        self.metrics.note(state, reason: self.breaker.withLock { $0.reason })
    }
}

/// `correlation_engine_circuit_state{circuit="L3",state="open"} 1`: one series per state, so that a sum over time is a share. And
/// `correlation_engine_circuit_changes_total`: how often each state was entered, for who looks too seldom to see a short one. Each
/// change is in the log, an open one with what failed last.
public final class CircuitMetrics: Sendable {
    private let gauges: [CircuitBreaker.State: Meter]
    private let changes: [CircuitBreaker.State: Counter]
    private let last = Mutex<CircuitBreaker.State?>(nil)
    private let circuit: String
    private let logger: Logger

    public init(_ circuit: String, factory: any MetricsFactory, logger: Logger = Logger(label: "circuits")) {
        self.circuit = circuit
        self.logger = logger
        func each<Metric>(_ make: ([(String, String)]) -> Metric) -> [CircuitBreaker.State: Metric] {
            Dictionary(
                uniqueKeysWithValues: CircuitBreaker.State.allCases.map {
                    ($0, make([("circuit", circuit), ("state", $0.rawValue)]))
                })
        }
        self.gauges = each { Meter(label: "correlation_engine_circuit_state", dimensions: $0, factory: factory) }
        self.changes = each {
            Counter(label: "correlation_engine_circuit_changes_total", dimensions: $0, factory: factory)
        }
    }

    /// The first state is where counting begins, no change.
    public func note(_ state: CircuitBreaker.State, reason: @autoclosure () -> String = "") {
        // Shown under the lock: what is shown last must be what was noted last, for the same state is not shown again.
        let isChange = self.last.withLock { last in
            guard last != state else { return false }
            for (name, gauge) in self.gauges { gauge.set(name == state ? 1 : 0) }
            defer { last = state }
            guard last != nil else { return false }
            self.changes[state]?.increment()
            return true
        }
        guard isChange else { return }
        var metadata: Logger.Metadata = ["circuit": "\(self.circuit)", "state": "\(state.rawValue)"]
        if state == .open { metadata["reason"] = "\(reason())" }
        self.logger.log(level: state == .open ? .warning : .notice, "a circuit has changed", metadata: metadata)
    }
}
