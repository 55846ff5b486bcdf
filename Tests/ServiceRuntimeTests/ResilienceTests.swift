import CoreMetrics
import Logging
import Model
import Postgres
import Synchronization
import Telemetry
import Testing

@testable import ServiceRuntime

@Suite("Circuits and memory")
struct ResilienceTests {
    /// Seen to fail: with a circuit that never opens.
    @Test("five failures within a minute open a circuit; fewer, or slower ones, do not")
    func opening() {
        var breaker = CircuitBreaker()
        for second in 0..<4 { breaker.failed("no", now: .seconds(second)) }
        #expect(breaker.state(now: .seconds(5)) == .closed)
        // The first is more than a minute old by now.
        breaker.failed("no", now: .seconds(61))
        #expect(breaker.state(now: .seconds(61)) == .closed)
        breaker.failed("no, again", now: .seconds(62))
        #expect(breaker.state(now: .seconds(62)) == .closed)
        breaker = CircuitBreaker()
        for second in 0..<4 { breaker.failed("no", now: .seconds(second)) }
        let opened = breaker.failed("broken", now: .seconds(59))
        #expect(opened && breaker.state(now: .seconds(59)) == .open && breaker.reason.contains("broken"))
        let isAdmitted = breaker.admits(now: .seconds(88))
        #expect(!isAdmitted && breaker.wait(now: .seconds(88)) == .seconds(1))
    }

    @Test("after thirty seconds one question is let through, and its outcome decides")
    func halfOpen() {
        var breaker = CircuitBreaker()
        for _ in 0..<5 { breaker.failed("no", now: .zero) }
        // A late failure from before does not prolong the pause.
        breaker.failed("late", now: .seconds(20))
        #expect(breaker.state(now: .seconds(30)) == .halfOpen)
        let admitted = [breaker.admits(now: .seconds(30)), breaker.admits(now: .seconds(31))]
        #expect(admitted == [true, false])
        breaker.failed("still", now: .seconds(32))
        #expect(breaker.state(now: .seconds(61)) == .open)
        let isTried = breaker.admits(now: .seconds(62))
        #expect(isTried)
        // Without an outcome the next question is let through instead.
        breaker.abandoned()
        let isTriedAgain = breaker.admits(now: .seconds(63))
        #expect(isTriedAgain)
        breaker.succeeded()
        #expect(breaker.state(now: .seconds(63)) == .closed)
        // What was before is forgotten.
        breaker.failed("once", now: .seconds(64))
        #expect(breaker.state(now: .seconds(64)) == .closed)
    }

    @Test("a circuit says so in metrics and health, and refuses with the seconds to wait")
    func circuit() async {
        let registry = MetricsRegistry()
        let circuit = Circuit("database", factory: registry)
        let health = HealthMonitor(service: "s", version: "1")
        health.add(database: circuit)
        #expect(await health.report().status == .healthy)
        for _ in 0..<5 { circuit.failed("away") }
        let error = #expect(throws: Problem.self) { try circuit.admit() }
        #expect(error?.code == .unavailable && (1...30).contains(error?.retryAfter ?? 0))
        let report = await health.report()
        #expect(report.status == .degraded && report.circuits == ["database": "open"])
        #expect(report.reasons.contains { $0.contains("away") })
        let text = registry.exposition()
        #expect(text.contains(#"correlation_engine_circuit_state{circuit="database",state="open"} 1"#))
        #expect(text.contains(#"correlation_engine_circuit_state{circuit="database",state="closed"} 0"#))
        #expect(text.contains(#"correlation_engine_circuit_failures_total{circuit="database"} 5"#))
        circuit.succeeded()
        #expect(throws: Never.self) { try circuit.admit() }
        #expect(await health.report().circuits == ["database": "closed"])
    }

    /// Keeps what is logged.
    private struct KeepingLog: LogHandler {
        final class Lines: Sendable { let all = Mutex<[String]>([]) }

        let lines: Lines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { self.metadata[key] }
            set { self.metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let told = (event.metadata ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
            self.lines.all.withLock { $0.append(([event.level.rawValue] + told).joined(separator: " ")) }
        }
    }

    /// The page of the alert looks for these lines. Seen to fail: without the logger.
    @Test("each change of a circuit is one line of the log, an open one with what failed")
    func logged() {
        let lines = KeepingLog.Lines()
        let metrics = CircuitMetrics(
            "L2", factory: MetricsRegistry(), logger: Logger(label: "t") { _ in KeepingLog(lines: lines) })
        for state in [CircuitBreaker.State.closed, .closed, .open, .open, .halfOpen, .closed] {
            metrics.note(state, reason: "away")
        }
        #expect(
            lines.all.withLock { $0 } == [
                "warning circuit=L2 reason=away state=open", "notice circuit=L2 state=halfOpen",
                "notice circuit=L2 state=closed",
            ])
    }

