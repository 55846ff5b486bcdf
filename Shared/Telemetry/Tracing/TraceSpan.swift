import Synchronization
import Tracing

/// A span that has ended: what the exporter sends.
public struct FinishedSpan: Sendable {
    public var trace: TraceContext
    public var parent: SpanID?
    public var name: String
    public var kind: SpanKind
    public var startNanoseconds: UInt64
    public var endNanoseconds: UInt64
    public var attributes: SpanAttributes
    public var events: [SpanEvent]
    public var links: [TraceContext]
    public var status: SpanStatus?

    /// For callers that have measured a span themselves.
    public init(
        trace: TraceContext, parent: SpanID?, name: String, kind: SpanKind, startNanoseconds: UInt64,
        endNanoseconds: UInt64, attributes: SpanAttributes, events: [SpanEvent] = [], links: [TraceContext] = [],
        status: SpanStatus? = nil
    ) {
        self.trace = trace
        self.parent = parent
        self.name = name
        self.kind = kind
        self.startNanoseconds = startNanoseconds
        self.endNanoseconds = endNanoseconds
        self.attributes = attributes
        self.events = events
        self.links = links
        self.status = status
    }
}

/// One unit of work. Keeps nothing when its trace is not sampled.
public final class TraceSpan: Tracing.Span {
    /// Most events and links of one span; further ones are not kept.
    static let eventLimit = 64
    static let attributeLimit = 64

    public let context: InstrumentationContext
    public let trace: TraceContext
    private let parent: SpanID?
    private let kind: SpanKind
    private let startNanoseconds: UInt64
    private let queue: SpanQueue?
    private let state: Mutex<State>

    private struct State {
        var name: String
        var attributes: SpanAttributes = [:]
        var events: [SpanEvent] = []
        var links: [TraceContext] = []
        var status: SpanStatus?
        var hasEnded = false
    }

    init(
        name: String, trace: TraceContext, parent: SpanID?, context: InstrumentationContext, kind: SpanKind,
        startNanoseconds: UInt64, queue: SpanQueue?
    ) {
        var context = context
        context.traceContext = trace
        self.context = context
        self.trace = trace
        self.parent = parent
        self.kind = kind
        self.startNanoseconds = startNanoseconds
        self.queue = trace.isSampled ? queue : nil
        self.state = Mutex(State(name: name))
    }

    public var isRecording: Bool { self.queue != nil }

    public var operationName: String {
        get { self.state.withLock { $0.name } }
        set { self.state.withLock { $0.name = newValue } }
    }

    public var attributes: SpanAttributes {
        get { self.state.withLock { $0.attributes } }
        set {
            guard self.isRecording, newValue.count <= Self.attributeLimit else { return }
            self.state.withLock { $0.attributes = newValue }
        }
    }

    public func setStatus(_ status: SpanStatus) { self.state.withLock { $0.status = status } }

    public func addEvent(_ event: SpanEvent) {
        guard self.isRecording else { return }
        self.state.withLock { if $0.events.count < Self.eventLimit { $0.events.append(event) } }
    }

    public func recordError<Instant: TracerInstant>(
        _ error: any Error, attributes: SpanAttributes, at instant: @autoclosure () -> Instant
    ) {
        guard self.isRecording else { return }
        var attributes = attributes
        attributes["exception.type"] = SpanAttribute.string(String(reflecting: type(of: error)))
        attributes["exception.message"] = SpanAttribute.string(String(String(describing: error).prefix(1_024)))
        self.addEvent(SpanEvent(name: "exception", at: instant(), attributes: attributes))
    }

    public func addLink(_ link: SpanLink) {
        guard self.isRecording, let trace = link.context.traceContext else { return }
        self.state.withLock { if $0.links.count < Self.eventLimit { $0.links.append(trace) } }
    }

    public func end<Instant: TracerInstant>(at instant: @autoclosure () -> Instant) {
        guard let queue = self.queue else { return }
        let end = instant().nanosecondsSinceEpoch
        let finished: FinishedSpan? = self.state.withLock { state in
            guard !state.hasEnded else { return nil }
            state.hasEnded = true
            return FinishedSpan(
                trace: self.trace, parent: self.parent, name: state.name, kind: self.kind,
                startNanoseconds: self.startNanoseconds, endNanoseconds: end, attributes: state.attributes,
                events: state.events, links: state.links, status: state.status)
        }
        if let finished { queue.append(finished) }
    }
}
