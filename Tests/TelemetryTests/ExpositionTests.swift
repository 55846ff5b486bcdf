import CoreMetrics
import Testing

@testable import Telemetry

@Suite("Metrics exposition")
struct ExpositionTests {
    private let registry = MetricsRegistry(seriesLimit: 3)

    private func lines(_ prefix: String) -> [String] {
        self.registry.exposition().split(separator: "\n").map(String.init).filter { $0.hasPrefix(prefix) }
    }

    @Test(
        "whatever a label value holds, it stays within its quotes on one line",
        arguments: [
            ("a\"b", #"a\"b"#), ("a\\b", #"a\\b"#), ("a\nb", #"a\nb"#), ("a\r\nb", "a\r\\nb"), ("\\n", #"\\n"#),
            ("\"\u{301}", "\\\"\u{301}"), ("\\\u{301}", "\\\\\u{301}"), ("é{},=", "é{},="), ("", ""),
        ])
    func escaping(value: String, written: String) {
        Counter(label: "c", dimensions: [("l", value)], factory: self.registry).increment()
        #expect(
            self.registry.exposition().utf8.split(separator: 0x0A).contains { line in
                line.elementsEqual(#"c_total{l="\#(written)"} 1"#.utf8)
            })
    }

    @Test("help texts stay on one line")
    func help() {
        self.registry.describe("c_total", "first\r\nsecond \\ \"third\"")
        Counter(label: "c", dimensions: [], factory: self.registry).increment()
        #expect(
            self.registry.exposition().utf8.split(separator: 0x0A).contains { line in
                line.elementsEqual("# HELP c_total first\r\\nsecond \\\\ \"third\"".utf8)
            })
    }

    @Test(
        "names become what Prometheus takes",
        arguments: [
            ("http.requests", "http_requests_total"), ("a-b c", "a_b_c_total"), ("9lives", "_9lives_total"),
            ("done_total", "done_total"), ("ns:x", "ns:x_total"), ("größe", "gr__e_total"), ("", "__total"),
        ])
    func names(label: String, name: String) {
        Counter(label: label, dimensions: [], factory: self.registry).increment(by: 2)
        #expect(self.lines("\(name) ") == ["\(name) 2"])
        #expect(self.lines("# TYPE \(name) ") == ["# TYPE \(name) counter"])
    }

    @Test("families and series are sorted, labels too, and a label called le cannot break a histogram")
    func sorted() {
        for (name, labels) in [
            ("b", [("z", "1"), ("a", "2")]), ("b", [("a", "1")]), ("a", [("le", "x"), ("n:m", "y")]),
        ] { Counter(label: name, dimensions: labels, factory: self.registry).increment() }
        let all = self.registry.exposition().split(separator: "\n").map(String.init)
        let ours = all.filter { $0.hasPrefix("a_total") || $0.hasPrefix("b_total") }
        #expect(
            ours == [
                #"a_total{label_le="x",n_m="y"} 1"#, #"b_total{a="1"} 1"#, #"b_total{a="2",z="1"} 1"#,
            ])
        let families = all.filter { $0.hasPrefix("# TYPE ") && !$0.contains("process_") && !$0.contains("metrics_") }
        #expect(families == families.sorted())
    }

    @Test("buckets are cumulative, their bounds inclusive, and the last one counts all")
    func histogram() {
        let recorder = Recorder(label: "size", dimensions: [("k", "v")], aggregate: true, factory: self.registry)
        for value in [1.0, 1.5, 2, 7, 1e9] { recorder.record(value) }
        recorder.record(Double.nan)
        let buckets = self.lines("size_bucket")
        #expect(buckets.first == #"size_bucket{k="v",le="1.0"} 1"#)
        #expect(buckets.contains(#"size_bucket{k="v",le="2.0"} 3"#))
        #expect(buckets.contains(#"size_bucket{k="v",le="5.0"} 3"#))
        #expect(buckets.contains(#"size_bucket{k="v",le="10000000.0"} 4"#))
        #expect(buckets.last == #"size_bucket{k="v",le="+Inf"} 5"#)
        #expect(buckets.count == MetricsRegistry.valueBounds.count + 1)
        #expect(self.lines("size_count") == [#"size_count{k="v"} 5"#])
        #expect(self.lines("size_sum") == [#"size_sum{k="v"} 1000000011.5"#])
    }

    @Test("timers count seconds, and milliseconds where the name says so")
    func timers() {
        for label in ["wait", "wait_ms"] {
            CoreMetrics.Timer(label: label, dimensions: [], factory: self.registry).recordNanoseconds(250_000_000)
        }
        #expect(self.lines("wait_seconds_sum") == ["wait_seconds_sum 0.25"])
        #expect(self.lines("wait_ms_sum") == ["wait_ms_sum 250"])
        #expect(self.lines(#"wait_seconds_bucket{le="0.25"}"#) == [#"wait_seconds_bucket{le="0.25"} 1"#])
        #expect(self.lines(#"wait_ms_bucket{le="100.0"}"#) == [#"wait_ms_bucket{le="100.0"} 0"#])
    }

    @Test("beyond the limit of series nothing is added, and the refusals are counted")
    func seriesBound() {
        for index in 0..<10 {
            Counter(label: "c", dimensions: [("i", "\(index)")], factory: self.registry).increment()
        }
        #expect(self.lines("c_total").count == 3)
        #expect(self.lines("metrics_series_dropped_total ") == ["metrics_series_dropped_total 7"])
        Counter(label: "c", dimensions: [("i", "0")], factory: self.registry).increment()
        #expect(self.lines(#"c_total{i="0"}"#) == [#"c_total{i="0"} 2"#])
    }

    @Test("a name asked for as another kind keeps the first and crashes nothing")
    func conflict() {
        Meter(label: "depth", dimensions: [], factory: self.registry).set(4)
        Recorder(label: "depth", dimensions: [("a", "b")], aggregate: true, factory: self.registry).record(9)
        Recorder(label: "depth", dimensions: [], aggregate: true, factory: self.registry).record(9)
        #expect(self.lines("depth") == ["depth 4"])
        #expect(self.lines("metrics_conflicts_total ") == ["metrics_conflicts_total 2"])
    }

    @Test("counters never fall")
    func monotone() {
        let counter = Counter(label: "c", dimensions: [], factory: self.registry)
        counter.increment(by: 5)
        counter.increment(by: -3)
        let floating = FloatingPointCounter(label: "f", dimensions: [], factory: self.registry)
        for step in [1.5, -1, .nan, .infinity] { floating.increment(by: step) }
        #expect(self.lines("c_total") == ["c_total 5"])
        #expect(self.lines("f_total") == ["f_total 1.5"])
    }

    @Test("a destroyed metric is gone")
    func destroyed() {
        let counter = Counter(label: "c", dimensions: [], factory: self.registry)
        counter.increment()
        counter.destroy()
        #expect(self.lines("c_total").isEmpty)
    }

    @Test(
        "numbers are written as the format wants them",
        arguments: [
            (0, "0"), (-2, "-2"), (0.1, "0.1"), (.infinity, "+Inf"), (-.infinity, "-Inf"), (.nan, "NaN"),
            (1e15, "1000000000000000.0"), (1e17, "1e+17"),
        ])
    func numbers(value: Double, text: String) { #expect(SampleText.text(value) == text) }

    @Test("the process tells its memory, time and descriptors")
    func process() {
        for name in ["process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"] {
            let value = self.lines("\(name) ").first?.split(separator: " ").last.flatMap { Double($0) }
            #expect((value ?? 0) > 0, "\(name)")
        }
    }
}
