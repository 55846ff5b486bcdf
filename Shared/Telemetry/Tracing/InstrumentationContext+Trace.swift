import Instrumentation
import Logging

private enum TraceContextKey: InstrumentationContextKey {
    typealias Value = TraceContext
    static var nameOverride: String? { "traceparent" }
}

extension InstrumentationContext {
    /// The span whose work this task does.
    public var traceContext: TraceContext? {
        get { self[TraceContextKey.self] }
        set { self[TraceContextKey.self] = newValue }
    }
}

extension Logger.MetadataProvider {
    /// `trace_id` and `span_id` of the current task, on every line.
    public static let trace = Logger.MetadataProvider {
        guard let trace = InstrumentationContext.current?.traceContext else { return [:] }
        return [
            "trace_id": .string(trace.traceID.description), "span_id": .string(trace.spanID.description),
        ]
    }
}
