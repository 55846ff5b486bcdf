import NIOCore

@testable import Gateway

/// Messages of HTTP/1, read whole and in two pieces.
enum MessageFuzz {
    /// Steps a reader may take, at most: a piece of an input cannot be read more often than it has bytes.
    private static func stepLimit(_ bytes: [UInt8]) -> Int { 2 * bytes.count + 16 }

    /// Feeds the bytes in two pieces; `take` reads all it can and gives its words, nil when it read more than it could have.
    private static func words(_ bytes: [UInt8], cut: Int, take: (inout ByteBuffer) -> [String]?) -> [String]? {
        var buffer = ByteBuffer(bytes: bytes[..<cut])
        guard let first = take(&buffer) else { return nil }
        buffer.writeBytes(bytes[cut...])
        return take(&buffer).map { Self.joined(first + $0) }
    }

    /// However a body was cut, it is one body.
    private static func joined(_ words: [String]) -> [String] {
        words.reduce(into: []) { all, word in
            if word.hasPrefix("body "), let last = all.last, last.hasPrefix("body ") {
                all[all.count - 1] = last + word.dropFirst(5)
            } else {
                all.append(word)
            }
        }
    }

    private static func body(_ piece: ByteBuffer) -> String {
        "body \(piece.readableBytesView.map(String.init).joined())"
    }

    /// Compares the reading in one piece with readings in two.
    private static func faults(_ bytes: [UInt8], _ read: (_ cut: Int) -> [String]?) -> [String] {
        guard let whole = read(bytes.count) else { return ["no end"] }
        return [0, 1, bytes.count / 3, bytes.count / 2, bytes.count - 1].filter { (0..<bytes.count).contains($0) }
            .filter { read($0) != whole }.map { "cut at \($0) it reads otherwise than \(whole)" }
    }

    static func request(_ bytes: [UInt8]) -> [String] {
        var faults: [String] = []
        faults += Self.faults(bytes) { cut in
            var reader = HTTP1RequestReader(headerLimit: 1_024)
            return Self.words(bytes, cut: cut) { buffer in
                var words: [String] = []
                for _ in 0..<Self.stepLimit(bytes) {
                    switch reader.next(&buffer) {
                    case .none: return words
                    case .head(let head):
                        faults += Self.faults(head)
                        words.append("\(head.method) \(head.target) \(head.framing) \(head.fields.pairs)")
                    case .body(let piece): words.append(Self.body(piece))
                    case .end: words.append("end")
                    case .refused(let refusal): words.append("refused \(refusal)")
                    }
                }
                return nil
            }
        }
        return faults
    }

    /// Named here once more, so that a name that falls out of the gateway's own list is missed.
    private static let neverCrossing: Set<String> = [
        "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", "content-length", "expect",
        "authorization", "x-api-key", "cookie", "forwarded", "x-forwarded-for", "traceparent", "tracestate",
    ]

    private static func faults(_ head: RequestHead) -> [String] {
        var faults: [String] = []
        if head.method.wholeMatch(of: /[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}/) == nil {
            faults.append("method \(head.method)")
        }
        if !head.target.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) { faults.append("target \(head.target)") }
        func given(_ name: String) -> [String] { head.fields.pairs.filter { $0.0 == name }.map(\.1) }
        if given("host").count > 1 { faults.append("several hosts") }
        // RFC 9112, section 6.3: what one reader ends by its length and the next by its chunks is two messages.
        let lengths = given("content-length")
        switch head.framing {
        case .chunked: if !lengths.isEmpty { faults.append("chunks and a length") }
        case .length(let length): if lengths.map({ Int($0) }) != [length] { faults.append("length") }
        case .none: break
        case .open: faults.append("open in HTTP/1")
        }
        if head.framing != .chunked, given("transfer-encoding") != [] { faults.append("coded and yet not in chunks") }
        let crossing = HopByHop.crossing(head.fields) ?? []
        for entry in crossing {
            let name = head.fields.name(entry)
            if Self.neverCrossing.contains(name) || name.hasPrefix("x-undercurrent-") {
                faults.append("\(name) crosses")
            }
            var line = ByteBuffer()
            line.write(room: 64) { head.fields.writeLines([entry], into: &$0) }
            if line.readableBytesView.dropLast(2).contains(where: { $0 == 0x0D || $0 == 0x0A || $0 == 0 }) {
                faults.append("\(name) becomes two lines")
            }
        }
        let lines = ForwardedFields.lines(peer: head.authority, host: head.authority)
        if lines.split(separator: "\r\n").count > 4 || !lines.hasSuffix("\r\n")
            || lines.utf8.contains(where: { $0 < 0x20 && $0 != 0x0D && $0 != 0x0A })
        {
            faults.append("forwarded \(lines)")
        }
        return faults
    }

    static func answer(_ bytes: [UInt8]) -> [String] {
        var faults: [String] = []
        faults += Self.faults(bytes) { cut in
            var reader = HTTP1AnswerReader()
            return Self.words(bytes, cut: cut) { buffer in
                var words: [String] = []
                for _ in 0..<Self.stepLimit(bytes) {
                    switch reader.next(&buffer) {
                    case .none: return words
                    case .head(let head):
                        if !(100...999).contains(head.status) { faults.append("status \(head.status)") }
                        words.append("\(head.status) \(head.length ?? -1) \(head.fields.pairs)")
                    case .body(let piece): words.append(Self.body(piece))
                    case .end: words.append("end")
                    case .refused:
                        if reader.isKeepAlive { faults.append("refused and yet used again") }
                        words.append("refused")
                    }
                }
                return nil
            }
        }
        return faults
    }

    static func chunks(_ bytes: [UInt8]) -> [String] {
        var faults = Self.faults(bytes) { cut in
            var reader = BodyReader.chunked
            var isOver = false
            return Self.words(bytes, cut: cut) { buffer in
                guard !isOver else { return [] }
                let words = Self.words(&reader, &buffer, limit: Self.stepLimit(bytes))
                isOver = words?.last == "end" || words?.last == "refused"
                return words
            }
        }
        // As a body they come out of the chunks they are written in.
        var framed = ByteBuffer()
        ChunkFraming.frame(ByteBuffer(bytes: bytes)) { framed.writeImmutableBuffer($0) }
        framed.writeImmutableBuffer(ChunkFraming.last)
        var reader = BodyReader.chunked
        let again = Self.words(&reader, &framed, limit: Self.stepLimit(bytes)).map(Self.joined)
        let expected = bytes.isEmpty ? ["end"] : [Self.body(ByteBuffer(bytes: bytes)), "end"]
        if again != expected || framed.readableBytes > 0 { faults.append("written and read: \(again ?? [])") }
        return faults
    }

    /// Reads up to the end of the body; what follows belongs to the next message.
    private static func words(_ reader: inout BodyReader, _ buffer: inout ByteBuffer, limit: Int) -> [String]? {
        var words: [String] = []
        for _ in 0..<limit {
            switch reader.next(&buffer) {
            case .more: return words
            case .data(let piece): words.append(Self.body(piece))
            case .end: return words + ["end"]
            case .refused: return words + ["refused"]
            }
        }
        return nil
    }
}
