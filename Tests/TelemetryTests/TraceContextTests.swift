import Instrumentation
import Model
import Testing
import Tracing

@testable import Telemetry

@Suite("Trace context")
struct TraceContextTests {
    private static let trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    private static let span = "00f067aa0ba902b7"

    @Test(
        "a traceparent the specification allows is read, unknown flags and later versions included",
        arguments: [
            ("00-\(trace)-\(span)-01", true), ("00-\(trace)-\(span)-00", false), ("00-\(trace)-\(span)-ff", true),
            ("00-\(trace)-\(span)-02", false), ("cc-\(trace)-\(span)-01", true), ("cc-\(trace)-\(span)-01-more", true),
        ])
    func read(header: String, isSampled: Bool) throws {
        let context = try #require(TraceContext(parent: header))
        #expect(context.traceID.description == Self.trace && context.spanID.description == Self.span)
        #expect(context.isSampled == isSampled)
        #expect(context.parent == "00-\(Self.trace)-\(Self.span)-\(isSampled ? "01" : "00")")
    }

    @Test(
        "anything else starts a new trace",
        arguments: [
            "", "00", "\(trace)", "ff-\(trace)-\(span)-01", "00-\(trace)-\(span)-01-more", "00-\(trace)-\(span)-1",
            "00-\(trace)-\(span)", "00_\(trace)-\(span)-01", "00-\(trace)_\(span)-01", "00-\(trace)-\(span)_01",
            "cc-\(trace)-\(span)-01.more", "0G-\(trace)-\(span)-01", "00-\(trace)-\(span)-0x",
            " 00-\(trace)-\(span)-01",
            "00-\(trace.uppercased())-\(span)-01", "00-\(String(repeating: "0", count: 32))-\(span)-01",
            "00-\(trace)-0000000000000000-01", "cc-\(trace)-\(span)-01-" + String(repeating: "x", count: 500),
            "00-\(trace)-\(span)-01, 00-\(trace)-\(span)-01",
        ])
    func refused(header: String) { #expect(TraceContext(parent: header) == nil) }

    @Test(
        "a tracestate is carried unchanged, less its blanks and empty members",
        arguments: [
            ("", ""), ("a=1", "a=1"), ("a=1,b=2", "a=1,b=2"), ("a=1 ,\tb=2", "a=1,b=2"), ("a=1,,b=2,", "a=1,b=2"),
            ("1tenant@sys=v", "1tenant@sys=v"), ("a_-*/9= x!~", "a_-*/9= x!~"),
        ])
    func state(header: String, carried: String) { #expect(TraceState(header: header)?.header == carried) }

    @Test(
        "a malformed tracestate is dropped alone",
        arguments: [
            "a", "=1", "a=", "A=1", "1a=1", "a=1,a=2", "a=b=c", "a=\u{7F}", "a=é", "é=1", "@sys=1", "t@=1", "t@1s=1",
            "t@sys@x=1", "t@" + String(repeating: "s", count: 15) + "=1", "a=" + String(repeating: "v", count: 257),
            String(repeating: "k", count: 257) + "=1", (0..<33).map { "k\($0)=v" }.joined(separator: ","),
            (0..<31).map { "k\($0)=" + String(repeating: "v", count: 256) }.joined(separator: ",")
                + String(repeating: ",", count: 300),
        ])
    func badState(header: String) throws {
        #expect(TraceState(header: header) == nil)
        let context = try #require(TraceContext(parent: "00-\(Self.trace)-\(Self.span)-01", state: header))
        #expect(context.state.isEmpty)
    }

    @Test("what is injected is what is extracted, and nothing is extracted from a broken header")
    func propagation() {
        let recorder = TraceRecorder()
        var context = InstrumentationContext.topLevel
        context.traceContext = TraceContext(parent: "00-\(Self.trace)-\(Self.span)-01", state: "a=1")
        var headers: [String: String] = [:]
        recorder.inject(context, into: &headers, using: Headers())
        #expect(headers == ["traceparent": "00-\(Self.trace)-\(Self.span)-01", "tracestate": "a=1"])
        var back = InstrumentationContext.topLevel
        recorder.extract(headers, into: &back, using: Headers())
        #expect(back.traceContext == context.traceContext)
        var none = InstrumentationContext.topLevel
        recorder.extract(["traceparent": "00"], into: &none, using: Headers())
        #expect(none.traceContext == nil)
    }
}

private struct Headers: Injector, Extractor {
    func inject(_ value: String, forKey key: String, into carrier: inout [String: String]) { carrier[key] = value }
    func extract(key: String, from carrier: [String: String]) -> String? { carrier[key] }
}
