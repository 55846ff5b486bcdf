import HTTPTypes
import Model
import NIOCore
import NIOHPACK
import NIOHTTP2

/// One HTTP/2 stream: one request and its answer.
final class HTTP2Stream: ChannelDuplexHandler, ClientSide {
    typealias InboundIn = HTTP2Frame.FramePayload
    typealias OutboundIn = Never
    typealias OutboundOut = HTTP2Frame.FramePayload

    /// What a client that was answered early may still send before it is told to stop: clients that have their body at hand
    /// finish it, and a reset for each of them would make them give up the whole connection.
    static let lateBytes = 1 << 20
    static let lateTime = TimeAmount.seconds(2)

    private let loop: LoopState
    private let peer: PeerText
    /// Of the whole connection.
    private let credentials: CredentialMemory
    private var lateBytes = 0
    private var isAnswerOut = false
    private var context: ChannelHandlerContext?
    private var exchange: Exchange?
    private var hasBegun = false
    private var isBodyEnded = false
    private var isReadHeld = false
    private var isReadWanted = false
    /// Where the loop keeps this stream while its answer is written and not taken yet, and since when.
    var unsentPlace: Int?
    private(set) var unsentSince: Int64 = 0

    init(loop: LoopState, peer: PeerText, credentials: CredentialMemory) {
        self.credentials = credentials
        self.loop = loop
        self.peer = peer
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        self.loop.remove(unsent: self)
    }

    // MARK: - Reading

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .headers(let headers):
            if self.hasBegun {
                // Trailers say nothing that a service is told.
                if headers.endStream { self.endBody() }
            } else {
                self.hasBegun = true
                self.isBodyEnded = headers.endStream
                self.begin(headers)
            }
        case .data(let data):
            if case .byteBuffer(let piece) = data.data, piece.readableBytes > 0 { self.take(piece) }
            if data.endStream { self.endBody() }
        default: break
        }
    }

    private func begin(_ headers: HTTP2Frame.FramePayload.Headers) {
        let head: RequestHead
        do throws(HeadRefusal) {
            head = try RequestHead(headers.headers, isEnded: headers.endStream)
        } catch {
            let nothing = RequestHead(
                method: "-", target: "-", authority: nil, version: .http2,
                fields: FieldBlock(table: HopByHop.requestTable), framing: .none, isKeepAlive: true)
            let exchange = Exchange(
                head: nothing, peer: self.peer, credentials: self.credentials, client: self, loop: self.loop)
            self.exchange = exchange
            exchange.startRefused(Problem(.invalidRequest, detail: "The header fields cannot be read."))
            return
        }
        let exchange = Exchange(
            head: head, peer: self.peer, credentials: self.credentials, client: self, loop: self.loop)
        self.exchange = exchange
        exchange.start()
    }

    private func take(_ piece: ByteBuffer) {
        if let exchange {
            exchange.take(piece: piece)
            return
        }
        self.lateBytes += piece.readableBytes
        if self.isAnswerOut, self.lateBytes > Self.lateBytes { self.stopClient() }
    }

    private func endBody() {
        self.isBodyEnded = true
        self.exchange?.bodyEnded()
    }

    func read(context: ChannelHandlerContext) {
        if self.isReadHeld { self.isReadWanted = true } else { context.read() }
    }

    func holdReading(_ isHeld: Bool) {
        guard self.isReadHeld != isHeld else { return }
        self.isReadHeld = isHeld
        guard !isHeld, self.isReadWanted else { return }
        self.isReadWanted = false
        self.context?.read()
    }

    // MARK: - Writing

    var isWritable: Bool { self.context?.channel.isWritable ?? false }

    func sendContinue() {
        let headers = HTTP2Frame.FramePayload.Headers(headers: [":status": "100"], endStream: false)
        self.context?.writeAndFlush(self.wrapOutboundOut(.headers(headers)), promise: nil)
    }

    func beginHead(status: Int, room: Int) -> ByteBuffer { ByteBuffer() }

    func send(head: ByteBuffer, status: Int, length: Int?, body: ByteBuffer?, isWhole: Bool) {
        guard let context else { return }
        var headers = HPACKHeaders([(":status", String(status))])
        headers.reserveCapacity(16)
        for line in head.readableBytesView.split(separator: 0x0A) {
            guard let colon = line.firstIndex(of: 0x3A) else { continue }
            let name = String(decoding: line[..<colon], as: UTF8.self).lowercased()
            let value = String(decoding: line[(colon + 1)...], as: UTF8.self).drop { $0 == " " || $0 == "\t" }
            headers.add(name: name, value: String(value.utf8.last == 0x0D ? value.dropLast() : value))
        }
        if let length { headers.add(name: "content-length", value: String(length)) }
        let isEnd = isWhole && (body?.readableBytes ?? 0) == 0
        context.write(
            self.wrapOutboundOut(.headers(.init(headers: headers, endStream: isEnd))),
            promise: isEnd ? self.lastWrite() : nil)
        if let body, body.readableBytes > 0 {
            context.write(
                self.wrapOutboundOut(.data(.init(data: .byteBuffer(body), endStream: isWhole))),
                promise: isWhole ? self.lastWrite() : nil)
        }
        context.flush()
    }

    func send(piece: ByteBuffer) {
        guard piece.readableBytes > 0 else { return }
        self.context?.writeAndFlush(
            self.wrapOutboundOut(.data(.init(data: .byteBuffer(piece), endStream: false))), promise: nil)
    }

    func finish() {
        self.context?.writeAndFlush(
            self.wrapOutboundOut(.data(.init(data: .byteBuffer(ByteBuffer()), endStream: true))),
            promise: self.lastWrite())
    }

    /// When the answer is out and the client still sends, it may go on for a little while.
    private func lastWrite() -> EventLoopPromise<Void>? {
        guard !self.isBodyEnded, let context else { return nil }
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenSuccess {
            guard !self.isBodyEnded, let context = self.context else { return }
            self.isAnswerOut = true
            if self.lateBytes > Self.lateBytes { self.stopClient() }
            context.eventLoop.assumeIsolated().scheduleTask(in: Self.lateTime) { self.stopClient() }
        }
        return promise
    }

    /// Tells a client that was answered to stop sending, without an error (RFC 9113, section 8.1).
    private func stopClient() {
        guard !self.isBodyEnded else { return }
        self.isBodyEnded = true
        self.context?.writeAndFlush(self.wrapOutboundOut(.rstStream(.noError)), promise: nil)
    }

    /// The client does not take what was written.
    func giveUp() {
        self.isBodyEnded = true
        self.context?.writeAndFlush(self.wrapOutboundOut(.rstStream(.cancel)), promise: nil)
    }

    func cutOff() { self.context?.writeAndFlush(self.wrapOutboundOut(.rstStream(.internalError)), promise: nil) }

    func exchangeIsOver(isReadable: Bool) {
        self.exchange = nil
        if self.context != nil {
            self.unsentSince = MonotonicClock.nanoseconds()
            self.loop.add(unsent: self)
        }
        // What still comes in is read over, so that the connection's window stays open for other streams.
        self.holdReading(false)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        self.exchange?.clientWritability(context.channel.isWritable)
        context.fireChannelWritabilityChanged()
    }

    // MARK: - The end

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        self.loop.remove(unsent: self)
        self.exchange?.interrupt(.clientGone)
        self.exchange = nil
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // The library closes the stream itself after an error of the protocol.
        self.exchange?.interrupt(.clientGone)
        self.exchange = nil
    }
}
