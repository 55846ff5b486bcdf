import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Logging
import Model
import NIOCore
import Synchronization

@testable import AnomalyPropagation

/// A system that answers as a sound one does, but for one promise it breaks: what a check must not let pass.
final class StubSystem: Sendable {
    enum Fault: String, CaseIterable, Sendable {
        case none
        // Statements that are too slow.
        case notStopped, stoppedAtOnce, stoppedWithoutType, stoppedUncounted
        // Traces.
        case answersInOtherTrace, servicesInOtherTrace, answersUnsampled
        case spansNotTaken, spansLost, noExemplar, oneServiceWithoutCollector
        // Metrics.
        case metricMissing, metricStill, histogramTorn
        // Answers.
        case emptyEvent, figureIsNull, otherProblemTrace
        // Trials.
        case trialNotMet, connectionsKept, replicaWithoutThreads
    }

    private struct State {
        var requests: [String: Int] = [:]
        var slowLeft = 0
        var stopped = 0
        var connects = 1
        var trials = 0
        var traced: String?
        var spans = 0
    }

    static let event = "e1"
    static let statementLimitMs = 200

    private let fault: Fault
    private let hasCollector: Bool
    private let state = Mutex(State())

    private init(fault: Fault, hasCollector: Bool) {
        self.fault = fault
        self.hasCollector = hasCollector
    }

    /// Runs `body` with trials against such a system.
    static func with(
        _ fault: Fault, hasCollector: Bool = true, monitoring: String,
        _ body: @escaping @Sendable (ReadinessTrials) async throws -> Void
    ) async throws {
        let stub = StubSystem(fault: fault, hasCollector: hasCollector)
        try await Fixture.with { fixture in
            try await Application(responder: Responder(stub: stub), logger: .silentStub).test(.live) { client in
                let url = "http://127.0.0.1:\(client.port ?? 0)"
                var places = ReadinessTrials.Places(queryTimeoutMs: Self.statementLimitMs)
                places.metrics = [
                    "gateway": [url + "/metrics/gateway"],
                    "anomaly-propagation": [url + "/metrics/anomaly-propagation"],
                    "graph-builder": [url + "/metrics/graph-builder", url + "/metrics/graph-builder-2"],
                ]
                places.monitoring = monitoring
                try await SystemProbe.with(url: url, caFile: nil, key: "k") { probe in
                    var trials = ReadinessTrials(
                        probe: probe, store: ReadinessStore(pool: fixture.pool), places: places)
                    trials.exportPatienceSeconds = 2
                    trials.timeoutSlackMs = 20_000
                    try await body(trials)
                }
            }
        }
    }

    private struct Responder: HTTPResponder {
        let stub: StubSystem
        func respond(to request: Request, context: BasicRequestContext) async throws -> Response {
            try await self.stub.respond(to: request)
        }
    }

    private func respond(to request: Request) async throws -> Response {
        let path = request.uri.path
        if path.hasPrefix("/metrics/") { return self.metrics(of: String(path.dropFirst("/metrics/".count))) }
        let trace =
            request.headers[HTTPField.Name("traceparent") ?? .accept]
            .flatMap { $0.split(separator: "-").dropFirst().first.map(String.init) }
            ?? String(repeating: "a", count: 32)
        self.count(path, trace)
        if path == "/v1/events/\(Self.event)", let answer = try await self.slowRead(trace) { return answer }
        return self.answer(to: request, path, trace)
    }

    private func count(_ path: String, _ trace: String) {
        let isForecasting = path.hasPrefix("/v1/anomalies") || path.hasPrefix("/v1/forecasts")
        self.state.withLock { state in
            if self.fault != .metricStill {
                state.requests["gateway", default: 0] += 1
                state.requests[isForecasting ? "anomaly-propagation" : "graph-builder", default: 0] += 1
            }
            state.traced = trace
            state.spans += 1
        }
    }

    /// While reads are slow by a trial.
    private func slowRead(_ trace: String) async throws -> Response? {
        let isSlow = self.state.withLock { state in
            defer { state.slowLeft = max(0, state.slowLeft - 1) }
            return state.slowLeft > 0
        }
        guard isSlow else { return nil }
        if self.fault != .stoppedAtOnce { try await Task.sleep(for: .milliseconds(Self.statementLimitMs + 20)) }
        if self.fault == .notStopped { return Self.json("{}", trace) }
        if self.fault != .stoppedUncounted { self.state.withLock { $0.stopped += 1 } }
        if self.fault == .stoppedWithoutType { return Response(status: .gatewayTimeout) }
        return Self.problem(.deadlineExceeded, trace, trace)
    }

