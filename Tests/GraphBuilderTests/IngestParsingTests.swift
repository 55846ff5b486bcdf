import CZlib
import Model
import Testing

@testable import GraphBuilder

@Suite("Ingest: reading bodies")
struct IngestParsingTests {
    static let now = Timestamp(milliseconds: 1_700_000_000_000)

    static func line(
        _ event: String = "e", time: String = "1600000000000", value: String = "1.5", extra: String = ""
    ) -> String {
        "{\"domain\":\"d\",\"event\":\"\(event)\",\"market\":\"m\",\"venue\":\"v\",\"time\":\(time),\"value\":\(value)\(extra)}"
    }

    /// Decodes a body that arrives in pieces of `step` bytes.
    static func decode(_ body: [UInt8], _ format: BodyScanner.Format = .lines, step: Int = 1 << 20) throws
        -> IngestDecoder
    {
        var decoder = IngestDecoder(format: format, nodes: NodeTable(), now: Self.now, linesPerChunk: nil)
        var start = 0
        while start < body.count {
            let end = min(start + step, body.count)
            let used = try body[start..<end].withUnsafeBufferPointer { try decoder.feed($0) }
            start += used
        }
        try decoder.finish()
        return decoder
    }

    static func verdict(_ line: String) throws -> String {
        let decoder = try Self.decode(Array(line.utf8))
        guard let verdict = decoder.verdicts.first else { return "accepted" }
        return "\(verdict.field ?? "-") \(verdict.detail)"
    }

    @Test("a body reads the same however it is cut into pieces", arguments: [BodyScanner.Format.lines, .array])
    func pieces(format: BodyScanner.Format) throws {
        let items = (0..<50).map {
            Self.line("e\\u0041\($0 % 7) \\\"{[,]}\\\\ ü", value: "\($0).25", extra: ",\"more\":{\"a\":[1,\"]\"]}")
        }
        let text = format == .lines ? items.joined(separator: "\r\n\n") : "[ \(items.joined(separator: " ,\n")) ]"
        let whole = try Self.decode(Array(text.utf8), format)
        #expect(whole.chunk.rows.count == 50 && whole.rejected == 0)
        #expect(whole.chunk.newNodes.count == 7)
        for step in [1, 2, 3, 7, 64, 1_000] {
            let cut = try Self.decode(Array(text.utf8), format, step: step)
            #expect(cut.chunk.rows == whole.chunk.rows)
        }
    }

    @Test("names are read through escapes and surrogate pairs")
    func escapes() throws {
        let decoder = try Self.decode(Array(Self.line("\\u00fc\\ud83d\\udc19\\/\\\"").utf8))
        #expect(decoder.chunk.newNodes.values.map(\.event) == ["ü🐙/\""])
    }

    @Test(
        "each bad item gets a verdict that names the field",
        arguments: [
            (Self.line(value: "NaN"), "value must be a finite number: NaN and Infinity are not JSON"),
            (Self.line(value: "-Infinity"), "value must be a finite number: NaN and Infinity are not JSON"),
            (Self.line(value: "1e999"), "value must be a finite number"),
            (Self.line(value: "\"1\""), "value must be a number"),
            (Self.line(value: "null"), "value must be a number"),
            (Self.line(value: "01"), "- not a JSON object: a number has a leading zero"),
            (Self.line(value: "1."), "- not a JSON object: a number ends with its decimal point"),
            (Self.line(time: "1.5"), "time must be whole epoch milliseconds or an RFC 3339 date-time"),
            (Self.line(time: "\"yesterday\""), "time must be whole epoch milliseconds or an RFC 3339 date-time"),
            (Self.line(time: "1700000300001"), "time must not be more than 5 minutes in the future"),
            (Self.line(time: "999999999999999999"), "time must lie between the years 1 and 9999"),
            (Self.line(""), "event must be 1 to 128 characters"),
            (Self.line(String(repeating: "x", count: 129)), "event must be 1 to 128 characters"),
            (Self.line("a\\u0000b"), "event must not contain control or unprintable characters"),
            (Self.line("a\\u001fb"), "event must not contain control or unprintable characters"),
            (Self.line("a\u{1}b"), "- not a JSON object: a string contains a raw control character"),
            (Self.line("\\ud83d"), "- not a JSON object: a string contains half a surrogate pair"),
            (Self.line("\\udc19"), "- not a JSON object: a string contains half a surrogate pair"),
            (Self.line("\\x"), "- not a JSON object: a string contains an unknown escape"),
            (Self.line(extra: ",\"value\":2"), "value appears twice"),
            (Self.line(extra: ",\"ts\":2"), "time appears twice"),
            (Self.line(extra: ","), "- not a JSON object: a member's name is missing"),
            (Self.line() + "x", "- not a JSON object: something follows the object"),
            ("{\"domain\":\"d\"}", "event is missing"),
            ("{}", "domain is missing"),
            ("[1]", "- not a JSON object: an item must be an object"),
            ("{\"domain\":\"d", "- not a JSON object: a string does not end"),
            (
                Self.line(extra: ",\"a\":" + String(repeating: "[", count: 40) + String(repeating: "]", count: 40)),
                "- not a JSON object: it is nested deeper than 16 levels"
            ),
            (
                Self.line(extra: ",\"a\":\"" + String(repeating: "y", count: 20_000) + "\""),
                "- is longer than 16384 bytes"
            ),
        ])
    func verdicts(line: String, expected: String) throws {
        #expect(try Self.verdict(line) == expected)
    }

