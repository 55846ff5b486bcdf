import CMalloc
import CoreMetrics
import Logging
import ServiceLifecycle
import ServiceRuntime

/// The ``MemoryMonitor`` of this replica: encoded graphs and kept answers go near the ceiling, nothing is built at it.
final class MemoryWatch: Service {
    private let monitor: MemoryMonitor

    init(
        ceilingBytes: Int, graphs: GraphStore, answers: AnswerCache, logger: Logger,
        factory: any MetricsFactory = MetricsSystem.factory
    ) {
        self.monitor = MemoryMonitor(
            ceilingBytes: ceilingBytes, refused: "nothing is built", logger: logger, factory: factory
        ) {
            graphs.dropBodies()
            answers.empty()
            malloc_trim(0)
        }
    }

    func set(ceilingBytes: Int) { self.monitor.set(ceilingBytes: ceilingBytes) }

    /// Whether nothing may be built now.
    var isShedding: Bool { self.monitor.isShedding }
    /// Why it is near its ceiling; nil when it is not.
    var reason: String? { self.monitor.reason }

    func recordShed() { self.monitor.recordShed() }
    func run() async throws { try await self.monitor.run() }
}