    /// Seen to fail: with checks of health that try no circuit.
    @Test("after its pause the circuit of the database is tried by checks of health, so that a quiet service gets well")
    func trial() async {
        let circuit = Circuit(
            "database", rule: CircuitBreaker.Rule(failures: 1, pause: .milliseconds(20)), factory: MetricsRegistry())
        let isAway = Mutex(true)
        func report() async -> HealthReport {
            // One monitor for each look: a monitor keeps what it saw for a second.
            let health = HealthMonitor(service: "s", version: "1") {
                if isAway.withLock({ $0 }) { throw Problem(.unavailable, detail: "away") }
                return .milliseconds(1)
            }
            health.add(database: circuit)
            return await health.report()
        }
        circuit.failed("away")
        #expect(await report().circuits == ["database": "open"])
        try? await Task.sleep(for: .milliseconds(40))
        #expect(circuit.state == .halfOpen)
        // What does not answer may only be busy: the circuit stays half open, and a question may still be asked.
        #expect(await report().circuits == ["database": "halfOpen"])
        #expect(throws: Never.self) { try circuit.admit() }
        // While one is asked nobody else tries.
        isAway.withLock { $0 = false }
        #expect(await report().circuits == ["database": "halfOpen"])
        circuit.abandoned()
        isAway.withLock { $0 = false }
        let well = await report()
        #expect(well.status == .healthy && well.circuits == ["database": "closed"])
    }

    /// Seen to fail: with a guard that never comes to shedding.
    @Test("near the ceiling caches shrink first, then building stops; each ends lower than it began")
    func memory() {
        var memory = MemoryGuard(ceilingBytes: 1_000)
        let steps: [(Int, MemoryGuard.Level)] = [
            (849, .normal), (850, .shrinking), (949, .shrinking), (950, .shedding), (901, .shedding),
            (899, .shrinking), (801, .shrinking), (799, .normal), (849, .normal), (2_000, .shedding), (10, .normal),
        ]
        for (bytes, level) in steps {
            let found = memory.observe(residentBytes: bytes)
            #expect(found == level, "\(bytes)")
        }
        memory.observe(residentBytes: 960)
        memory.ceilingBytes = 2_000
        let found = memory.observe(residentBytes: 960)
        #expect(found == .normal)
    }

    /// Seen to fail: with keys taken that need a restart.
    @Test("a reload takes reloadable keys at once, names the others, and keeps what is in force when it is not valid")
    func reload() throws {
        let loader = SettingsLoader(service: "s", table: Setting.shared(httpPort: 1, metricsPort: 2))
        @Sendable func load(_ changes: [String: String]) throws(SettingsError) -> ServiceSettings {
            try loader.load(environment: ["DATABASE_URL": "dbname=x"].merging(changes) { $1 })
        }
        let live = LiveSettings(try load([:]), reloadable: Setting.sharedReloadable)
        let seen = Mutex<[Duration]>([])
        live.observe { settings in seen.withLock { $0.append(settings.queryTimeout) } }
        let next = Mutex<[String: String]>([:])
        let registry = MetricsRegistry()
        let reload = SettingsReload(
            live: live, path: nil, logger: Logger(label: "t") { _ in SwiftLogNoOpLogHandler() }, factory: registry
        ) { () throws(SettingsError) in
            let changes = next.withLock { $0 }
            return try load(changes)
        }
        next.withLock { $0 = ["QUERY_TIMEOUT_MS": "70", "DATABASE_POOL_MAX": "9"] }
        reload.reload(because: "test")
        #expect(live.current.queryTimeout == .milliseconds(70) && live.current.integer("DATABASE_POOL_MAX") == 8)
        next.withLock { $0 = ["QUERY_TIMEOUT_MS": "soon"] }
        reload.reload(because: "test")
        #expect(live.current.queryTimeout == .milliseconds(70))
        #expect(seen.withLock { $0 } == [.milliseconds(50), .milliseconds(70)])
        #expect(registry.exposition().contains("config_reload_failures_total 1"))
        #expect(live.take(try load(["LOG_LEVEL": "debug"])).deferred == ["LOG_LEVEL"])
    }

    /// Seen to fail: with it taken in the production profile.
    @Test("chaos is refused in the production profile, which is the default")
    func chaosInProduction() throws {
        let loader = SettingsLoader(service: "s", table: Setting.shared(httpPort: 1, metricsPort: 2))
        let base = ["DATABASE_URL": "dbname=x", "CHAOS_ENABLED": "true"]
        for profile in [[:], ["UNDERCURRENT_PROFILE": "production"]] {
            let error = #expect(throws: SettingsError.self) {
                try loader.load(environment: base.merging(profile) { $1 })
            }
            #expect(error?.faults.count == 1 && error?.description.contains("CHAOS_ENABLED") == true)
        }
        let staging = try loader.load(environment: base.merging(["UNDERCURRENT_PROFILE": "staging"]) { $1 })
        #expect(staging.flag("CHAOS_ENABLED"))
    }
}
