import Model
import NIOCore
import ServiceRuntime
import Testing

@testable import Gateway

/// Everything a reader says about `text`, cut into pieces at random.
private func events(_ text: String, cutting random: inout SplitMix) -> [String] {
    var reader = HTTP1RequestReader(headerLimit: 16 << 10)
    var buffer = ByteBuffer()
    var events: [String] = []
    var rest = Array(text.utf8)[...]
    var body = 0
    while !rest.isEmpty {
        let count = min(rest.count, 1 + Int(random.below(40)))
        buffer.writeBytes(rest.prefix(count))
        rest = rest.dropFirst(count)
        while let event = reader.next(&buffer) {
            switch event {
            case .head(let head): events.append("\(head.method) \(head.target) \(head.framing) \(head.isKeepAlive)")
            case .body(let piece): body += piece.readableBytes
            case .end:
                events.append("end \(body)")
                body = 0
            case .refused(let refusal): events.append("refused \(refusal)")
            }
        }
    }
    return events
}

@Suite("HTTP/1 as it is read")
struct WireTests {
    @Test("requests read the same however they are cut into pieces", arguments: 1...50)
    func pieces(seed: Int) {
        var random = SplitMix(seed: UInt64(seed))
        let text =
            "\r\nGET /a?b=c HTTP/1.1\r\nHost: x\r\nAccept:  y \r\n\r\n"
            + "POST /p HTTP/1.1\r\nhost: x\r\nContent-Length: 5\r\n\r\nhello"
            + "PUT /q HTTP/1.1\r\nHOST: x\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n"
            + "DELETE /r HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + "GET /s HTTP/1.0\r\n\r\n"
        #expect(
            events(text, cutting: &random) == [
                "GET /a?b=c none true", "end 0", "POST /p length(5) true", "end 5", "PUT /q chunked true", "end 15",
                "DELETE /r none false", "end 0", "GET /s none false", "end 0",
            ])
    }

    @Test(
        "what has two readings, or none, is refused",
        arguments: [
            "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        ])
    func refused(text: String) {
        var random = SplitMix(seed: 1)
        let all = events(text, cutting: &random)
        #expect(all.count == 1)
        #expect(all.first?.hasPrefix("refused malformed") == true, "\(all)")
    }

    @Test(
        "chunks that are not well formed end the reading",
        arguments: [
            "x\r\n", "5\nhello", "5\r\nhelloXX", "-1\r\n", "\r\n", "fffffffff\r\n", " 5\r\nhello\r\n",
            "5\r\nhello\r\n0\r\nT\0: v\r\n\r\n",
        ])
    func badChunks(body: String) {
        var random = SplitMix(seed: 2)
        let all = events(
            "POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body, cutting: &random)
        #expect(all.last?.hasPrefix("refused malformed") == true, "\(all)")
    }

    @Test("heads beyond their bounds are refused before they are whole")
    func bounds() {
        var random = SplitMix(seed: 3)
        let long = "GET / HTTP/1.1\r\nHost: a\r\nX: " + String(repeating: "a", count: 40_000)
        #expect(events(long, cutting: &random) == ["refused tooLarge"])
        let many = "GET / HTTP/1.1\r\nHost: a\r\n" + String(repeating: "X: y\r\n", count: 128) + "\r\n"
        #expect(events(many, cutting: &random) == ["refused tooLarge"])
    }

    @Test("bytes without sense never crash a reader and never make two heads of one", arguments: 1...200)
    func fuzz(seed: Int) {
        var random = SplitMix(seed: UInt64(seed))
        let seeds = [
            "GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
            "PUT /q HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ]
        for _ in 0..<50 {
            var bytes = Array(seeds[Int(random.below(3))].utf8)
            for _ in 0...random.below(4) {
                let index = Int(random.below(UInt64(bytes.count)))
                switch random.below(3) {
                case 0: bytes[index] = UInt8(truncatingIfNeeded: random.next())
                case 1: bytes.remove(at: index)
                default: bytes.insert([0x0D, 0x0A, 0x20, 0x3A, 0, 0x80][Int(random.below(6))], at: index)
                }
            }
            var buffer = ByteBuffer(bytes: bytes)
            var reader = HTTP1RequestReader(headerLimit: 1_024)
            var heads = 0
            var steps = 0
            while let event = reader.next(&buffer), steps < 100 {
                steps += 1
                if case .head = event { heads += 1 }
            }
            #expect(heads <= 2 && steps < 100)
            var answer = HTTP1AnswerReader()
            var answerBytes = ByteBuffer(string: "HTTP/1.1 200 OK\r\n")
            answerBytes.writeBytes(bytes)
            var answerSteps = 0
            while answer.next(&answerBytes) != nil, answerSteps < 100 { answerSteps += 1 }
            #expect(answerSteps < 100)
        }
    }

    @Test("answers of services are read by length, in chunks and until the end of the connection")
    func answers() {
        func read(_ text: String) -> (status: [Int], body: Int, isKeepAlive: Bool, isRefused: Bool) {
            var reader = HTTP1AnswerReader()
            var buffer = ByteBuffer(string: text)
            var result: (status: [Int], body: Int, isKeepAlive: Bool, isRefused: Bool) = ([], 0, true, false)
            while let event = reader.next(&buffer) {
                switch event {
                case .head(let head): result.status.append(head.status)
                case .body(let piece): result.body += piece.readableBytes
                case .end: break
                case .refused: result.isRefused = true
                }
            }
            result.isKeepAlive = reader.isKeepAlive
            return result
        }
        let plain = read("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 304\r\n\r\n")
        #expect(plain.status == [200, 304] && plain.body == 3 && plain.isKeepAlive)
        let interim = read(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")
        #expect(interim.status == [201] && interim.body == 2)
        let open = read("HTTP/1.1 200 OK\r\n\r\nabcdef")
        #expect(open.body == 6 && !open.isKeepAlive)
        #expect(!read("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").isKeepAlive)
        for wrong in [
            "HTTP/2 200\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "hello\nworld",
        ] {
            #expect(read(wrong).isRefused, "\(wrong)")
        }
    }

    @Test("a date is written as HTTP writes it")
    func date() {
        #expect(DateLine.text(784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT")
        #expect(DateLine.text(0) == "Thu, 01 Jan 1970 00:00:00 GMT")
        #expect(DateLine.text(1_709_164_799) == "Wed, 28 Feb 2024 23:59:59 GMT")
        #expect(DateLine.text(1_709_164_800) == "Thu, 29 Feb 2024 00:00:00 GMT")
    }
}
