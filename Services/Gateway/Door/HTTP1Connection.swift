import Model
import NIOCore
import NIOHTTP1

/// One client's HTTP/1 connection: reads requests, runs one exchange after the other, writes answers.
final class HTTP1Connection: ChannelDuplexHandler, ClientSide {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = Never
    typealias OutboundOut = ByteBuffer

    /// How long a client that was answered early may go on sending before the connection is closed.
    static let lingerNanoseconds: Int64 = 2_000_000_000
    /// Bodies up to this many bytes are moved behind their heads, so that both are one record of TLS.
    static let joinLimit = 16 << 10
    /// What is written for longer than the loop's turn is sent before it is more than this: only then a channel with TLS counts it.
    static let unsentLimit = 32 << 10

    private let loop: LoopState
    private let peer: PeerText
    private let credentials = CredentialMemory()
    private var context: ChannelHandlerContext?
    private var reader: HTTP1RequestReader
    /// What has come in and is not read yet; nil, not empty, when there is nothing: the library uses the memory behind it again,
    /// unless somebody still holds it.
    private var buffer: ByteBuffer?
    private var exchange: Exchange?
    private var isProcessing = false
    private var isReadHeld = false
    private var isReadWanted = false
    /// Nothing more is read as a request; when the connection is closed for good.
    private var lingersUntil: Int64?
    private var quietSince = MonotonicClock.nanoseconds()
    /// When the first bytes came of what is not yet a whole head.
    private var headSince: Int64 = 0
    private var isDraining = false
    private var keepsAlive = true
    private var isChunked = false
    /// Something is written that ``Outbox`` will send.
    private var isFlushDue = false
    /// Bytes of answers written since the last flush.
    private var unsentBytes = 0

    init(loop: LoopState, peer: PeerText) {
        self.loop = loop
        self.peer = peer
        self.reader = HTTP1RequestReader(headerLimit: loop.core.settings.headerLimit)
        self.isDraining = loop.isDraining
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    // MARK: - Reading

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var piece = self.unwrapInboundIn(data)
        guard !self.isOver else { return }
        if self.exchange == nil, self.buffer == nil { self.headSince = MonotonicClock.nanoseconds() }
        if self.buffer == nil { self.buffer = piece } else { self.buffer?.writeBuffer(&piece) }
        self.process()
    }

    /// Nothing more is read as a request: the last answer ended the connection, which closes (RFC 9112, section 9.6).
    private var isOver: Bool { self.lingersUntil != nil || (self.exchange == nil && !self.keepsAlive) }

    private func process() {
        // An exchange that ends at once calls this again from within.
        guard !self.isProcessing else { return }
        self.isProcessing = true
        defer { self.isProcessing = false }
        while !self.isOver, !self.isReadHeld {
            if self.reader.isBetweenRequests {
                if self.exchange != nil { break }
                guard self.hasRoomForAnswer() else {
                    self.isReadHeld = true
                    break
                }
            }
            guard let event = self.next() else { break }
            self.take(event)
        }
        // A client that sends one request after the other is made to wait for the answers.
        if self.exchange != nil, self.reader.isBetweenRequests, self.unreadBytes > 64 << 10 {
            self.isReadHeld = true
        }
    }

    /// Whether the client takes its answers; one that only asks would make this process keep them.
    private func hasRoomForAnswer() -> Bool {
        if self.isFlushDue, !self.isWritable || self.unsentBytes > Self.unsentLimit { self.flush() }
        return self.isWritable
    }

    private var unreadBytes: Int { self.buffer?.readableBytes ?? 0 }

    /// What the bytes at hand say next.
    private func next() -> HTTP1RequestReader.Event? {
        guard var bytes = self.buffer else { return self.reader.next() }
        self.buffer = nil
        let event = self.reader.next(&bytes)
        if bytes.readableBytes > 0 { self.buffer = bytes }
        return event
    }

    private func take(_ event: HTTP1RequestReader.Event) {
        switch event {
        case .head(let head):
            self.keepsAlive = head.isKeepAlive && !self.isDraining && !self.loop.isQuiescing
            let exchange = Exchange(
                head: head, peer: self.peer, credentials: self.credentials, client: self, loop: self.loop)
            exchange.isBodyAtHand = head.framing != .none && self.reader.isRestAtHand(self.unreadBytes)
            self.exchange = exchange
            exchange.start()
        case .body(let piece): self.exchange?.take(piece: piece)
        case .end: self.exchange?.bodyEnded()
        case .refused(let refusal): self.refuse(refusal)
        }
    }

    private func refuse(_ refusal: HeadRefusal) {
        self.keepsAlive = false
        if let exchange {
            exchange.refuse(Problem(.malformedBody, detail: "The body is not well formed."))
            return
        }
        let head = RequestHead(
            method: "-", target: "-", authority: nil, version: .http1_1,
            fields: FieldBlock(table: HopByHop.requestTable),
            framing: .none, isKeepAlive: false)
        let exchange = Exchange(
            head: head, peer: self.peer, credentials: self.credentials, client: self, loop: self.loop)
        self.exchange = exchange
        switch refusal {
        case .tooLarge:
            exchange.startRefused(
                Problem(.headersTooLarge, detail: "The header fields are longer or more than this gateway reads."))
        case .malformed(let why):
            exchange.startRefused(
                Problem(.invalidRequest, detail: "The request is not HTTP that this gateway can read: \(why.text)."))
        }
    }

    func read(context: ChannelHandlerContext) {
        if self.isReadHeld { self.isReadWanted = true } else { context.read() }
    }

