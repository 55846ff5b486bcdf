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
        var carried = InstrumentationContext.topLevel
        if let name = Self.parent, let parent = request.headers[name] {
            carried.traceContext = TraceContext(
                parent: parent, state: Self.state.flatMap { request.headers[$0] })
        }
        let method = MethodLabel.text(request.method)
        let span = self.tracer.startSpan(
            method, context: carried, ofKind: .server, at: DefaultTracerClock.now, function: #function,
            file: #fileID, line: #line)
        var context = context
        context.trace = span.trace
        let completion = Completion { span.end() }
        do {
            var response = try await InstrumentationContext.$current.withValue(span.context) {
                try await next(request, context)
            }
            if span.isRecording {
                let route = context.endpointPath ?? "none"
                span.operationName = "\(method) \(route)"
                span.attributes = [
                    "http.request.method": .string(method), "http.route": .string(route),
                    "http.response.status_code": .int64(Int64(response.status.code)),
                ]
                if response.status.code >= 500 { span.setStatus(SpanStatus(code: .error)) }
            }
            if let name = Self.parent { response.headers[name] = span.trace.parent }
            return response.completing(completion)
        } catch {
            span.recordError(error)
            span.setStatus(SpanStatus(code: .error))
            throw error
        }
    }
}

/// Methods as labels: what a client makes up is `OTHER`, so that it cannot fill memory with series.
enum MethodLabel {
    private static let known: Set<String> = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

    static func text(_ method: HTTPRequest.Method) -> String {
        Self.known.contains(method.rawValue) ? method.rawValue : "OTHER"
    }
}
