import CoreMetrics
import Logging
import Model
import ServiceLifecycle
import Synchronization
import Telemetry

/// Looks at this process's memory twice a second, empties caches near the ceiling, and says when nothing large may be begun: a
/// ``MemoryGuard`` with a clock, metrics and a place in `/health`.
public final class MemoryMonitor: Service {
    static let interval = Duration.milliseconds(500)
    /// Giving memory back to the system takes milliseconds.
    static let shrinkInterval = Duration.seconds(2)

    private let state: Mutex<MemoryGuard>
    private let refused: String
    private let shrink: @Sendable () -> Void
    private let used: @Sendable () -> Int
    private let logger: Logger
    private let resident: Meter
    private let ceiling: Meter
    private let level: Meter
    private let shed: Counter

    /// - Parameters:
    ///   - refused: what does not happen at the ceiling, for people: `nothing is built`.
    ///   - shrink: empties caches and gives memory back; called every two seconds near the ceiling.
    ///   - used: bytes in use; what the system says by default.
    public init(
        ceilingBytes: Int, refused: String, logger: Logger, factory: any MetricsFactory = MetricsSystem.factory,
        used: @escaping @Sendable () -> Int = { ProcessMetrics.residentBytes() }, shrink: @escaping @Sendable () -> Void
    ) {
        self.state = Mutex(MemoryGuard(ceilingBytes: ceilingBytes))
        self.refused = refused
        self.shrink = shrink
        self.used = used
        self.logger = logger
        self.resident = Meter(label: "correlation_engine_memory_usage_bytes", dimensions: [], factory: factory)
        self.ceiling = Meter(label: "correlation_engine_memory_ceiling_bytes", dimensions: [], factory: factory)
        self.level = Meter(label: "correlation_engine_memory_level", dimensions: [], factory: factory)
        self.shed = Counter(label: "correlation_engine_builds_shed_total", dimensions: [], factory: factory)
    }

    public func set(ceilingBytes: Int) { self.state.withLock { $0.ceilingBytes = ceilingBytes } }

    /// Whether nothing large may be begun now.
    public var isShedding: Bool { self.state.withLock { $0.level == .shedding } }

    /// Why it is near its ceiling; nil when it is not.
    public var reason: String? {
        let memory = self.state.withLock { $0 }
        guard memory.level > .normal else { return nil }
        let what = memory.level == .shedding ? self.refused : "caches are kept empty"
        return "\(what): \(memory.residentBytes) of \(memory.ceilingBytes) bytes of memory are in use"
    }

    public func recordShed() { self.shed.increment() }

    /// - Parameter what: what is asked for, as a sentence begins: `Root causes`.
    /// - Throws: 503 `MEMORY_LIMIT_EXCEEDED` at the ceiling.
    public func requireRoom(for what: String) throws(Problem) {
        guard self.isShedding else { return }
        self.recordShed()
        throw Problem(
            .memoryLimitExceeded, detail: "\(what) are not computed at present: memory is at its ceiling.",
            retryAfter: 5)
    }

    public func run() async throws {
        await cancelWhenGracefulShutdown {
            var shrunkAt: ContinuousClock.Instant?
            while !Task.isCancelled {
                if self.look(), shrunkAt.map({ ContinuousClock.now - $0 >= Self.shrinkInterval }) ?? true {
                    shrunkAt = .now
                    self.shrink()
                }
                try? await Task.sleep(for: Self.interval)
            }
        }
    }

    /// - Returns: whether caches are to be emptied.
    private func look() -> Bool {
        let bytes = self.used()
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
