import CoreMetrics
import Telemetry
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
