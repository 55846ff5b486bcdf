import Instrumentation
import Telemetry
import Tracing

/// The trace a request belongs to, and the gateway's own span in it, the parent of what the service does.
struct EdgeTrace: Sendable {
    let context: TraceContext
    let parent: SpanID?
    private let recorder: TraceRecorder
    private let startNanoseconds: UInt64

    /// Continues the client's trace; an invalid or repeated `traceparent` starts a new one, and then `tracestate` is dropped
    /// (W3C Trace Context, section 3.2.2).
    /// - Parameter isTrusted: false: the client's trace is not continued.
    init(
        fields: FieldBlock, isTrusted: Bool, startMs: Int64, recorder: TraceRecorder, random: inout FastRandom
    ) {
        var carried: TraceContext?
        if isTrusted, fields.has(.traceParent) {
            let parents = fields.values(.traceParent)
            let states = fields.values(.traceState)
            if parents.count == 1 {
                carried = TraceContext(parent: parents[0], state: states.isEmpty ? nil : states.joined(separator: ","))
            }
        }
        let traceID = carried?.traceID ?? TraceID(high: random.next(), low: random.next() | 1)
        self.context = TraceContext(
            traceID: traceID, spanID: SpanID(rawValue: random.next() | 1),
            isSampled: recorder.sampler.isSampled(traceID, parent: carried), state: carried?.state ?? TraceState())
        self.parent = carried?.spanID
        self.recorder = recorder
        self.startNanoseconds = UInt64(clamping: startMs) * 1_000_000
    }

    var traceID: String { self.context.traceID.description }
    /// For the service and for the response.
    var traceParent: String { self.context.parent }
    /// `tracestate` to hand on; nil for none.
    var state: String? { self.context.state.isEmpty ? nil : self.context.state.header }

    /// Runs `body` so that what it measures may be an exemplar of this trace. Event loops have no task whose trace it could be.
    func exemplifying(_ body: () -> Void) {
        guard self.context.isSampled, self.recorder.queue != nil else { return body() }
        var context = InstrumentationContext.topLevel
        context.traceContext = self.context
        InstrumentationContext.$current.withValue(context, operation: body)
    }

    /// - Parameter duration: nanoseconds since the head came in.
    func end(_ record: AccessRecord, duration: Int64) {
        guard self.context.isSampled, let queue = self.recorder.queue else { return }
        queue.append(
            FinishedSpan(
                trace: self.context, parent: self.parent, name: "\(record.method) \(record.route)", kind: .server,
                startNanoseconds: self.startNanoseconds,
                endNanoseconds: self.startNanoseconds + UInt64(clamping: duration),
                attributes: [
                    "http.request.method": .string(record.method), "http.route": .string(record.route),
                    "http.response.status_code": .int64(Int64(record.status)),
                    "undercurrent.upstream": .string(record.upstream),
                ], status: record.status >= 500 ? SpanStatus(code: .error) : nil))
    }
}

/// xoshiro256**: ids of traces and spans, one state per event loop. Not for secrets.
struct FastRandom: RandomNumberGenerator {
    private var state: (UInt64, UInt64, UInt64, UInt64)

    init() {
        self.state = (
            .random(in: 1 ... .max), .random(in: 0 ... .max), .random(in: 0 ... .max), .random(in: 0 ... .max)
        )
    }

    mutating func next() -> UInt64 {
        let product = self.state.1 &* 5
        let result = (product << 7 | product >> 57) &* 9
        let shifted = self.state.1 << 17
        self.state.2 ^= self.state.0
        self.state.3 ^= self.state.1
        self.state.1 ^= self.state.2
        self.state.0 ^= self.state.3
        self.state.2 ^= shifted
        self.state.3 = self.state.3 << 45 | self.state.3 >> 19
        return result
    }
}
