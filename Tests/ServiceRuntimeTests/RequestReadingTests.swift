import Foundation
import Hummingbird
import HummingbirdCore
import Model
import NIOCore
import Testing

@testable import ServiceRuntime

@Suite("Queries, cursors and bodies")
struct RequestReadingTests {
    private func query(_ text: String) throws -> QueryParameters {
        try QueryParameters(query: text, known: ["event", "limit", "share", "at", "layer", "severity"])
    }

    @Test("values are decoded once; one that must have a form may be left out, but not be empty")
    func values() throws {
        let query = try self.query(
            "event=a%2Bb+%C3%A9%2525&layer=l3&severity=HIGH&at=1970-01-01T00:00:01Z&share=0.5")
        #expect(try query.name("event") == "a+b é%25")
        #expect(try query.integer("limit", in: 1...10, default: 4) == 4)
        #expect(try query.layer("layer") == .crossEvent)
        #expect(try query.choice("severity", Severity.self) == .high)
        #expect(try query.time("at")?.milliseconds == 1_000)
        #expect(try query.number("share", in: 0...1) == 0.5)
        #expect(try self.query("at=1500").time("at")?.milliseconds == 1_500)
        #expect(try self.query("").time("at") == nil)
        for (text, read) in [
            ("at=", { try $0.time("at") }), ("limit=", { try $0.integer("limit", in: 1...10, default: 4) }),
            ("share=", { try $0.number("share", in: 0...1) }), ("layer=", { try $0.layer("layer") }),
            ("event=", { try $0.name("event") }),
        ] as [(String, (QueryParameters) throws -> Any?)] {
            #expect(throws: Problem.self) { try read(self.query(text)) }
        }
    }

    @Test(
        "a parameter that is unknown, given twice or badly encoded is 400 and says which",
        arguments: [
            ("colour=1", "colour is not a parameter"), ("event=a&event=b", "event is given twice"),
            ("event=%zz", "percent-encoded"), ("event=%ff", "percent-encoded"),
            (Array(repeating: "event=1", count: 65).joined(separator: "&"), "at most 64"),
        ])
    func badQuery(text: String, detail: String) {
        let problem = #expect(throws: Problem.self) { try self.query(text) }
        #expect(problem?.status == 400 && problem?.detail.contains(detail) == true)
    }

    @Test(
        "a value out of its rule is 400 and names the parameter",
        arguments: [
            "limit=0", "limit=11", "limit=two", "limit=99999999999999999999", "share=nan", "share=2", "at=soon",
            "at=9223372036854775807", "at=-9223372036854775808", "layer=L5", "severity=high", "event=%00",
            "event=" + String(repeating: "x", count: 129),
        ])
    func badValue(text: String) throws {
        let query = try self.query(text)
        let problem = #expect(throws: Problem.self) {
            _ = try query.name("event")
            _ = try query.integer("limit", in: 1...10, default: 4)
            _ = try query.number("share", in: 0...1)
            _ = try query.time("at")
            _ = try query.layer("layer")
            _ = try query.choice("severity", Severity.self)
        }
        #expect(problem?.status == 400)
        #expect(problem?.detail.hasPrefix(text.prefix { $0 != "=" }) == true)
    }

    @Test("a cursor comes back as it went out, whatever its keys hold")
    func cursor() throws {
        let cursor = KeysetCursor(list: "anomalies", keys: ["", "é\"\\,", "2026-01-01T00:00:00.000Z"])
        #expect(try KeysetCursor(cursor.text, list: "anomalies", keyCount: 3) == cursor)
        #expect(cursor.text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") })
    }

    @Test("another list's cursor, and what is none, is 400")
    func badCursor() {
        let good = KeysetCursor(list: "anomalies", keys: ["1"]).text
        for (text, list, count) in [
            (good, "events", 1), (good, "anomalies", 2), (good, "anomalies", 0), ("", "anomalies", 1),
            ("!!!", "anomalies", 1), ("e30", "anomalies", 1), (good + "=", "anomalies", 1),
            (KeysetCursor(list: "anomalies", keys: ["a\0"]).text, "anomalies", 1),
            (KeysetCursor(list: "anomalies", keys: [String(repeating: "x", count: 2_000)]).text, "anomalies", 1),
        ] {
            let problem = #expect(throws: Problem.self) { try KeysetCursor(text, list: list, keyCount: count) }
            #expect(problem?.status == 400)
        }
    }

    /// Made with Python's gzip: `{"name":"a"}`, and 20,000 blanks.
    private static let small = "H4sIAAAAAAACA6tWykvMTVWyUkpUqgUAlit2jQwAAAA="
    private static let large =
        "H4sIAAAAAAACA+3BMQEAAADCoCrrn9IaHkABAAAAAAAAAAAAAAAAAAAAAAAA8GAoxAiFIE4AAA=="

    @Test("gzip is read, one member after another too; what is too large, cut short or damaged is refused")
    func gzip() throws {
        let data = try #require(Data(base64Encoded: Self.small))
        let body = ByteBuffer(bytes: data)
        #expect(try GzipBody.inflate(body, limit: 12) == ByteBuffer(string: #"{"name":"a"}"#))
        #expect(try GzipBody.inflate(ByteBuffer(bytes: data + data), limit: 100).readableBytes == 24)
        let bomb = ByteBuffer(bytes: try #require(Data(base64Encoded: Self.large)))
        for (body, limit, status) in [
            (body, 11, 413), (bomb, 19_999, 413), (ByteBuffer(bytes: data.dropLast()), 100, 400),
            (ByteBuffer(), 100, 400),
            (ByteBuffer(string: "plain text"), 100, 400), (ByteBuffer(bytes: data + [1]), 100, 400),
        ] {
            let problem = #expect(throws: Problem.self) { try GzipBody.inflate(body, limit: limit) }
            #expect(problem?.status == status)
        }
    }

    @Test("JSON is read to a depth of 64; brackets within texts do not count")
    func nesting() throws {
        func nested(_ depth: Int) -> [UInt8] {
            Array((String(repeating: "[", count: depth) + String(repeating: "]", count: depth)).utf8)
        }
        try JSONNesting.check(nested(64))
        try JSONNesting.check(Array(("\"\\\"" + String(repeating: "[", count: 100) + "\"").utf8))
        #expect(throws: Problem.self) { try JSONNesting.check(nested(65)) }
    }
}
