import HTTPTypes
import Hummingbird
import Instrumentation
import Telemetry
import Tracing

/// The way through the middlewares for answers that are at hand: the same steps in the same order, without leaving the event
/// loop. What any step would refuse is left to the long way, so that refusals are made in one place.
struct ReadyDoor: Sendable {
    let routes: [String: ReadyRoute]
    let trace: TraceMiddleware
    let log: AccessLogMiddleware
    let metrics: HTTPMetricsMiddleware
    let admission: AdmissionMiddleware
    let callers: CallerTokenMiddleware

    init(
        routes: [ReadyRoute], trace: TraceMiddleware, log: AccessLogMiddleware, metrics: HTTPMetricsMiddleware,
        admission: AdmissionMiddleware, callers: CallerTokenMiddleware
    ) {
        self.routes = Dictionary(routes.map { ($0.path, $0) }) { first, _ in first }
        self.trace = trace
        self.log = log
        self.metrics = metrics
        self.admission = admission
        self.callers = callers
    }

    /// Whether it is worth asking, judged by the head alone.
    func mayAnswer(_ request: HTTPRequest) -> Bool {
        guard request.method == .get, request.headerFields[.connection] == nil, let path = request.path else {
            return false
        }
        return self.routes[Self.split(path).path] != nil
    }

    func answer(_ request: HTTPRequest) -> ReadyAnswer? {
        let (path, query) = Self.split(request.path ?? "")
        guard let route = self.routes[path] else { return nil }
        let start = ContinuousClock.now
        let startedAt = DefaultTracerClock.now
        guard self.admission.enter() else { return nil }
        defer { self.admission.leave() }
        do {
            _ = try self.callers.caller(of: request.headerFields, method: request.method, template: path)
            guard try DeadlineMiddleware.timeout(request.headerFields) != .zero else { return nil }
        } catch {
            return nil
        }
        guard var answer = route.answer(query, request.headerFields) else { return nil }
        let span = self.trace.start(request.headerFields, method: MethodLabel.text(request.method), at: startedAt)
        self.trace.finish(span, method: request.method, route: path, &answer.headers, status: answer.status)
        let elapsed = ContinuousClock.now - start
        // Exemplars and lines of the log name the trace they belong to.
        InstrumentationContext.$current.withValue(span.context) {
            self.metrics.record(request.method, path, answer.status, elapsed)
            self.log.write(request.method, path, answer.status, elapsed)
        }
        span.end()
        return answer
    }

    private static func split(_ target: String) -> (path: String, query: Substring) {
        guard let mark = target.utf8.firstIndex(of: UInt8(ascii: "?")) else { return (target, "") }
        return (String(target[..<mark]), target[target.utf8.index(after: mark)...])
    }
}
