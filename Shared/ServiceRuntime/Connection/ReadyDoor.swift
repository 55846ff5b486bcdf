import HTTPTypes
import Hummingbird
import Instrumentation
import Telemetry
import Tracing

/// The way through the middlewares for answers that are at hand: the same steps in the same order, without leaving the event
/// loop. What any step would refuse is left to the long way, so that refusals are made in one place.
struct ReadyDoor: Sendable {
    /// By path, and for those that end with a parameter by what goes before it.
    private let routes: [String: ReadyRoute]
    private let stems: [String: ReadyRoute]
    let trace: TraceMiddleware
    let log: AccessLogMiddleware
    let metrics: HTTPMetricsMiddleware
    let admission: AdmissionMiddleware
    let callers: CallerTokenMiddleware

    init(
        routes: [ReadyRoute], trace: TraceMiddleware, log: AccessLogMiddleware, metrics: HTTPMetricsMiddleware,
        admission: AdmissionMiddleware, callers: CallerTokenMiddleware
    ) {
        self.routes = Dictionary(routes.filter { $0.stem == nil }.map { ($0.path, $0) }) { first, _ in first }
        self.stems = Dictionary(routes.compactMap { route in route.stem.map { ($0, route) } }) { first, _ in first }
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
        return self.route(Self.split(path).path) != nil
    }

    private func route(_ path: String) -> ReadyRoute? {
        if let route = self.routes[path] { return route }
        guard !self.stems.isEmpty, let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")),
            path.utf8.index(after: slash) < path.endIndex
        else { return nil }
        return self.stems[String(path[...slash])]
    }

    func answer(_ request: HTTPRequest) -> ReadyAnswer? {
        let target = request.path ?? ""
        let (path, query) = Self.split(target)
        guard let route = self.route(path) else { return nil }
        let start = ContinuousClock.now
        let startedAt = DefaultTracerClock.now
        guard self.admission.enter() else { return nil }
        defer { self.admission.leave() }
        do {
            _ = try self.callers.caller(of: request.headerFields, method: request.method, template: route.path)
            guard try DeadlineMiddleware.timeout(request.headerFields) != .zero else { return nil }
        } catch {
            return nil
        }
        guard var answer = route.answer(target, query, request.headerFields) else { return nil }
        let span = self.trace.start(request.headerFields, method: MethodLabel.text(request.method), at: startedAt)
        self.trace.finish(span, method: request.method, route: route.path, &answer.headers, status: answer.status)
        let elapsed = ContinuousClock.now - start
        // Exemplars and lines of the log name the trace they belong to.
        InstrumentationContext.$current.withValue(span.context) {
            self.metrics.record(request.method, route.path, answer.status, elapsed)
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
