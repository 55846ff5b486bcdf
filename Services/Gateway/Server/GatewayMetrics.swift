import CoreMetrics
import Metrics
import Model

/// The gateway's own metrics, made once. Labels come from our tables, never from a request's text.
struct GatewayMetrics: Sendable {
    /// By upstream (the last: none) and class of status.
    private let requests: [[Counter]]
    private let durations: [Metrics.Timer]
    private let interruptions: Counter
    let connections: Meter
    let retries: Counter

    static let upstreams = ["gateway", "graph-builder", "anomaly-propagation", "-"]
    static let classes = ["2xx", "3xx", "4xx", "5xx"]

    init(factory: any MetricsFactory = MetricsSystem.factory) {
        self.requests = Self.upstreams.map { upstream in
            Self.classes.map { status in
                Counter(
                    label: "gateway_requests_total", dimensions: [("upstream", upstream), ("status", status)],
                    factory: factory)
            }
        }
        self.durations = Self.upstreams.map { upstream in
            Metrics.Timer(
                label: "gateway_request_duration_seconds", dimensions: [("upstream", upstream)],
                preferredDisplayUnit: .seconds, factory: factory)
        }
        self.interruptions = Counter(label: "gateway_interrupted_total", dimensions: [], factory: factory)
        self.connections = Meter(label: "gateway_connections", dimensions: [], factory: factory)
        self.retries = Counter(label: "gateway_upstream_retries_total", dimensions: [], factory: factory)
    }

    /// - Parameter upstream: nil: the request never got that far.
    func record(_ record: AccessRecord, upstream: Upstream?, nanoseconds: Int64) {
        let index =
            switch upstream {
            case .gateway: 0
            case .graphBuilder: 1
            case .anomalyPropagation: 2
            case nil: 3
            }
        let group = record.status / 100 - 2
        if self.requests[index].indices.contains(group) { self.requests[index][group].increment() }
        self.durations[index].recordNanoseconds(nanoseconds)
        if !record.interruption.isEmpty { self.interruptions.increment() }
    }
}
