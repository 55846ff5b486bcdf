import CoreMetrics
import Foundation
import Glibc
import Postgres
import Synchronization
import Telemetry
import TestSupport
import Testing

@testable import ServiceRuntime

@Suite("Performance from histograms")
struct PerformanceTests {
    @Test("a quantile lies where the values were, within the bounds they fell between")
    func quantiles() {
        let histogram = HistogramSnapshot(bounds: [1, 2, 4, 8], counts: [0, 50, 49, 0, 1], sum: 250)
        #expect(histogram.quantile(0.5) == 2)
        #expect(histogram.quantile(0.99) == 4)
        // Nothing is known of what lies above the last bound but that.
        #expect(histogram.quantile(1) == 8)
        #expect(histogram.quantile(0.25) == 1.5)
        #expect(histogram.mean == 2.5)
        #expect(HistogramSnapshot(bounds: [1], counts: [0, 0], sum: 0).quantile(0.5) == nil)
    }

    @Test("each window tells only what came in it, statuses of one route together, idle operations not at all")
    func windows() {
        let registry = MetricsRegistry()
        func timer(_ route: String, _ status: String) -> CoreMetrics.Timer {
            CoreMetrics.Timer(
                label: "http_server_request_duration_seconds",
                dimensions: [("method", "GET"), ("route", route), ("status", status)], factory: registry)
        }
        let (ok, failed, idle) = (timer("/a", "200"), timer("/a", "500"), timer("/b", "200"))
        var window = PerformanceWindow()
        for _ in 0..<100 { idle.recordNanoseconds(1_000_000) }
        _ = window.rows(registry.histograms(), seconds: 60)
        for _ in 0..<90 { ok.recordNanoseconds(3_000_000) }
        for _ in 0..<30 { failed.recordNanoseconds(40_000_000) }
        let rows = window.rows(registry.histograms(), seconds: 60)
        #expect(rows.map(\.operation) == ["http_server_request GET /a"])
        #expect(rows.first?.count == 120 && rows.first?.throughputPerSecond == 2)
        #expect((2.5...5).contains(rows.first?.p50Ms ?? 0) && (25...50).contains(rows.first?.p99Ms ?? 0))
        #expect(window.rows(registry.histograms(), seconds: 60).isEmpty)
    }

    /// Burns processor time on a thread of its own.
    /// - Returns: what tells that it is done.
    private static func burn(cpuSeconds: Double) -> @Sendable () -> Bool {
        final class Flag: Sendable { let isSet = Mutex(false) }
        let flag = Flag()
        Thread.detachNewThread {
            func spent() -> Double {
                var time = timespec()
                clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
                return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
            }
            var sum = 0.0
            while spent() < cpuSeconds { for step in 1...10_000 { sum += 1 / Double(step) } }
            flag.isSet.withLock { $0 = sum > 0 }
        }
        return { flag.isSet.withLock { $0 } }
    }

    /// Seen to fail: with the share of no time: what is written does not grow with work.
    @Test("processor time that is written is what the process had: work shows, nothing twice; memory is the resident")
    func processor() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                let registry = MetricsRegistry()
                let timer = CoreMetrics.Timer(label: "round_duration_seconds", dimensions: [], factory: registry)
                let settings = try SettingsLoader(service: "s", table: Setting.shared(httpPort: 1, metricsPort: 2))
                    .load(environment: ["DATABASE_URL": "dbname=x"])
                let recorder = PerformanceRecorder(
                    service: "s", instance: "i", database: pool, registry: registry,
                    live: LiveSettings(settings, reloadable: []), logger: .silent, interval: .seconds(1))
                func recorded() async throws -> (rows: Int, cpuSeconds: Double, memory: Int) {
                    try await pool.query(
                        """
                        SELECT count(*), coalesce(sum(cpu_share * window_seconds), 0), coalesce(max(memory_bytes), 0)
                        FROM audit_performance_metrics WHERE service = 's' AND operation = 'round'
                        """
                    ).map { try $0.decode((Int, Double, Int).self) }[0]
                }
                let begin = ProcessMetrics.current().cpuSeconds
                let running = Task { try await recorder.run() }
                /// Goes on with work that is counted, without which a window has no row.
                func wait(until isOver: () async throws -> Bool) async throws {
                    let deadline = ContinuousClock.now + .seconds(90)
                    while try await !isOver(), ContinuousClock.now < deadline {
                        timer.recordNanoseconds(1_000_000)
                        try await Task.sleep(for: .milliseconds(50))
                    }
                }
                try await wait { try await recorded().rows > 0 }
                let before = try await recorded()
                let isBurnt = Self.burn(cpuSeconds: 3)
                try await wait { isBurnt() }
                let rows = try await recorded().rows
                try await wait { try await recorded().rows > rows + 1 }
                let after = try await recorded()
                let all = ProcessMetrics.current().cpuSeconds - begin
                running.cancel()
                _ = try? await running.value
                #expect(before.rows > 0 && after.rows > before.rows)
                #expect(after.cpuSeconds - before.cpuSeconds > 2.7, "\(before) \(after)")
                #expect(after.cpuSeconds < all + 0.5, "\(after), the process had \(all)")
                let resident = ProcessMetrics.current().residentBytes
                #expect(after.memory > resident / 4 && after.memory < resident * 4)
            }
        }
    }

    @Test("the fingerprint of a configuration changes with what it does, not with where it runs or its secrets")
    func fingerprint() throws {
        let loader = SettingsLoader(service: "s", table: Setting.shared(httpPort: 1, metricsPort: 2))
        func print(_ changes: [String: String]) throws -> String {
            try loader.load(environment: ["DATABASE_URL": "dbname=x"].merging(changes) { $1 }).fingerprint
        }
        let plain = try print([:])
        #expect(plain.count == 64)
        #expect(try print(["HTTP_PORT": "7", "DATABASE_URL": "dbname=y"]) == plain)
        #expect(try print(["QUERY_TIMEOUT_MS": "51"]) != plain)
        // Staging and production may be the same configuration, although trials are allowed in one only.
        #expect(try print(["UNDERCURRENT_PROFILE": "staging", "CHAOS_ENABLED": "true"]) == plain)
    }
}