    private func answer(to request: Request, _ path: String, _ caller: String) -> Response {
        let other = String(repeating: "b", count: 32)
        let trace = self.fault == .answersInOtherTrace ? other : caller
        let inner = [.servicesInOtherTrace, .otherProblemTrace].contains(self.fault) ? other : trace
        let query = request.uri.query ?? ""
        switch path {
        case "/health":
            let latency = self.fault == .figureIsNull ? "null" : "1.5"
            return Self.json(
                #"{"status":"HEALTHY","reasons":[],"services":{"graph-builder":{},"anomaly-propagation":{}},"metrics":{"dbLatency":\#(latency),"layerFailures":0,"activeConnections":1,"lastSuccessfulBuild":"2026-01-01T00:00:00.000Z","failover":"none"}}"#,
                trace)
        case "/v1/events" where query.contains("limit=none"): return Self.problem(.invalidRequest, inner, trace)
        case "/v1/events" where request.method == .delete: return Self.problem(.methodNotAllowed, inner, trace)
        case "/v1/events" where request.headers[Self.keyName] == nil:
            return Self.problem(.unauthenticated, inner, trace)
        case "/v1/events":
            return Self.json(
                #"{"items":[{"id":"e1","graphId":"g1"}]}"#, trace, isSampled: self.fault != .answersUnsampled)
        case "/v1/events/\(Self.event)" where self.fault == .emptyEvent: return Self.problem(.notFound, trace, trace)
        case "/v1/correlation-graph" where query.contains("readiness-"): return Self.problem(.notFound, inner, trace)
        case "/v1/correlation-graph": return Self.json(#"{"id":"g1","eventId":"e1","layers":[]}"#, trace)
        case "/v1/topology", "/v1/no-such-thing": return Self.problem(.notFound, inner, trace)
        case "/v1/propagation": return Self.problem(.malformedBody, inner, trace)
        case "/v1/chaos": return self.chaos(request, trace)
        case _ where path.hasPrefix("/v1/anomalies/"): return Self.problem(.notFound, inner, trace)
        default: return Self.json(#"{"items":[]}"#, trace)
        }
    }

    private func chaos(_ request: Request, _ trace: String) -> Response {
        let trials = self.state.withLock { state in
            guard request.method == .post else { return state.trials }
            state.trials += 1
            // A read in the trial, and one behind it.
            state.slowLeft = 1
            if self.fault != .connectionsKept { state.connects += 2 }
            return state.trials
        }
        let result =
            self.fault == .trialNotMet ? #"{"state":"notMet","faults":["late"]}"# : #"{"state":"met","faults":[]}"#
        let entries = (0...trials).reversed().map {
            #"{"id":"t\#($0)","expectation":"x","done":"y","replica":"r","result":\#(result)}"#
        }
        return Self.json(
            request.method == .post ? entries[0] : #"{"items":[\#(entries.joined(separator: ","))]}"#, trace)
    }

    private static let keyName = HTTPField.Name("X-API-Key") ?? .authorization

    private static func json(_ text: String, _ trace: String, isSampled: Bool = true) -> Response {
        Self.response(.ok, "application/json", text, trace, isSampled)
    }

    private static func problem(_ code: Problem.Code, _ inner: String, _ trace: String) -> Response {
        let problem = Problem(code, detail: "as told", traceId: inner)
        let text = (try? JSONEncoder().encode(problem)).map { String(decoding: $0, as: UTF8.self) } ?? ""
        return Self.response(
            HTTPResponse.Status(code: code.status), "application/problem+json", text, trace, true)
    }

    private static func response(
        _ status: HTTPResponse.Status, _ type: String, _ text: String, _ trace: String, _ isSampled: Bool
    ) -> Response {
        var headers: HTTPFields = [.contentType: type]
        if let name = HTTPField.Name("traceparent") {
            headers[name] = "00-\(trace)-00f067aa0ba902b7-\(isSampled ? "01" : "00")"
        }
        return Response(status: status, headers: headers, body: .init(byteBuffer: ByteBuffer(string: text)))
    }
}

extension StubSystem {
    private func metrics(of name: String) -> Response {
        let service = name == "graph-builder-2" ? "graph-builder" : name
        let state = self.state.withLock { $0 }
        let isSecond = name != service
        let count = isSecond ? 0 : state.requests[service, default: 0]
        let stem =
            service == "gateway"
            ? ("gateway_requests_total", "gateway_request_duration_seconds")
            : ("http_server_requests_total", "http_server_request_duration_seconds")
        let isShown = self.fault != .noExemplar && self.hasCollector && !isSecond
        let exemplar = isShown ? " # {trace_id=\"\(state.traced ?? "")\"} 0.004 1700000000.123" : ""
        var lines = [
            "\(stem.0){status=\"2xx\"} \(count)",
            "\(stem.1)_bucket{le=\"0.005\"} \(count)\(exemplar)",
            "\(stem.1)_bucket{le=\"+Inf\"} \(count + (self.fault == .histogramTorn ? 1 : 0))",
            "\(stem.1)_sum \(Double(count) * 0.004)", "\(stem.1)_count \(count)",
        ]
        for name in ReadinessTrials.promised[service] ?? [] where name != stem.0 && !name.contains("timeouts") {
            if self.fault == .metricMissing, name == "worker_lag_seconds" { continue }
            lines.append("\(name) 1")
        }
        lines += [
            "correlation_engine_query_timeouts_total{kind=\"interactive\"} \(isSecond ? 0 : state.stopped)",
            "database_pool_connects_total{outcome=\"ok\"} \(state.connects)",
            "correlation_engine_worker_threads_wanted 2",
            "correlation_engine_worker_threads \(self.threads(isSecond))",
        ]
        let isLeftOut = self.fault == .oneServiceWithoutCollector && service == "anomaly-propagation"
        if self.hasCollector, !isLeftOut {
            lines.append("trace_spans_exported_total \(self.fault == .spansNotTaken ? 0 : state.spans)")
            lines.append("trace_spans_dropped_total \(self.fault == .spansLost ? state.spans : 0)")
        }
        return Response(
            status: .ok, body: .init(byteBuffer: ByteBuffer(string: lines.joined(separator: "\n") + "\n")))
    }

    /// With the fault one has too many and the other too few: together they are as many as wanted.
    private func threads(_ isSecond: Bool) -> Int {
        guard self.fault == .replicaWithoutThreads else { return 2 }
        return isSecond ? 1 : 3
    }
}

extension Logger {
    fileprivate static var silentStub: Logger { Logger(label: "silent") { _ in SwiftLogNoOpLogHandler() } }
}
