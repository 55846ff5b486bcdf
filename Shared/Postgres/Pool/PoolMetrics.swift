import Metrics

/// The pool's own metrics.
public struct PoolMetrics: Sendable {
    private let inUse: Gauge
    private let idle: Gauge
    private let waiters: Gauge
    private let wait: Timer
    private let timeouts: Counter
    private let refusals: Counter
    private let opened: Counter
    private let openFailures: Counter

    public init(factory: any MetricsFactory = MetricsSystem.factory) {
        self.inUse = Gauge(label: "database_pool_connections_in_use", factory: factory)
        self.idle = Gauge(label: "database_pool_connections_idle", factory: factory)
        self.waiters = Gauge(label: "database_pool_waiters", factory: factory)
        self.wait = Timer(
            label: "database_pool_wait_seconds", dimensions: [], preferredDisplayUnit: .seconds, factory: factory)
        self.timeouts = Counter(label: "database_pool_timeouts_total", factory: factory)
        self.refusals = Counter(label: "database_pool_refusals_total", factory: factory)
        self.opened = Counter(
            label: "database_pool_connects_total", dimensions: [("outcome", "ok")], factory: factory)
        self.openFailures = Counter(
            label: "database_pool_connects_total", dimensions: [("outcome", "failed")], factory: factory)
    }

    func record(_ counts: PoolStateMachine.Counts) {
        self.inUse.record(counts.leased)
        self.idle.record(counts.idle)
        self.waiters.record(counts.waiters)
    }

    /// A connection was lent at once.
    func recordFree(_ counts: PoolStateMachine.Counts) {
        self.record(counts)
        self.wait.recordNanoseconds(0)
    }

    func record(_ action: PoolStateMachine.Action) {
        switch action {
        case .grant(_, _, let waited): self.wait.recordNanoseconds(waited.wholeNanoseconds)
        case .refuse(_, .timedOut): self.timeouts.increment()
        case .refuse: self.refusals.increment()
        case .open, .close: break
        }
    }

    func recordOpen(succeeded: Bool) { (succeeded ? self.opened : self.openFailures).increment() }
}

extension Duration {
    fileprivate var wholeNanoseconds: Int64 {
        let (seconds, attoseconds) = self.components
        return seconds < 1_000_000_000 ? seconds * 1_000_000_000 + attoseconds / 1_000_000_000 : Int64.max
    }
}
