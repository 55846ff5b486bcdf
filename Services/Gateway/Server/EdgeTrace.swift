import Telemetry
import Tracing

/// The trace a request belongs to, and the gateway's own span in it, the parent of what the service does.
struct EdgeTrace: Sendable {
    let span: TraceSpan

    /// Continues the client's trace; an invalid or repeated `traceparent` starts a new one, and then `tracestate` is dropped
    /// (W3C Trace Context, section 3.2.2).
    init(parents: [String], states: [String], method: String, tracer: TraceRecorder) {
        var carried = InstrumentationContext.topLevel
        if parents.count == 1 {
            carried.traceContext = TraceContext(
                parent: parents[0], state: states.isEmpty ? nil : states.joined(separator: ","))
        }
        self.span = tracer.startSpan(
            method, context: carried, ofKind: .server, at: DefaultTracerClock.now, function: #function, file: #fileID,
            line: #line)
    }

    var traceID: String { self.span.trace.traceID.description }
    var spanID: String { self.span.trace.spanID.description }
    /// For the service and for the response.
    var traceParent: String { self.span.trace.parent }
    /// `tracestate` to hand on; nil for none.
    var state: String? { self.span.trace.state.isEmpty ? nil : self.span.trace.state.header }

    func end(_ record: AccessRecord) {
        if self.span.isRecording {
            self.span.operationName = "\(record.method) \(record.route)"
            self.span.attributes = [
                "http.request.method": .string(record.method), "http.route": .string(record.route),
                "http.response.status_code": .int64(Int64(record.status)),
                "undercurrent.upstream": .string(record.upstream),
            ]
            if record.status >= 500 { self.span.setStatus(SpanStatus(code: .error)) }
        }
        self.span.end()
    }
}
