import CMalloc
import CoreMetrics
import Logging
import ServiceLifecycle
import ServiceRuntime
import Synchronization
import Telemetry

/// Looks at this process's memory twice a second, empties caches near the ceiling, and says when nothing may be built.
final class MemoryWatch: Service {
    static let interval = Duration.milliseconds(500)
    /// Giving memory back to the system takes milliseconds.
    static let shrinkInterval = Duration.seconds(2)

    private let state: Mutex<MemoryGuard>
    private let graphs: GraphStore
    private let logger: Logger
    private let resident: Meter
    private let ceiling: Meter
    private let level: Meter
    private let shed: Counter

    init(
        ceilingBytes: Int, graphs: GraphStore, logger: Logger, factory: any MetricsFactory = MetricsSystem.factory
    ) {
        self.state = Mutex(MemoryGuard(ceilingBytes: ceilingBytes))
        self.graphs = graphs
        self.logger = logger
        self.resident = Meter(label: "correlation_engine_memory_usage_bytes", dimensions: [], factory: factory)
        self.ceiling = Meter(label: "correlation_engine_memory_ceiling_bytes", dimensions: [], factory: factory)
        self.level = Meter(label: "correlation_engine_memory_level", dimensions: [], factory: factory)
        self.shed = Counter(label: "correlation_engine_builds_shed_total", dimensions: [], factory: factory)
    }

    func set(ceilingBytes: Int) { self.state.withLock { $0.ceilingBytes = ceilingBytes } }

    /// Whether nothing may be built now.
    var isShedding: Bool { self.state.withLock { $0.level == .shedding } }

    /// Why it is near its ceiling; nil when it is not.
    var reason: String? {
        let memory = self.state.withLock { $0 }
        guard memory.level > .normal else { return nil }
        let what = memory.level == .shedding ? "nothing is built" : "caches are kept empty"
        return "\(what): \(memory.residentBytes) of \(memory.ceilingBytes) bytes of memory are in use"
    }

    func recordShed() { self.shed.increment() }

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var shrunkAt: ContinuousClock.Instant?
            while !Task.isCancelled {
                if self.look(), shrunkAt.map({ ContinuousClock.now - $0 >= Self.shrinkInterval }) ?? true {
                    shrunkAt = .now
                    self.graphs.dropBodies()
                    malloc_trim(0)
                }
                try? await Task.sleep(for: Self.interval)
            }
        }
    }

    /// - Returns: whether caches are to be emptied.
    private func look() -> Bool {
        let bytes = ProcessMetrics.residentBytes()
        let (before, now) = self.state.withLock { state in
            let before = state.level
            state.observe(residentBytes: bytes)
            return (before, state)
        }
        self.resident.set(bytes)
        self.ceiling.set(now.ceilingBytes)
        self.level.set(now.level.rawValue)
        if before != now.level {
            self.logger.notice(
                "memory", metadata: ["level": "\(now.level)", "bytes": "\(bytes)", "ceiling": "\(now.ceilingBytes)"])
        }
        return now.level > .normal
    }
}
