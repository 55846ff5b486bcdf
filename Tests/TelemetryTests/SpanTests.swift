import Foundation
import Instrumentation
import Testing
import Tracing

@testable import Telemetry

@Suite("Sampling and spans")
struct SpanTests {
    private func start(_ recorder: TraceRecorder, in context: InstrumentationContext = .topLevel) -> TraceSpan {
        recorder.startSpan(
            "work", context: context, ofKind: .internal, at: DefaultTracerClock.now, function: #function, file: #fileID,
            line: #line)
    }

    @Test(
        "the share of sampled traces is the ratio, and the same trace is decided alike everywhere",
        arguments: [0, 0.1, 0.5, 1])
    func ratio(ratio: Double) {
        var low = UInt64(7)
        var sampled = 0
        for _ in 0..<20_000 {
            // SplitMix64: even and the same in every run.
            low &+= 0x9E37_79B9_7F4A_7C15
            var mixed = (low ^ low >> 30) &* 0xBF58_476D_1CE4_E5B9
            mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
            let trace = TraceID(high: 1, low: mixed ^ mixed >> 31)
            let isSampled = RatioSampler(ratio: ratio).isSampled(trace, parent: nil)
            #expect(isSampled == RatioSampler(ratio: ratio).isSampled(trace, parent: nil))
            sampled += isSampled ? 1 : 0
        }
        #expect(abs(Double(sampled) / 20_000 - ratio) < 0.01)
    }

    @Test("the caller's decision stands, whatever the ratio", arguments: [true, false])
    func parent(isSampled: Bool) {
        let parent = TraceContext.root(isSampled: isSampled)
        #expect(RatioSampler(ratio: isSampled ? 0 : 1).isSampled(parent.traceID, parent: parent) == isSampled)
    }

    @Test("a child keeps the trace of its parent and has an id of its own")
    func child() throws {
        let queue = SpanQueue(metrics: MetricsRegistry())
        let recorder = TraceRecorder(sampler: RatioSampler(ratio: 1), queue: queue)
        let parent = self.start(recorder)
        let child = self.start(recorder, in: parent.context)
        child.end()
        child.end()
        #expect(child.trace.traceID == parent.trace.traceID && child.trace.spanID != parent.trace.spanID)
        let ended = queue.take(atMost: 10)
        #expect(ended.count == 1, "a span that ends twice is sent once")
        #expect(ended.first?.parent == parent.trace.spanID)
    }

    @Test("a full queue drops and counts, and never grows")
    func queueBound() {
        let registry = MetricsRegistry()
        let queue = SpanQueue(limit: 3, metrics: registry)
        let recorder = TraceRecorder(sampler: RatioSampler(ratio: 1), queue: queue)
        for _ in 0..<8 { self.start(recorder).end() }
        #expect(queue.count == 3 && queue.droppedCount == 5)
        #expect(registry.exposition().contains("\ntrace_spans_dropped_total 5\n"))
        #expect(queue.take(atMost: 2).count == 2 && queue.count == 1)
        self.start(recorder).end()
        #expect(queue.count == 2 && queue.droppedCount == 5)
    }

    @Test("spans leave the queue in the order in which they ended, each once")
    func queueOrder() {
        let queue = SpanQueue(metrics: MetricsRegistry())
        let recorder = TraceRecorder(sampler: RatioSampler(ratio: 1), queue: queue)
        let spans = (0..<5).map { _ in self.start(recorder) }
        for span in spans { span.end() }
        let taken = [2, 2, 2].map { queue.take(atMost: $0).map(\.trace.spanID) }
        #expect(taken.map(\.count) == [2, 2, 1])
        #expect(taken.flatMap { $0 } == spans.map(\.trace.spanID))
    }

    @Test("a trace that is not sampled still has an id, and leaves nothing in the queue")
    func unsampled() {
        let queue = SpanQueue(metrics: MetricsRegistry())
        let span = self.start(TraceRecorder(sampler: RatioSampler(ratio: 0), queue: queue))
        span.attributes["a"] = SpanAttribute.string("b")
        span.recordError(CancellationError())
        span.end()
        #expect(!span.isRecording && queue.count == 0)
        #expect(span.trace.parent.hasSuffix("-00"))
    }

    @Test("a span keeps at most 64 events")
    func eventBound() throws {
        let queue = SpanQueue(metrics: MetricsRegistry())
        let span = self.start(TraceRecorder(sampler: RatioSampler(ratio: 1), queue: queue))
        for _ in 0..<100 { span.recordError(CancellationError()) }
        span.end()
        #expect(try #require(queue.take(atMost: 1).first).events.count == TraceSpan.eventLimit)
    }

    @Test("OTLP JSON has ids in hexadecimal, times as texts and the service's name")
    func otlp() throws {
        let queue = SpanQueue(metrics: MetricsRegistry())
        let span = self.start(TraceRecorder(sampler: RatioSampler(ratio: 1), queue: queue))
        span.attributes["count"] = SpanAttribute.int64(3)
        span.attributes["share"] = SpanAttribute.double(.nan)
        span.setStatus(SpanStatus(code: .error, message: "no"))
        span.end()
        let data = OTLPEncoding.body(queue.take(atMost: 1), service: "s\"", version: "1")
        let body = try JSONDecoder().decode(Export.self, from: data)
        let resource = try #require(body.resourceSpans.first)
        #expect(resource.resource.attributes.first?.value["stringValue"] == "s\"")
        let sent = try #require(resource.scopeSpans.first?.spans.first)
        #expect(sent.traceId == span.trace.traceID.description && sent.spanId == span.trace.spanID.description)
        #expect(UInt64(sent.startTimeUnixNano).map { $0 > 1_600_000_000_000_000_000 } == true)
        #expect(sent.attributes.map(\.key) == ["count", "share"])
        #expect(sent.attributes.first?.value == ["intValue": "3"])
        #expect(sent.status.code == 2)
    }

    private struct Export: Decodable {
        struct Attribute: Decodable {
            var key: String
            var value: [String: String]
        }
        struct Resource: Decodable { var attributes: [Attribute] }
        struct Status: Decodable { var code: Int }
        struct Span: Decodable {
            var traceId: String
            var spanId: String
            var startTimeUnixNano: String
            var attributes: [Attribute]
            var status: Status
        }
        struct Scope: Decodable { var spans: [Span] }
        struct Entry: Decodable {
            var resource: Resource
            var scopeSpans: [Scope]
        }
        var resourceSpans: [Entry]
    }
}
