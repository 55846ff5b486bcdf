import CoreMetrics
import Metrics
import Model

/// The gateway's own metrics, made once. Labels come from our tables, never from a request's text.
final class GatewayMetrics: Sendable {
    /// By upstream (the last: none), kind of work (the last: none) and class of status.
    private let requests: [[[Counter]]]
    private let durations: [[Metrics.Timer]]
    private let interruptions: Counter
    private let problems: [String: Counter]
    let connections: Meter
    let retries: Counter
    let handshakes: (http1: Counter, http2: Counter, failed: Counter)
    let inFlight: Meter
    let ejected: Meter
    let unready: Meter
    let mapAge: Meter
    /// By service and kind of work: requests there now, and how many are let through.
    private let lanes: [(upstream: Upstream, work: WorkClass, inFlight: Meter, limit: Meter)]

    static let upstreams = ["gateway", "graph-builder", "anomaly-propagation", "-"]
    static let works = WorkClass.allCases.map { "\($0)" } + ["-"]
    static let classes = ["2xx", "3xx", "4xx", "5xx"]

    init(factory: any MetricsFactory = MetricsSystem.factory) {
        self.requests = Self.upstreams.map { upstream in
            Self.works.map { work in
                Self.classes.map { status in
                    Counter(
                        label: "gateway_requests_total",
                        dimensions: [("upstream", upstream), ("class", work), ("status", status)], factory: factory)
                }
            }
        }
        self.durations = Self.upstreams.map { upstream in
            Self.works.map { work in
                Metrics.Timer(
                    label: "gateway_request_duration_seconds", dimensions: [("upstream", upstream), ("class", work)],
                    preferredDisplayUnit: .seconds, factory: factory)
            }
        }
        self.interruptions = Counter(label: "gateway_interrupted_total", dimensions: [], factory: factory)
        self.problems = Dictionary(
            uniqueKeysWithValues: Problem.Code.allCases.map { code in
                let labels = [("code", code.rawValue)]
                return (code.rawValue, Counter(label: "gateway_problems_total", dimensions: labels, factory: factory))
            })
        self.connections = Meter(label: "gateway_connections", dimensions: [], factory: factory)
        self.retries = Counter(label: "gateway_upstream_retries_total", dimensions: [], factory: factory)
        func handshakes(_ outcome: String) -> Counter {
            Counter(label: "gateway_tls_handshakes_total", dimensions: [("outcome", outcome)], factory: factory)
        }
        self.handshakes = (handshakes("http/1.1"), handshakes("h2"), handshakes("failed"))
        self.inFlight = Meter(label: "gateway_requests_in_flight", dimensions: [], factory: factory)
        self.ejected = Meter(label: "gateway_upstream_ejected_replicas", dimensions: [], factory: factory)
        self.unready = Meter(label: "gateway_upstream_unready_replicas", dimensions: [], factory: factory)
        self.mapAge = Meter(label: "gateway_shard_map_age_seconds", dimensions: [], factory: factory)
        self.lanes = [Upstream.graphBuilder, .anomalyPropagation].flatMap { upstream in
            WorkClass.allCases.filter { $0 != .health }.map { work in
                let labels = [("upstream", Self.upstreams[Self.index(upstream)]), ("class", "\(work)")]
                return (
                    upstream, work,
                    Meter(label: "gateway_upstream_requests_in_flight", dimensions: labels, factory: factory),
                    Meter(label: "gateway_upstream_concurrency_limit", dimensions: labels, factory: factory)
                )
            }
        }
    }

    private static func index(_ upstream: Upstream?) -> Int {
        switch upstream {
        case .gateway: 0
        case .graphBuilder: 1
        case .anomalyPropagation: 2
        case nil: 3
        }
    }

    /// Sets the gauges that nobody sets as they change; called once a second.
    func sample(inFlight: InFlight, load: LoadControl, directory: ServiceDirectory) {
        self.inFlight.set(Double(inFlight.count))
        let leftOut = directory.leftOut
        self.ejected.set(Double(leftOut.ejected))
        self.unready.set(Double(leftOut.unready))
        if let age = directory.age { self.mapAge.set(Double(age) / 1e9) }
        for lane in self.lanes {
            let figures = load.figures(lane.upstream, lane.work)
            lane.inFlight.set(Double(figures.inFlight))
            lane.limit.set(Double(figures.bound.limit))
        }
    }

    /// - Parameters:
    ///   - upstream: nil: the request never got that far.
    ///   - work: nil: no route of ours.
    func record(_ record: AccessRecord, upstream: Upstream?, work: WorkClass?, nanoseconds: Int64) {
        let index = Self.index(upstream)
        let kind = work?.rawValue ?? WorkClass.allCases.count
        let group = record.status / 100 - 2
        if Self.classes.indices.contains(group) { self.requests[index][kind][group].increment() }
        self.durations[index][kind].recordNanoseconds(nanoseconds)
        if !record.code.isEmpty { self.problems[record.code]?.increment() }
        if !record.interruption.isEmpty { self.interruptions.increment() }
    }
}
