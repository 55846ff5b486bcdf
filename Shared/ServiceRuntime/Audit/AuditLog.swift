import CoreMetrics
import Logging
import Model
import Postgres
import ServiceLifecycle
import Synchronization
import Telemetry

/// Keeps the audit log beside the requests: noting an event costs a lock and an append, one task writes batches once a second.
///
/// What cannot be written waits, ``AuditBook/rowLimit`` rows of it; then events are dropped and counted in
/// `audit_dropped_total`. A request never waits for it and never fails because of it.
public final class AuditLog: Service {
    static let interval = Duration.seconds(1)
    static let upkeepIntervalMs: Int64 = 3_600_000

    public let level: AuditLevel
    private let store: AuditStore
    private let retentionDays: Int
    private let logger: Logger
    private let book: Mutex<AuditBook>
    private let written: Counter
    private let dropped: Counter

    /// - Parameter retentionDays: 1 ... 3,650; older days are dropped.
    public init(
        level: AuditLevel, retentionDays: Int, store: AuditStore, logger: Logger,
        metrics: any MetricsFactory = MetricsSystem.factory
    ) {
        self.level = level
        self.retentionDays = retentionDays
        self.store = store
        self.logger = logger
        self.book = Mutex(AuditBook(level: level))
        self.written = Counter(label: "audit_written_total", dimensions: [], factory: metrics)
        self.dropped = Counter(label: "audit_dropped_total", dimensions: [], factory: metrics)
    }

    public func note(_ event: AuditEvent) {
        guard event.kind.level <= self.level else { return }
        self.book.withLock { _ = $0.note(event) }
    }

    public func run() async throws {
        guard self.level > .off else {
            try? await gracefulShutdown()
            return
        }
        var last = await cancelWhenGracefulShutdown {
            var shell = Shell()
            while !Task.isCancelled {
                await self.round(&shell, isEnding: false)
                try? await Task.sleep(for: Self.interval)
            }
            return shell
        }
        await self.round(&last, isEnding: true)
    }

    private struct Shell {
        var keptUpAtMs = Int64.min
        var isFailing = false
    }

    private func round(_ shell: inout Shell, isEnding: Bool) async {
        let now = Timestamp(milliseconds: WallClock.milliseconds())
        do {
            if now.milliseconds - Self.upkeepIntervalMs >= shell.keptUpAtMs {
                let retired = try await self.store.upkeep(now: now, retentionDays: self.retentionDays)
                shell.keptUpAtMs = now.milliseconds
                if retired > 0 { self.logger.info("retired days of the audit log", metadata: ["count": "\(retired)"]) }
            }
            self.book.withLock { $0.closeWindows(now: now, isEnding: isEnding) }
            // What came meanwhile waits for the next round: this one ends.
            var left = self.book.withLock { $0.count }
            while left > 0 {
                let rows = self.book.withLock { $0.take(AuditStore.batchLimit) }
                guard !rows.isEmpty else { break }
                left -= rows.count
                do {
                    try await self.store.insert(rows)
                    self.written.increment(by: Int64(rows.count))
                } catch {
                    self.book.withLock { $0.putBack(rows) }
                    throw error
                }
            }
            if shell.isFailing { self.logger.info("the audit log is written again") }
            shell.isFailing = false
        } catch {
            // A day without a partition is made in the next round.
            shell.keptUpAtMs = .min
            if !shell.isFailing, !Task.isCancelled {
                self.logger.warning(
                    "the audit log cannot be written", metadata: ["error": "\(String(reflecting: error))"])
            }
            shell.isFailing = true
        }
        let dropped = self.book.withLock { $0.takeDropped() }
        if dropped > 0 { self.dropped.increment(by: Int64(dropped)) }
    }
}
