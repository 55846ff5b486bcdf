import NIOCore

/// Reads the requests of one HTTP/1 connection, one after the other. A value: the connection feeds it what has come in.
///
/// What has two readings is refused: both a length and chunks, a length that is no number or comes twice, another transfer
/// coding than `chunked`, no `Host` or several, and any line that does not end in CR LF.
struct HTTP1RequestReader: Sendable {
    enum Event: Sendable {
        case head(RequestHead)
        case body(ByteBuffer)
        case end
        /// The connection cannot be read any further.
        case refused(HeadRefusal)
    }

    private enum State: Sendable {
        case head
        case body(BodyReader)
        case refused
    }

    /// Bytes of all field lines of a head.
    let headerLimit: Int
    private var state = State.head
    private var scanned = 0

    init(headerLimit: Int) { self.headerLimit = headerLimit }

    /// Whether what comes next is the beginning of a request.
    var isBetweenRequests: Bool { if case .head = self.state { true } else { false } }

    /// Whether the rest of the current request is within that many bytes.
    func isRestAtHand(_ bytes: Int) -> Bool {
        if case .body(let body) = self.state { body.isRestAtHand(bytes) } else { false }
    }

    /// ``next(_:)`` when there are no bytes: they may not be needed for the end of a body.
    mutating func next() -> Event? {
        guard case .body(let body) = self.state, body.isOver else { return nil }
        self.state = .head
        return .end
    }

    /// The next event of `buffer`; nil when more must come in first.
    mutating func next(_ buffer: inout ByteBuffer) -> Event? {
        switch self.state {
        case .head:
            return self.head(&buffer)
        case .body(var body):
            let step = body.next(&buffer)
            self.state = .body(body)
            switch step {
            case .more: return nil
            case .data(let piece): return .body(piece)
            case .end:
                self.state = .head
                return .end
            case .refused: return self.refuse(.malformed("the chunks of the body are not well formed"))
            }
        case .refused:
            return nil
        }
    }

    private mutating func refuse(_ refusal: HeadRefusal) -> Event {
        self.state = .refused
        return .refused(refusal)
    }

    private mutating func head(_ buffer: inout ByteBuffer) -> Event? {
        // An empty line before a request is passed over (RFC 9112, section 2.2).
        while self.scanned <= 1, buffer.readableBytes >= 2,
            buffer.getInteger(at: buffer.readerIndex, as: UInt16.self) == 0x0D0A
        {
            buffer.moveReaderIndex(forwardBy: 2)
            self.scanned = 0
        }
        let most = self.headerLimit + RouteTable.lengthLimit + 64
        var scanned = self.scanned
        let end = buffer.withUnsafeReadableBytes { HeadLines.end($0, scanned: &scanned) }
        self.scanned = scanned
        switch end {
        case .never: return self.refuse(.malformed("a line ends without a carriage return"))
        case .notYet: return buffer.readableBytes > most ? self.refuse(.tooLarge) : nil
        case .at(let length):
            guard length <= most, let bytes = buffer.readSlice(length: length) else { return self.refuse(.tooLarge) }
            self.scanned = 0
            return self.take(bytes)
        }
    }

    private mutating func take(_ bytes: ByteBuffer) -> Event {
        do throws(HeadRefusal) {
            let head = try Self.parse(bytes, headerLimit: self.headerLimit)
            switch head.framing {
            case .none, .open: self.state = .body(BodyReader(length: 0))
            case .length(let length): self.state = .body(BodyReader(length: length))
            case .chunked: self.state = .body(.chunked)
            }
            return .head(head)
        } catch {
            return self.refuse(error)
        }
    }

    private static func parse(_ bytes: ByteBuffer, headerLimit: Int) throws(HeadRefusal) -> RequestHead {
        let result = bytes.withUnsafeReadableBytes { all -> Result<(StartLine, [FieldBlock.Entry]), HeadRefusal> in
            do throws(HeadRefusal) {
                let line = try StartLine(all)
                guard all.count - line.length <= headerLimit else { throw .tooLarge }
                return .success((line, try HeadLines.entries(all, from: line.length, table: HopByHop.requestTable)))
            } catch {
                return .failure(error)
            }
        }
        let (line, entries) = try result.get()
        let fields = FieldBlock(bytes: bytes, entries: entries, table: HopByHop.requestTable)
        let hostCount = fields.count(.host)
        guard hostCount == 1 || (line.isOld && hostCount == 0) else {
            throw .malformed("there must be one Host field")
        }
        return RequestHead(
            method: line.method, target: line.target, authority: fields.first(.host),
            version: line.isOld ? .http1_0 : .http1_1,
            fields: fields, framing: try Self.framing(fields, isOld: line.isOld),
            isKeepAlive: !line.isOld && !fields.hasWord("close", in: .connection))
    }

    private static func framing(_ fields: FieldBlock, isOld: Bool) throws(HeadRefusal) -> RequestHead.Framing {
        let isCoded = fields.has(.transferEncoding)
        guard fields.has(.contentLength) else {
            guard isCoded else { return .none }
            let codings = fields.values(.transferEncoding)
            guard !isOld, codings.count == 1, codings[0].lowercased() == "chunked" else {
                throw .malformed("the only transfer coding is chunked")
            }
            return .chunked
        }
        guard !isCoded, fields.count(.contentLength) == 1 else {
            throw .malformed("the length of the body is declared in more than one way")
        }
        guard let length = fields.withFirst(.contentLength, { HTTPBytes.length($0) }) ?? nil else {
            throw .malformed("Content-Length is no whole number")
        }
        return length == 0 ? .none : .length(length)
    }

    /// `GET /path HTTP/1.1` and its line end.
    private struct StartLine {
        let method: String
        let target: String
        let isOld: Bool
        /// With the line end.
        let length: Int

        init(_ bytes: UnsafeRawBufferPointer) throws(HeadRefusal) {
            var index = 0
            while HTTPBytes.isToken(bytes[index]) { index += 1 }
            guard (1...32).contains(index), bytes[index] == 0x20 else { throw .malformed("there is no method") }
            self.method = Self.method(UnsafeRawBufferPointer(rebasing: bytes[..<index]))
            let start = index + 1
            index = start
            while (0x21...0x7E).contains(bytes[index]) { index += 1 }
            guard index > start, bytes[index] == 0x20 else { throw .malformed("the request target is not well formed") }
            self.target = String(decoding: bytes[start..<index], as: UTF8.self)
            // " HTTP/1.x" CR LF
            guard bytes.count >= index + 11, bytes[(index + 1)..<(index + 8)].elementsEqual("HTTP/1.".utf8),
                bytes[index + 8] == 0x30 || bytes[index + 8] == 0x31, bytes[index + 9] == 0x0D,
                bytes[index + 10] == 0x0A
            else { throw .malformed("the version is neither HTTP/1.1 nor HTTP/1.0") }
            self.isOld = bytes[index + 8] == 0x30
            self.length = index + 11
        }

        private static func method(_ bytes: UnsafeRawBufferPointer) -> String {
            for known in ["GET", "POST", "PUT", "DELETE"] where bytes.elementsEqual(known.utf8) { return known }
            return String(decoding: bytes, as: UTF8.self)
        }
    }
}
