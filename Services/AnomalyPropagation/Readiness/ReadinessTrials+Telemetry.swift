import Foundation
import Model
import NIOHTTP1

/// Metrics and traces: whether they tell what was done here.
extension ReadinessTrials {
    /// Names that are there whatever is asked of dashboards, by service: systems outside rely on them.
    static let promised: [String: [String]] = [
        "graph-builder": [
            "correlation_engine_graph_builds_total", "correlation_engine_graph_build_latency_ms",
            "correlation_engine_graph_build_duration_seconds_count", "correlation_engine_memory_usage_bytes",
            "correlation_engine_errors_total", "correlation_engine_circuit_state",
            "correlation_engine_query_timeouts_total", "process_resident_memory_bytes",
        ],
        "anomaly-propagation": [
            "http_server_requests_total", "correlation_engine_query_timeouts_total", "worker_lag_seconds",
            "process_resident_memory_bytes",
        ],
        "gateway": ["gateway_requests_total", "gateway_requests_in_flight", "process_resident_memory_bytes"],
    ]

    /// What each service counts of the requests that come to it, beside the histogram of how long they took.
    private static let requestMetrics: [String: (counter: String, histogram: String)] = [
        "gateway": ("gateway_requests_total", "gateway_request_duration_seconds"),
        "graph-builder": ("http_server_requests_total", "http_server_request_duration_seconds"),
        "anomaly-propagation": ("http_server_requests_total", "http_server_request_duration_seconds"),
    ]

    /// Requests that are sent to each of the services behind the gateway, to see them counted.
    static let countedRequests = 20

    func prometheusMetrics() async throws -> ReadinessFinding {
        let graph = try await self.graph()
        var before: [String: MetricsText] = [:]
        for service in Self.promised.keys { before[service] = try await self.metrics(service) }
        for _ in 0..<Self.countedRequests {
            _ = try await self.probe.graph(graph.event)
            _ = try await self.probe.getPatiently("/v1/anomalies?limit=1")
        }
        // One refusal, so that refusals are among what is counted.
        _ = try await self.probe.get("/v1/no-such-thing")
        var finding = ReadinessFinding.fail("metrics were not answered")
        // A request is counted a moment after its answer.
        _ = await self.probe.until(seconds: 5) {
            finding = try await self.countedSince(before)
            return finding.status == .pass
        }
        return finding
    }

    private func countedSince(_ before: [String: MetricsText]) async throws -> ReadinessFinding {
        var (evidence, wrong): ([String: String], [String]) = ([:], [])
        var all = MetricsText(Data())
        for (service, names) in Self.promised.sorted(by: { $0.key < $1.key }) {
            let now = try await self.metrics(service)
            all.lines += now.lines
            evidence[service] = "\(now.lines.count { !$0.hasPrefix("#") }) samples"
            wrong += names.filter { now.value($0) == nil }.map { "\(service) \($0) is missing" }
            guard let metrics = Self.requestMetrics[service], let before = before[service] else { continue }
            let sent = Double(service == "gateway" ? 2 * Self.countedRequests : Self.countedRequests)
            let grown = Self.growth(metrics, from: before, to: now)
            evidence["\(service) counted"] = "\(Int(grown.counted)) and \(Int(grown.timed)) of at least \(Int(sent))"
            if grown.counted < sent || grown.timed < sent {
                wrong.append("\(service) counted \(Int(grown.counted)) requests and timed \(Int(grown.timed))")
            }
            if let fault = grown.fault { wrong.append("\(service) \(fault)") }
        }
        let asked = Self.namesAsked(in: self.places.monitoring)
        evidence["asked by rules and panels"] = "\(asked.count) names"
        wrong += asked.filter { all.value($0) == nil }.sorted().map { "\($0) is asked for and nowhere" }
        if asked.isEmpty { wrong.append("there are no rules and panels in \(self.places.monitoring)") }
        return .judge(wrong.isEmpty, wrong.joined(separator: "; "), evidence)
    }

    /// How far a counter and its histogram went, and what is wrong with the histogram.
    private static func growth(
        _ metrics: (counter: String, histogram: String), from before: MetricsText, to now: MetricsText
    ) -> (counted: Double, timed: Double, fault: String?) {
        func grown(_ name: String) -> Double { (now.value(name) ?? 0) - (before.value(name) ?? 0) }
        let count = now.value(metrics.histogram + "_count") ?? 0
        // The last bucket holds all there are.
        let inAll = now.lines.lazy.filter {
            $0.hasPrefix(metrics.histogram + "_bucket{") && $0.contains("le=\"+Inf\"")
        }.compactMap { Double($0.split(separator: " ").last ?? "") }.reduce(0, +)
        var fault: String?
        if count != inAll {
            fault = "has \(Int(inAll)) in the buckets of \(metrics.histogram), which counts \(Int(count))"
        }
        if grown(metrics.histogram + "_sum") <= 0 { fault = "says that requests took no time" }
        return (grown(metrics.counter), grown(metrics.histogram + "_count"), fault)
    }