    func holdReading(_ isHeld: Bool) {
        guard self.isReadHeld != isHeld else { return }
        self.isReadHeld = isHeld
        guard !isHeld else { return }
        self.process()
        if self.isReadWanted, !self.isReadHeld {
            self.isReadWanted = false
            self.context?.read()
        }
    }

    // MARK: - Writing

    var isWritable: Bool { self.context?.channel.isWritable ?? false }

    func sendContinue() {
        guard let context else { return }
        context.writeAndFlush(
            self.wrapOutboundOut(ByteBuffer(staticString: "HTTP/1.1 100 Continue\r\n\r\n")), promise: nil)
    }

    func beginHead(status: Int, room: Int) -> ByteBuffer {
        // 128: the status line, the length, what ends the head.
        var buffer = ByteBufferAllocator().buffer(capacity: 128 + min(room, Self.joinLimit + 4_096))
        if status == 200 {
            buffer.writeStaticString("HTTP/1.1 200 OK\r\n")
        } else {
            buffer.writeStaticString("HTTP/1.1 ")
            buffer.writeDecimal(status)
            buffer.writeStaticString(" ")
            // Nobody needs the phrase, but some clients (h2load) do not notice a status without one.
            buffer.writeString(HTTPResponseStatus(statusCode: status).reasonPhrase)
            buffer.writeStaticString("\r\n")
        }
        return buffer
    }

    func send(head: ByteBuffer, status: Int, length: Int?, body: ByteBuffer?, isWhole: Bool) {
        guard let context, let exchange else { return }
        var head = head
        self.isChunked = false
        if let length {
            head.writeField("content-length", length)
        } else if !isWhole {
            self.isChunked = exchange.head.version == .http1_1
            if self.isChunked {
                head.writeStaticString("transfer-encoding: chunked\r\n")
            } else {
                self.keepsAlive = false
            }
        }
        if isWhole, !exchange.isBodyComplete, !exchange.isBodyAtHand { self.keepsAlive = false }
        if self.isDraining || self.loop.isQuiescing { self.keepsAlive = false }
        if !self.keepsAlive { head.writeStaticString("connection: close\r\n") }
        head.writeStaticString("\r\n")
        self.unsentBytes += head.readableBytes + (body?.readableBytes ?? 0)
        if let body, body.readableBytes <= Self.joinLimit {
            head.writeImmutableBuffer(body)
            context.write(self.wrapOutboundOut(head), promise: nil)
        } else {
            context.write(self.wrapOutboundOut(head), promise: nil)
            if let body { context.write(self.wrapOutboundOut(body), promise: nil) }
        }
        guard !self.isFlushDue else { return }
        self.isFlushDue = true
        self.loop.outbox.add(self)
    }

    /// Sends what is written.
    func flush() {
        self.isFlushDue = false
        self.unsentBytes = 0
        self.context?.flush()
    }

    /// What is written but not sent would be lost with the connection.
    private func close(_ context: ChannelHandlerContext) {
        if self.isFlushDue { self.flush() }
        context.close(mode: .all, promise: nil)
    }

    func send(piece: ByteBuffer) {
        guard let context, piece.readableBytes > 0 else { return }
        if self.isChunked {
            ChunkFraming.frame(piece) { context.write(self.wrapOutboundOut($0), promise: nil) }
            context.flush()
        } else {
            context.writeAndFlush(self.wrapOutboundOut(piece), promise: nil)
        }
    }

    func finish() {
        guard let context, self.isChunked else { return }
        context.writeAndFlush(self.wrapOutboundOut(ChunkFraming.last), promise: nil)
    }

    func cutOff() {
        self.keepsAlive = false
        if let context { self.close(context) }
    }

    func exchangeIsOver(isReadable: Bool) {
        self.exchange = nil
        self.quietSince = MonotonicClock.nanoseconds()
        guard let context else { return }
        if isReadable, self.keepsAlive {
            if self.isReadHeld { self.holdReading(false) } else { self.process() }
        } else if isReadable {
            self.close(context)
        } else {
            // A client that is still sending must read the answer before it meets a reset.
            self.lingersUntil = self.quietSince + Self.lingerNanoseconds
            self.buffer = nil
            self.holdReading(false)
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if let exchange {
            exchange.clientWritability(context.channel.isWritable)
        } else if context.channel.isWritable, self.isReadHeld {
            // The client has begun to take what it was answered: that is no silence.
            self.quietSince = MonotonicClock.nanoseconds()
            self.holdReading(false)
        }
        context.fireChannelWritabilityChanged()
    }

    // MARK: - The end

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        self.exchange?.interrupt(.clientGone)
        self.exchange = nil
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { self.close(context) }

    /// What was answered while reading is sent before a hang-up that came with the request closes the connection.
    func channelReadComplete(context: ChannelHandlerContext) {
        if self.isFlushDue { self.flush() }
        context.fireChannelReadComplete()
    }

    /// Looked at once a second.
    func check(now: Int64) {
        guard let context else { return }
        if let lingersUntil {
            if now >= lingersUntil { self.close(context) }
            return
        }
        guard self.exchange == nil else { return }
        let settings = self.loop.core.settings
        // A head that has begun must be complete sooner than an idle connection is given up; what waits behind answers that are
        // not taken is not late for that.
        let isLate =
            self.buffer != nil && !self.isReadHeld
            ? now - max(self.headSince, self.quietSince) > settings.headNanoseconds
            : now - self.quietSince > settings.idleNanoseconds
        if isLate { self.close(context) }
    }

    func drain() {
        self.isDraining = true
        guard self.exchange == nil, self.buffer == nil, let context else { return }
        self.close(context)
    }
}
