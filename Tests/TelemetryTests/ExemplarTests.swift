import CoreMetrics
import Instrumentation
import Testing

@testable import Telemetry

@Suite("Exemplars and OpenMetrics")
struct ExemplarTests {
    private let registry = MetricsRegistry(keepsExemplars: true)
    private let trace = TraceContext(
        traceID: TraceID(high: 0x4bf9_2f35_77b3_4da6, low: 0xa3ce_929d_0e0e_4736), spanID: SpanID(rawValue: 7),
        isSampled: true)

    private func record(_ milliseconds: Int64, in trace: TraceContext?, to registry: MetricsRegistry? = nil) {
        let timer = CoreMetrics.Timer(label: "wait", dimensions: [("k", "v")], factory: registry ?? self.registry)
        var context = InstrumentationContext.topLevel
        context.traceContext = trace
        InstrumentationContext.$current.withValue(context) { timer.recordNanoseconds(milliseconds * 1_000_000) }
    }

    private func lines(_ prefix: String, _ format: ExpositionFormat = .openMetrics, of registry: MetricsRegistry? = nil)
        -> [String]
    {
        (registry ?? self.registry).exposition(format).split(separator: "\n").map(String.init)
            .filter { $0.hasPrefix(prefix) }
    }

    @Test("the bucket a sampled request fell into names its trace, the others name none")
    func bucket() throws {
        let before = WallClock.milliseconds()
        self.record(42, in: self.trace)
        let after = WallClock.milliseconds()
        let withExemplar = self.lines("wait_seconds_bucket").filter { $0.contains("#") }
        let line = try #require(withExemplar.first)
        #expect(withExemplar.count == 1)
        let start = #"wait_seconds_bucket{k="v",le="0.05"} 1 # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 0.042 "#
        #expect(line.hasPrefix(start))
        let seconds = try #require(Double(line.dropFirst(start.count)))
        #expect(seconds >= Double(before) / 1_000 - 1e-6 && seconds <= Double(after) / 1_000 + 1e-6)
    }

    @Test("each bucket keeps its newest; a request that is not sampled, or has no trace, replaces nothing")
    func newest() {
        var second = self.trace
        second.traceID = TraceID(high: 1, low: 2)
        var unsampled = self.trace
        unsampled.traceID = TraceID(high: 3, low: 4)
        unsampled.isSampled = false
        self.record(42, in: self.trace)
        self.record(41, in: second)
        self.record(1_200, in: self.trace)
        self.record(43, in: unsampled)
        self.record(44, in: nil)
        let shown = self.lines("wait_seconds_bucket").filter { $0.contains("#") }
        #expect(shown.count == 2)
        #expect(shown.first?.contains(#"le="0.05"} 4 # {trace_id="\#(second.traceID)"} 0.041 "#) == true)
        #expect(shown.last?.contains(#"le="2.5"} 5 # {trace_id="\#(self.trace.traceID)"} 1.2 "#) == true)
    }

    @Test("nothing is kept where traces are not exported, and the text format never shows any")
    func withheld() {
        let plain = MetricsRegistry()
        self.record(42, in: self.trace, to: plain)
        self.record(42, in: self.trace)
        #expect(!self.lines("wait", of: plain).contains { $0.contains("#") })
        #expect(!self.lines("wait", .text).contains { $0.contains("#") })
        #expect(self.lines("wait_seconds_count", of: plain) == [#"wait_seconds_count{k="v"} 1"#])
    }

    @Test("OpenMetrics names a counter without _total above samples that have it, escapes quotes, and ends with # EOF")
    func openMetrics() {
        self.registry.describe("done_total", #"what is "done""#)
        Counter(label: "done", dimensions: [], factory: self.registry).increment(by: 3)
        Meter(label: "depth_total", dimensions: [], factory: self.registry).set(4)
        #expect(self.lines("# TYPE done") == ["# TYPE done counter"])
        #expect(self.lines("# HELP done") == [##"# HELP done what is \"done\""##])
        #expect(self.lines("done") == ["done_total 3"])
        #expect(self.lines("# TYPE depth") == ["# TYPE depth_total gauge"])
        #expect(self.lines("# TYPE process_cpu") == ["# TYPE process_cpu_seconds counter"])
        #expect(self.registry.exposition(.openMetrics).hasSuffix("\n# EOF\n"))
        #expect(!self.registry.exposition(.text).contains("# EOF"))
        #expect(self.lines("# TYPE done", .text) == ["# TYPE done_total counter"])
    }

    @Test(
        "the format is what the scraper likes best, and text for whoever says nothing",
        arguments: [
            ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", true),
            ("application/openmetrics-text; version=1.0.0; q=0.75, text/plain; q=0.25", true),
            ("Application/OpenMetrics-Text", true),
            ("text/plain, application/openmetrics-text;q=0.5", false), ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=high", false), ("*/*", false), ("", false), (",;,", false),
            ("application/openmetrics-textual", false),
        ])
    func negotiation(accept: String, isOpenMetrics: Bool) {
        #expect(ExpositionFormat(accept: accept) == (isOpenMetrics ? .openMetrics : .text))
    }
}
