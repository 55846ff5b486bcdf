import CoreMetrics
import Synchronization

/// Counts answers out of old memory, and says whether there were any lately.
final class StaleAnswers: Sendable {
    static let lately = Duration.seconds(10)

    private let total: Counter
    private let lastAt = Mutex<ContinuousClock.Instant?>(nil)

    init(factory: any MetricsFactory = MetricsSystem.factory) {
        self.total = Counter(label: "correlation_engine_stale_answers_total", dimensions: [], factory: factory)
    }

    func note() {
        self.total.increment()
        self.lastAt.withLock { $0 = .now }
    }

    var isServing: Bool { self.lastAt.withLock { $0.map { ContinuousClock.now - $0 < Self.lately } ?? false } }
}
