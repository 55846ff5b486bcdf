import HTTPTypes
import Hummingbird
import Instrumentation
import Telemetry
import Tracing

/// Opens the server span of each request and puts `traceparent` on every response.
public struct TraceMiddleware: RouterMiddleware {
    public typealias Context = CallContext

    /// `traceparent` and `tracestate` are tokens, so the names always exist.
    static let parent = HTTPField.Name(TraceContext.parentHeader)
    static let state = HTTPField.Name(TraceContext.stateHeader)

    private let tracer: TraceRecorder

    public init(tracer: TraceRecorder) { self.tracer = tracer }

    public func handle(
        _ request: Request, context: CallContext, next: @concurrent (Request, CallContext) async throws -> Response
    ) async throws -> Response {
        let span = self.start(
            request.headers, method: MethodLabel.text(request.method), at: DefaultTracerClock.now,
            isProbe: RouteTable.operational.contains(request.uri.path))
        var context = context
        context.trace = span.trace
        let completion = Completion { span.end() }
        do {
            var response = try await InstrumentationContext.$current.withValue(span.context) {
                try await next(request, context)
            }
            self.finish(
                span, method: request.method, route: context.endpointPath, &response.headers, status: response.status)
            return response.completing(completion)
        } catch {
            span.recordError(error)
            span.setStatus(SpanStatus(code: .error))
            throw error
        }
    }

    /// - Parameter isProbe: a probe without a trace of its caller's is not sampled: nobody looks for it, and among the
    ///   exemplars it would take the place of a request that somebody waited for.
    func start(
        _ headers: HTTPFields, method: String, at instant: some TracerInstant, isProbe: Bool = false
    ) -> TraceSpan {
        var carried = InstrumentationContext.topLevel
        if let name = Self.parent, let parent = headers[name] {
            carried.traceContext = TraceContext(parent: parent, state: Self.state.flatMap { headers[$0] })
        }
        if isProbe, carried.traceContext == nil { carried.traceContext = .root(isSampled: false) }
        return self.tracer.startSpan(
            method, context: carried, ofKind: .server, at: instant, function: #function, file: #fileID, line: #line)
    }

    /// Says of the span what came of it, and puts its name on the answer.
    func finish(
        _ span: TraceSpan, method: HTTPRequest.Method, route: String?, _ headers: inout HTTPFields,
        status: HTTPResponse.Status
    ) {
        if span.isRecording {
            let method = MethodLabel.text(method)
            let route = route ?? "none"
            span.operationName = "\(method) \(route)"
            span.attributes = [
                "http.request.method": .string(method), "http.route": .string(route),
                "http.response.status_code": .int64(Int64(status.code)),
            ]
            if status.code >= 500 { span.setStatus(SpanStatus(code: .error)) }
        }
        if let name = Self.parent { headers[name] = span.trace.parent }
    }
}

/// Methods as labels: what a client makes up is `OTHER`, so that it cannot fill memory with series.
enum MethodLabel {
    private static let known: Set<String> = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

    static func text(_ method: HTTPRequest.Method) -> String {
        Self.known.contains(method.rawValue) ? method.rawValue : "OTHER"
    }
}
