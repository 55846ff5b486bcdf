import NIOCore

/// One HTTP/1.1 connection to a service, on the event loop of the client it works for; one exchange at a time.
final class UpstreamConnection: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = Never
    typealias OutboundOut = ByteBuffer

    let address: String
    /// The `host` line of requests, with its line end.
    let hostLine: String
    private var context: ChannelHandlerContext?
    private var exchange: Exchange?
    private var reader = HTTP1AnswerReader()
    /// What has come in and is not read yet; nil when there is nothing, so that the library can use the memory again.
    private var buffer: ByteBuffer?
    private var isChunked = false
    private var isBodySent = true
    private var isReadHeld = false
    private var isReadWanted = false
    private var isReading = false
    /// When it became idle, monotonic nanoseconds.
    var idleSince: Int64 = 0
    /// Where it lies while it is idle, and where it lay before.
    var shelf: UpstreamPool.Shelf?
    var home: UpstreamPool.Shelf?

    init(address: String) {
        self.address = address
        self.hostLine = "host: \(UpstreamAddress.authority(address))\r\n"
    }

    var isWritable: Bool { self.context?.channel.isWritable ?? false }
    /// Whether another request may be sent on it.
    var isUsable: Bool {
        self.context != nil && self.reader.isKeepAlive && self.reader.isBetweenAnswers && self.isBodySent
            && self.buffer == nil
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    // MARK: - Sending

    func begin(_ exchange: Exchange) {
        self.exchange = exchange
        self.isReadHeld = false
    }

    /// Writes; ``flush()`` sends.
    /// - Parameter isWhole: nothing of the body follows.
    func send(head: ByteBuffer, body: ByteBuffer?, isChunked: Bool, isWhole: Bool) {
        guard let context else { return }
        self.isChunked = isChunked
        self.isBodySent = isWhole
        var head = head
        if let body, body.readableBytes > 0 {
            // A short body travels with its head.
            if !isChunked, body.readableBytes <= 16 << 10 {
                head.writeImmutableBuffer(body)
                context.write(self.wrapOutboundOut(head), promise: nil)
            } else {
                context.write(self.wrapOutboundOut(head), promise: nil)
                self.write(piece: body, context: context)
            }
        } else {
            context.write(self.wrapOutboundOut(head), promise: nil)
        }
        if isWhole, isChunked { self.writeLastChunk(context) }
    }

    /// Sends what is written.
    func flush() { self.context?.flush() }

    func send(piece: ByteBuffer) {
        guard let context else { return }
        self.write(piece: piece, context: context)
        context.flush()
    }

    func endBody() {
        guard let context, !self.isBodySent else { return }
        self.isBodySent = true
        guard self.isChunked else { return }
        self.writeLastChunk(context)
        context.flush()
    }

    private func write(piece: ByteBuffer, context: ChannelHandlerContext) {
        if self.isChunked {
            ChunkFraming.frame(piece) { context.write(self.wrapOutboundOut($0), promise: nil) }
        } else if piece.readableBytes > 0 {
            context.write(self.wrapOutboundOut(piece), promise: nil)
        }
    }

    private func writeLastChunk(_ context: ChannelHandlerContext) {
        context.write(self.wrapOutboundOut(ChunkFraming.last), promise: nil)
    }

    // MARK: - Receiving

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var piece = self.unwrapInboundIn(data)
        if self.buffer == nil { self.buffer = piece } else { self.buffer?.writeBuffer(&piece) }
        self.readOn()
    }

    private func readOn() {
        // The end of an answer may start the next exchange on this connection: it must not read inside this loop again.
        guard !self.isReading else { return }
        self.isReading = true
        defer { self.isReading = false }
        while let exchange, !self.isReadHeld, let event = self.next() {
            switch event {
            case .head(let answer): exchange.serviceAnswered(answer)
            case .body(let piece): exchange.serviceSent(piece)
            case .end: exchange.serviceFinished()
            case .refused: exchange.serviceFailed(.broken)
            }
        }
        // Nobody asked for what an idle connection says.
        if self.exchange == nil, self.buffer != nil { self.close() }
    }

    /// What the bytes at hand say next.
    private func next() -> HTTP1AnswerReader.Event? {
        guard var bytes = self.buffer else { return self.reader.next() }
        self.buffer = nil
        let event = self.reader.next(&bytes)
        if bytes.readableBytes > 0 { self.buffer = bytes }
        return event
    }

    func read(context: ChannelHandlerContext) {
        if self.isReadHeld { self.isReadWanted = true } else { context.read() }
    }

    func holdReading(_ isHeld: Bool) {
        guard self.isReadHeld != isHeld else { return }
        self.isReadHeld = isHeld
        guard !isHeld else { return }
        self.readOn()
        if self.isReadWanted, !self.isReadHeld {
            self.isReadWanted = false
            self.context?.read()
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        self.exchange?.serviceWritability(context.channel.isWritable)
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        let exchange = self.exchange
        self.isReadHeld = false
        self.readOn()
        if let exchange, self.exchange === exchange {
            if self.reader.endsWithConnection { exchange.serviceFinished() } else { exchange.serviceFailed(.broken) }
        }
        self.shelf?.connections.removeAll { $0 === self }
        self.shelf = nil
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    // MARK: - Letting go

    /// Ends the work for its exchange.
    func release() {
        self.exchange = nil
        guard self.isReadHeld else { return }
        self.isReadHeld = false
        if self.isReadWanted {
            self.isReadWanted = false
            self.context?.read()
        }
    }

    func close() {
        let context = self.context
        self.context = nil
        context?.close(promise: nil)
    }
}