    /// Names of ours that rules, panels and the autoscaler's adapter ask for. Those of spans are there with a collector only.
    static func namesAsked(in folder: String) -> Set<String> {
        var names: Set<String> = []
        for path in FileManager.default.enumerator(atPath: folder)?.compactMap({ $0 as? String }) ?? []
        where path.hasSuffix(".yaml") || path.hasSuffix(".yml") || path.hasSuffix(".json") {
            // Tests of rules ask for what was never measured.
            guard !path.hasPrefix("tests/"),
                let text = try? String(contentsOfFile: "\(folder)/\(path)", encoding: .utf8)
            else { continue }
            let ours =
                /\b(correlation_engine|gateway|graph_builder|ingest|observation|retention|anomalies|forecasts?|worker|http_server|database_pool|process|audit|config)_[a-z_]+\b/
            names.formUnion(text.matches(of: ours).map { String($0.output.0) })
        }
        return names
    }

    /// A trace that a caller has begun and recorded: it goes on through the gateway and the services, and its spans arrive where
    /// they are sent.
    func distributedTracing() async throws -> ReadinessFinding {
        let trace = Self.newTraceID()
        var evidence = ["sent": trace]
        var wrong: [String] = []
        let answer = try await self.traced("/v1/events?limit=1", trace)
        evidence["answered"] = answer.header("traceparent") ?? "no traceparent"
        if answer.status != 200 || answer.traceID != trace { wrong.append("the answer carries another trace") }
        if answer.header("traceparent")?.hasSuffix("-01") != true { wrong.append("the answer says it is not recorded") }
        for (service, path) in Self.tracedRefusals {
            let refusal = try await self.traced(path, trace)
            evidence[service] = "\(refusal.status) in trace \(refusal.problem?.traceId ?? "none")"
            if refusal.status != 404 || refusal.problem?.traceId != trace {
                wrong.append("a refusal of \(service) names another trace")
            }
        }
        let export = try await self.exportOfSpans(trace)
        evidence.merge(export.evidence) { $1 }
        wrong += export.wrong
        return .judge(wrong.isEmpty, wrong.joined(separator: "; "), evidence)
    }

    /// What the services themselves say is not there: their answers name the trace they have worked in.
    private static let tracedRefusals = [
        (service: "graph-builder", path: "/v1/correlation-graph?eventId=readiness-no-such-event"),
        (service: "anomaly-propagation", path: "/v1/anomalies/" + String(repeating: "0", count: 32)),
    ]

    private func traced(_ path: String, _ trace: String) async throws -> SystemProbe.Answer {
        try await self.probe.getPatiently(path, headers: [("traceparent", "00-\(trace)-00f067aa0ba902b7-01")])
    }

    /// Asks in the trace until every service has had spans taken by the collector and shows the trace as an exemplar.
    private func exportOfSpans(_ trace: String) async throws -> (evidence: [String: String], wrong: [String]) {
        let exported = "trace_spans_exported_total"
        var before: [String: MetricsText] = [:]
        for service in Self.promised.keys { before[service] = try await self.metrics(service) }
        let exporting = before.filter { $0.value.value(exported) != nil }
        guard !exporting.isEmpty else {
            return (["spans": "not exported: no service has an OTLP_ENDPOINT; the trace is in answers and logs"], [])
        }
        var wrong = before.keys.filter { exporting[$0] == nil }.sorted().map { "\($0) exports no spans, others do" }
        var taken: [String: Double] = [:]
        var exemplars: Set<String> = []
        _ = await self.probe.until(seconds: self.exportPatienceSeconds) {
            for (_, path) in Self.tracedRefusals { _ = try await self.traced(path, trace) }
            for (service, before) in exporting {
                let now = try await self.metrics(service, accept: "application/openmetrics-text")
                taken[service] = (now.value(exported) ?? 0) - (before.value(exported) ?? 0)
                if now.lines.contains(where: { $0.contains("trace_id=\"\(trace)\"") }) { exemplars.insert(service) }
            }
            return exporting.keys.allSatisfy { taken[$0, default: 0] > 0 && exemplars.contains($0) }
        }
        var evidence: [String: String] = [:]
        for (service, before) in exporting.sorted(by: { $0.key < $1.key }) {
            let dropped = "trace_spans_dropped_total"
            let lost = (try await self.metrics(service).value(dropped) ?? 0) - (before.value(dropped) ?? 0)
            evidence["\(service) spans"] =
                "\(Int(taken[service, default: 0])) taken, \(Int(lost)) lost, "
                + (exemplars.contains(service) ? "the trace is an exemplar" : "no exemplar of the trace")
            if taken[service, default: 0] <= 0 { wrong.append("the collector has taken no spans of \(service)") }
            if lost > 0 { wrong.append("\(service) has lost \(Int(lost)) spans") }
            if !exemplars.contains(service) { wrong.append("no bucket of \(service) shows the trace") }
        }
        return (evidence, wrong)
    }
}
