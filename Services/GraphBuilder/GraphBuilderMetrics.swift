import Foundation
import Metrics
import Model
import Synchronization
import Telemetry

/// The metrics of graph-builder, made once; labels never carry request data.
struct GraphBuilderMetrics: Sendable {
    private let builds: Counter
    private let buildMs: Gauge
    private let buildDuration: Timer
    private let writeDuration: Timer
    private let errors: Counter
    private let layerFailures: [Layer: Counter]
    private let staleOwners: Counter
    private let findings: Counter
    private let seriesBytes: Gauge
    private let pendingBuckets: Gauge
    private let shards: Gauge
    private let lag: Gauge
    private let memory: Gauge
    private let progress: Gauge
    private let failureCount = FailureCount()

    private final class FailureCount: Sendable {
        let value = Atomic<Int>(0)
    }

    /// Layers that failed since the start.
    var layerFailureCount: Int { self.failureCount.value.load(ordering: .relaxed) }

    init(factory: any MetricsFactory = MetricsSystem.factory) {
        self.builds = Counter(label: "correlation_engine_graph_builds_total", dimensions: [], factory: factory)
        self.buildMs = Gauge(label: "correlation_engine_graph_build_latency_ms", dimensions: [], factory: factory)
        self.buildDuration = Timer(
            label: "correlation_engine_graph_build_duration_seconds", dimensions: [],
            preferredDisplayUnit: .seconds, factory: factory)
        self.writeDuration = Timer(
            label: "correlation_engine_graph_write_duration_seconds", dimensions: [],
            preferredDisplayUnit: .seconds, factory: factory)
        self.errors = Counter(label: "correlation_engine_errors_total", dimensions: [], factory: factory)
        self.layerFailures = Dictionary(
            uniqueKeysWithValues: Layer.allCases.map {
                (
                    $0,
                    Counter(
                        label: "correlation_engine_layer_failures_total", dimensions: [("layer", $0.code)],
                        factory: factory)
                )
            })
        self.staleOwners = Counter(label: "graph_builder_stale_owner_writes_total", dimensions: [], factory: factory)
        self.findings = Counter(label: "graph_builder_findings_total", dimensions: [], factory: factory)
        self.seriesBytes = Gauge(label: "graph_builder_series_bytes", dimensions: [], factory: factory)
        self.pendingBuckets = Gauge(label: "graph_builder_pending_buckets", dimensions: [], factory: factory)
        self.shards = Gauge(label: "graph_builder_shards", dimensions: [], factory: factory)
        self.lag = Gauge(label: "graph_builder_evaluation_lag_seconds", dimensions: [], factory: factory)
        self.memory = Gauge(label: "correlation_engine_memory_usage_bytes", dimensions: [], factory: factory)
        self.progress = Gauge(
            label: "graph_builder_last_progress_timestamp_seconds", dimensions: [], factory: factory)
        self.progress.record(Date().timeIntervalSince1970)
    }

    func recordEvaluation(_ duration: Duration, layers: [LayerReport]) {
        self.builds.increment()
        self.buildMs.record(duration / .milliseconds(1))
        self.buildDuration.record(duration: duration)
        for report in layers where report.state == .failed {
            self.layerFailures[report.layer]?.increment()
            self.failureCount.value.add(1, ordering: .relaxed)
        }
    }

    func recordWrite(_ duration: Duration, batch: EvaluationBatch) {
        self.writeDuration.record(duration: duration)
        self.findings.increment(by: batch.findings.count)
    }

    func recordStaleOwner() { self.staleOwners.increment() }
    func recordError() { self.errors.increment() }

    /// - Parameter lagSeconds: the largest distance between a domain's watermark and its last evaluated bucket.
    func recordStanding(seriesBytes: Int, pendingBuckets: Int, shards: Int, lagSeconds: Double) {
        self.seriesBytes.record(seriesBytes)
        self.pendingBuckets.record(pendingBuckets)
        self.shards.record(shards)
        self.lag.record(lagSeconds)
        // The gauges stand still while a write hangs; this one tells that they do.
        self.progress.record(Date().timeIntervalSince1970)
        // Kept by name for dashboards of the system this replaces; process_resident_memory_bytes is the same figure.
        self.memory.record(ProcessMetrics.current().residentBytes)
    }
}
