import NIOCore

/// The head of a service's answer.
struct AnswerHead: Sendable {
    let status: Int
    let fields: FieldBlock
    /// nil: in chunks, or until the connection ends.
    let length: Int?
}

/// Reads the answers on one connection to a service, one after the other.
struct HTTP1AnswerReader: Sendable {
    enum Event: Sendable {
        case head(AnswerHead)
        case body(ByteBuffer)
        case end
        case refused
    }

    private enum State: Sendable {
        case head
        case body(BodyReader)
        case refused
    }

    /// Bytes of the head of an answer.
    static let headLimit = 64 << 10

    private var state = State.head
    private var scanned = 0
    private var interimCount = 0
    /// Whether the connection may be used again once the answer has ended.
    private(set) var isKeepAlive = true

    var isBetweenAnswers: Bool { if case .head = self.state { true } else { false } }

    /// Whether the end of the connection is the end of the answer.
    var endsWithConnection: Bool { if case .body(let body) = self.state { body.endsWithConnection } else { false } }

    /// ``next(_:)`` when there are no bytes: they may not be needed for the end of a body.
    mutating func next() -> Event? {
        guard case .body(let body) = self.state, body.isOver else { return nil }
        self.state = .head
        return .end
    }

    mutating func next(_ buffer: inout ByteBuffer) -> Event? {
        switch self.state {
        case .head: return self.head(&buffer)
        case .body(var body):
            let step = body.next(&buffer)
            self.state = .body(body)
            switch step {
            case .more: return nil
            case .data(let piece): return .body(piece)
            case .end:
                self.state = .head
                return .end
            case .refused: return self.refuse()
            }
        case .refused: return nil
        }
    }

    private mutating func refuse() -> Event {
        self.state = .refused
        self.isKeepAlive = false
        return .refused
    }

    private mutating func head(_ buffer: inout ByteBuffer) -> Event? {
        while true {
            var scanned = self.scanned
            let end = buffer.withUnsafeReadableBytes { HeadLines.end($0, scanned: &scanned) }
            self.scanned = scanned
            if end == .notYet, buffer.readableBytes <= Self.headLimit { return nil }
            self.scanned = 0
            guard case .at(let length) = end, length <= Self.headLimit, let bytes = buffer.readSlice(length: length),
                let (status, fields) = Self.parse(bytes)
            else { return self.refuse() }
            if (100..<200).contains(status), status != 101, self.interimCount < 8 {
                // An interim answer says nothing that the client waits for.
                self.interimCount += 1
                continue
            }
            return self.take(status: status, fields: fields)
        }
    }

    private mutating func take(status: Int, fields: FieldBlock) -> Event {
        self.interimCount = 0
        if fields.hasWord("close", in: .connection) { self.isKeepAlive = false }
        var length: Int?
        if !ResponsePolicy.hasBody(status: status) {
            length = 0
            self.state = .body(BodyReader(length: 0))
        } else if fields.has(.transferEncoding) {
            guard !fields.has(.contentLength), fields.values(.transferEncoding).map({ $0.lowercased() }) == ["chunked"]
            else { return self.refuse() }
            self.state = .body(.chunked)
        } else if fields.has(.contentLength) {
            guard fields.count(.contentLength) == 1,
                let declared = fields.withFirst(.contentLength, { HTTPBytes.length($0) }) ?? nil
            else { return self.refuse() }
            length = declared
            self.state = .body(BodyReader(length: declared))
        } else {
            self.isKeepAlive = false
            self.state = .body(.untilClose)
        }
        return .head(AnswerHead(status: status, fields: fields, length: length))
    }

    /// nil for what is no HTTP/1.1 head.
    private static func parse(_ bytes: ByteBuffer) -> (Int, FieldBlock)? {
        let parsed = bytes.withUnsafeReadableBytes { all -> (Int, [FieldBlock.Entry])? in
            // "HTTP/1.1 200" and a reason, which may be left out with its blank.
            guard all.count >= 14, all[..<8].elementsEqual("HTTP/1.1".utf8), all[8] == 0x20 else { return nil }
            var status = 0
            for index in 9..<12 {
                guard (0x30...0x39).contains(all[index]) else { return nil }
                status = status * 10 + Int(all[index] - 0x30)
            }
            guard status >= 100, all[12] == 0x20 || all[12] == 0x0D else { return nil }
            var index = 12
            while HTTPBytes.isValue(all[index]) { index += 1 }
            guard all[index] == 0x0D, all[index + 1] == 0x0A,
                let entries = try? HeadLines.entries(all, from: index + 2, table: HopByHop.answerTable)
            else { return nil }
            return (status, entries)
        }
        guard let (status, entries) = parsed else { return nil }
        return (status, FieldBlock(bytes: bytes, entries: entries, table: HopByHop.answerTable))
    }
}
