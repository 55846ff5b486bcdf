import Instrumentation
import Tracing

/// Our tracer: W3C propagation, one sampling decision per trace, ended spans into a bounded queue.
///
/// Without a queue nothing is recorded, but every request still has a trace id that its response and its log lines carry.
public struct TraceRecorder: Tracer {
    public typealias Span = TraceSpan

    public let sampler: RatioSampler
    public let queue: SpanQueue?

    public init(sampler: RatioSampler = RatioSampler(ratio: 0), queue: SpanQueue? = nil) {
        self.sampler = sampler
        self.queue = queue
    }

    public func startSpan<Instant: TracerInstant>(
        _ operationName: String, context: @autoclosure () -> InstrumentationContext, ofKind kind: SpanKind,
        at instant: @autoclosure () -> Instant, function: String, file fileID: String, line: UInt
    ) -> TraceSpan {
        let context = context()
        let parent = context.traceContext
        let traceID = parent?.traceID ?? .random()
        let trace = TraceContext(
            traceID: traceID, spanID: .random(), isSampled: self.sampler.isSampled(traceID, parent: parent),
            state: parent?.state ?? TraceState())
        return TraceSpan(
            name: operationName, trace: trace, parent: parent?.spanID, context: context, kind: kind,
            startNanoseconds: instant().nanosecondsSinceEpoch, queue: self.queue)
    }

    public func forceFlush() {}

    public func extract<Carrier, Extract: Extractor>(
        _ carrier: Carrier, into context: inout InstrumentationContext, using extractor: Extract
    ) where Extract.Carrier == Carrier {
        guard let parent = extractor.extract(key: TraceContext.parentHeader, from: carrier) else { return }
        let state = extractor.extract(key: TraceContext.stateHeader, from: carrier)
        guard let trace = TraceContext(parent: parent, state: state) else { return }
        context.traceContext = trace
    }

    public func inject<Carrier, Inject: Injector>(
        _ context: InstrumentationContext, into carrier: inout Carrier, using injector: Inject
    ) where Inject.Carrier == Carrier {
        guard let trace = context.traceContext else { return }
        injector.inject(trace.parent, forKey: TraceContext.parentHeader, into: &carrier)
        if !trace.state.isEmpty {
            injector.inject(trace.state.header, forKey: TraceContext.stateHeader, into: &carrier)
        }
    }
}
