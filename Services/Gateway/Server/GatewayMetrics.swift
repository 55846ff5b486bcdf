import CoreMetrics
import Metrics

/// The gateway's own metrics, made once. Labels come from our tables, never from a request's text.
struct GatewayMetrics: Sendable {
    private let factory: any MetricsFactory
    private let requests: [String: Counter]
    private let durations: [String: Metrics.Timer]
    private let interruptions: Counter

    static let classes = ["2xx", "3xx", "4xx", "5xx"]

    init(factory: any MetricsFactory = MetricsSystem.factory) {
        self.factory = factory
        var requests: [String: Counter] = [:]
        var durations: [String: Metrics.Timer] = [:]
        for upstream in ["gateway", "graph-builder", "anomaly-propagation", "-"] {
            for status in Self.classes {
                requests[upstream + status] = Counter(
                    label: "gateway_requests_total", dimensions: [("upstream", upstream), ("status", status)],
                    factory: factory)
            }
            durations[upstream] = Metrics.Timer(
                label: "gateway_request_duration_seconds", dimensions: [("upstream", upstream)],
                preferredDisplayUnit: .seconds, factory: factory)
        }
        self.requests = requests
        self.durations = durations
        self.interruptions = Counter(label: "gateway_interrupted_total", dimensions: [], factory: factory)
    }

    func record(_ record: AccessRecord, nanoseconds: Int64) {
        self.requests["\(record.upstream)\(record.status / 100)xx"]?.increment()
        self.durations[record.upstream]?.recordNanoseconds(nanoseconds)
        if !record.interruption.isEmpty { self.interruptions.increment() }
    }
}
