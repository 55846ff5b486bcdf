import Hummingbird
import HummingbirdTesting
import Instrumentation
import Logging
import Synchronization
import Testing
import Tracing

@testable import Telemetry

@Suite("Export of spans")
struct ExportTests {
    /// A collector that answers as told.
    private final class Collector: Sendable {
        let status = Mutex(HTTPResponse.Status.ok)
        let bodies = Mutex(0)
    }

    private static func eventually(_ condition: () -> Bool) async throws -> Bool {
        let deadline = ContinuousClock.now + .seconds(30)
        while ContinuousClock.now < deadline {
            if condition() { return true }
            try await Task.sleep(for: .milliseconds(20))
        }
        return false
    }

    /// Seen to fail: with spans counted whatever the collector said.
    @Test("spans count as exported when the collector has said that it took them, else as lost")
    func counted() async throws {
        let collector = Collector()
        let router = Router()
        router.post("/v1/traces") { _, _ -> HTTPResponse.Status in
            collector.bodies.withLock { $0 += 1 }
            return collector.status.withLock { $0 }
        }
        try await Application(
            router: router, configuration: .init(address: .hostname("127.0.0.1", port: 0)), logger: Self.silent
        ).test(.live) { server in
            let registry = MetricsRegistry()
            let queue = SpanQueue(metrics: registry)
            let recorder = TraceRecorder(sampler: RatioSampler(ratio: 1), queue: queue)
            func end(_ count: Int) {
                for _ in 0..<count {
                    recorder.startSpan(
                        "work", context: .topLevel, ofKind: .internal, at: DefaultTracerClock.now,
                        function: #function, file: #fileID, line: #line
                    ).end()
                }
            }
            func counts(_ exported: Int, _ dropped: Int) -> Bool {
                let text = registry.exposition()
                return text.contains("\ntrace_spans_exported_total \(exported)\n")
                    && text.contains("\ntrace_spans_dropped_total \(dropped)\n")
            }
            #expect(counts(0, 0))
            let exporter = OTLPExporter(
                endpoint: "http://127.0.0.1:\(server.port ?? 0)", queue: queue, service: "s", version: "1",
                interval: .milliseconds(50), logger: Self.silent)
            let running = Task { try await exporter.run() }
            end(3)
            #expect(try await Self.eventually { counts(3, 0) }, "\(registry.exposition())")
            collector.status.withLock { $0 = .badRequest }
            end(2)
            #expect(try await Self.eventually { counts(3, 2) }, "\(registry.exposition())")
            running.cancel()
            try await running.value
            #expect(collector.bodies.withLock { $0 } >= 2)
        }
    }

    private static let silent = Logger(label: "silent") { _ in SwiftLogNoOpLogHandler() }
}