    @Test("invalid UTF-8 is refused with its line; the others land")
    func invalidUTF8() throws {
        for bad: [UInt8] in [[0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xE2, 0x82]] {
            let (head, tail) = (
                "{\"domain\":\"d\",\"event\":\"", "\",\"market\":\"m\",\"venue\":\"v\",\"time\":1,\"value\":1}\n"
            )
            let body = Array((Self.line() + "\n" + head).utf8) + bad + Array((tail + Self.line()).utf8)
            let decoder = try Self.decode(body)
            #expect(decoder.chunk.rows.count == 2)
            #expect(
                decoder.verdicts == [
                    ItemVerdict(line: 2, field: nil, detail: "not a JSON object: the text is not valid UTF-8")
                ])
        }
    }

    @Test(
        "numbers are the nearest doubles",
        arguments: [
            "0", "-0", "1.5", "-2.25e3", "0.1", "123456789.123456789", "9007199254740993", "1e22", "1e23", "5e-324",
            "1.7976931348623157e308", "2.2250738585072011e-308", "0.000000000000000000000000000000123",
            "12345678901234567890123456789",
        ])
    func numbers(text: String) throws {
        let decoder = try Self.decode(Array(Self.line(value: text).utf8))
        #expect(decoder.chunk.rows.map(\.value) == [Double(text)])
    }

    @Test("RFC 3339 times and epoch milliseconds are the same time; ts is another name for it")
    func times() throws {
        let text = [
            Self.line(time: "\"2020-09-13T12:26:40Z\""), Self.line(time: "1600000000000"),
            Self.line(time: "\"2020-09-13T14:26:40.000+02:00\"").replacing("\"time\"", with: "\"ts\""),
        ].joined(separator: "\n")
        let decoder = try Self.decode(Array(text.utf8))
        #expect(decoder.chunk.rows.map(\.timeMs) == [1_600_000_000_000, 1_600_000_000_000, 1_600_000_000_000])
    }

    @Test(
        "a body that is no array is refused as a whole",
        arguments: [
            "", "{}", "[", "[\(line())", "[\(line()) \(line())]", "[,]", "[\(line()),]", "[] x",
            String(repeating: "[", count: 100),
        ])
    func malformedArrays(text: String) {
        let error = #expect(throws: Problem.self) { try Self.decode(Array(text.utf8), .array) }
        #expect(error?.code == .malformedBody)
    }

    @Test("lines are counted from 1, blank ones too, and verdicts stop at a thousand while counting goes on")
    func lineNumbers() throws {
        let text = "\n\(Self.line())\n\nnonsense\n" + String(repeating: "x\n", count: 2_000)
        let decoder = try Self.decode(Array(text.utf8), step: 11)
        #expect(decoder.verdicts.first?.line == 4)
        #expect(decoder.verdicts.count == 1_000 && decoder.rejected == 2_001)
    }

    static func gzip(_ bytes: [UInt8]) -> [UInt8] {
        var stream = z_stream()
        deflateInit2_(
            &stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, CInt(MemoryLayout<z_stream>.size))
        defer { deflateEnd(&stream) }
        var input = bytes
        var output = [UInt8](repeating: 0, count: bytes.count + 1_000)
        let count = input.withUnsafeMutableBufferPointer { input in
            output.withUnsafeMutableBufferPointer { output in
                stream.next_in = input.baseAddress
                stream.avail_in = UInt32(input.count)
                stream.next_out = output.baseAddress
                stream.avail_out = UInt32(output.count)
                deflate(&stream, Z_FINISH)
                return output.count - Int(stream.avail_out)
            }
        }
        return Array(output[..<count])
    }

    static func inflate(_ bytes: [UInt8], limit: Int = 1 << 30, step: Int = 1 << 20) throws -> [UInt8] {
        let inflater = try GzipInflater(limit: limit)
        var output: [UInt8] = []
        var start = 0
        while start < bytes.count {
            let end = min(start + step, bytes.count)
            try bytes[start..<end].withUnsafeBufferPointer { piece in
                try inflater.feed(piece) { output.append(contentsOf: $0) }
            }
            start = end
        }
        try inflater.finish()
        return output
    }

    @Test("gzip bodies inflate in any pieces and with several members")
    func gzipRoundTrip() throws {
        let text = (0..<20_000).flatMap { Array("row \($0 &* 2_654_435_761)\n".utf8) }
        let packed = Self.gzip(text)
        for step in [1, 100, 1 << 20] { #expect(try Self.inflate(packed, step: step) == text) }
        #expect(try Self.inflate(packed + packed) == text + text)
    }

    @Test("a gzip body that is cut off, damaged, too large or a bomb is refused")
    func gzipTrouble() throws {
        let packed = Self.gzip(Array("hello, hello, hello".utf8))
        #expect(throws: Problem.self) { try Self.inflate(Array(packed.dropLast(3))) }
        #expect(throws: Problem.self) { try Self.inflate([1, 2, 3]) }
        let zeros = Self.gzip([UInt8](repeating: 0, count: 8 << 20))
        let bomb = #expect(throws: Problem.self) { try Self.inflate(zeros) }
        #expect(bomb?.code == .bodyTooLarge)
        let large = #expect(throws: Problem.self) { try Self.inflate(packed, limit: 10) }
        #expect(large?.code == .bodyTooLarge)
    }
}
