import Foundation
import Instrumentation
import Logging
import Synchronization
import Testing

@testable import Telemetry

@Suite("Log lines")
struct LogLineTests {
    private final class Lines: Sendable {
        let all = Mutex([String]())
    }

    private func lines(_ format: LogFormat, _ log: (Logger) -> Void) -> [String] {
        let lines = Lines()
        log(
            Logger(label: "part") { label in
                LineLogHandler(
                    label: label, service: "s", level: .info, format: format, metadataProvider: .trace,
                    write: { line in lines.all.withLock { $0.append(line) } })
            })
        return lines.all.withLock { $0 }
    }

    @Test(
        "whatever is logged stays on one line", arguments: LogFormat.allCases, ["a\nb", "a\r\nb", "a\rb", "\n\u{301}"])
    func oneLine(format: LogFormat, text: String) throws {
        let lines = self.lines(format) { $0.info("\(text)", metadata: ["k": "\(text)"]) }
        let line = try #require(lines.first)
        #expect(line.utf8.count { $0 == 0x0A } == 1 && line.utf8.last == 0x0A)
        #expect(!line.utf8.contains(0x0D))
    }

    @Test("a JSON line reads back, with the trace of its task and its fields in order")
    func json() throws {
        let trace = TraceContext.root(isSampled: false)
        var context = InstrumentationContext.topLevel
        context.traceContext = trace
        let line = try #require(
            InstrumentationContext.$current.withValue(context) {
                self.lines(.json) { $0.warning("say \"hi\" \\ \u{1}", metadata: ["b": "2", "a": "1"]) }
            }.first)
        let members = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        #expect(members["message"] as? String == "say \"hi\" \\ \u{1}")
        #expect(members["level"] as? String == "warning" && members["service"] as? String == "s")
        #expect(members["trace_id"] as? String == trace.traceID.description)
        #expect(members["metadata"] as? [String: String] == ["a": "1", "b": "2", "logger": "part"])
        #expect(line.hasPrefix(#"{"time":""#))
    }

    @Test("every control character, quote and backslash of a JSON line is escaped and reads back")
    func jsonCharacters() throws {
        let text = String(String.UnicodeScalarView((0..<0x80).compactMap(Unicode.Scalar.init))) + "\u{85}\u{2028}é😀"
        let line = try #require(self.lines(.json) { $0.info("\(text)", metadata: ["k": "\(text)"]) }.first)
        // No byte of a control character stands in the line but its end.
        #expect(line.utf8.dropLast().allSatisfy { $0 >= 0x20 })
        let members = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
        #expect(members["message"] as? String == text)
        #expect((members["metadata"] as? [String: String])?["k"] == text)
    }

    @Test("long texts are cut, and lines below the level are not written")
    func bounds() throws {
        let lines = self.lines(.json) { logger in
            logger.debug("not this")
            logger.info("\(String(repeating: "x", count: 100_000))")
        }
        #expect(lines.count == 1)
        #expect((8_192..<8_600).contains(try #require(lines.first).utf8.count))
    }
}
