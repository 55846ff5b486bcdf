import HTTPTypes
import Hummingbird
import NIOCore
import NIOHTTPTypes
import Telemetry

/// Stands before Hummingbird on each connection to a service: answers what is at hand without leaving the event loop, tells
/// ``CallWatch`` when the peer has hung up, and closes connections on which nothing happens.
final class ServiceConnectionHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private let ready: ReadyDoor?
    private let watch: CallWatch
    private let idleTimeout: TimeAmount
    private var id: CallWatch.ConnectionID?
    /// The head of a request that may be answered here once it is known to have no body.
    private var held: HTTPRequest?
    /// Requests that went on and are not answered yet: answers keep the order of requests, so none is given here meanwhile.
    private var atWork = 0
    private var isReadingRequest = false
    private var mustFlush = false
    private var lastEvent = NIODeadline.uptimeNanoseconds(0)
    private var idleCheck: Scheduled<Void>?
    private var dates = DateLine()

    init(ready: ReadyDoor?, watch: CallWatch, idleTimeout: TimeAmount) {
        self.ready = ready
        self.watch = watch
        self.idleTimeout = idleTimeout
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let id = ObjectIdentifier(context.channel)
        self.id = id
        self.watch.opened(id)
        self.lastEvent = context.eventLoop.now
        self.checkIdleness(context, in: self.idleTimeout)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.idleCheck?.cancel()
        if let id { self.watch.closed(id) }
        self.id = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        if let id { self.watch.hungUp(id) }
        context.fireChannelInactive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? ChannelEvent, event == .inputClosed, let id { self.watch.hungUp(id) }
        context.fireUserInboundEventTriggered(event)
    }

    // MARK: - Requests

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.lastEvent = context.eventLoop.now
        switch self.unwrapInboundIn(data) {
        case .head(let request):
            self.isReadingRequest = true
            if self.atWork == 0, let ready, ready.mayAnswer(request) {
                self.held = request
            } else {
                self.atWork += 1
                context.fireChannelRead(data)
            }
        case .body:
            self.passOn(context)
            context.fireChannelRead(data)
        case .end(let trailers):
            self.isReadingRequest = false
            if let held, trailers == nil, let answer = self.ready?.answer(held) {
                self.held = nil
                self.write(answer, context)
            } else {
                self.passOn(context)
                context.fireChannelRead(data)
            }
        }
    }

    private func passOn(_ context: ChannelHandlerContext) {
        guard let held else { return }
        self.held = nil
        self.atWork += 1
        context.fireChannelRead(self.wrapInboundOut(.head(held)))
    }

    private func write(_ answer: ReadyAnswer, _ context: ChannelHandlerContext) {
        self.dates.refresh(nowMs: WallClock.milliseconds())
        var headers = answer.headers
        headers[.date] = self.dates.value
        context.write(
            self.wrapOutboundOut(.head(HTTPResponse(status: answer.status, headerFields: headers))), promise: nil)
        if let body = answer.body { context.write(self.wrapOutboundOut(.body(body)), promise: nil) }
        context.write(self.wrapOutboundOut(.end(nil)), promise: nil)
        self.mustFlush = true
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if self.mustFlush {
            self.mustFlush = false
            context.flush()
        }
        context.fireChannelReadComplete()
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if case .end = self.unwrapOutboundIn(data) {
            // A head that cannot be read is answered, too, and never was at work.
            self.atWork = max(0, self.atWork - 1)
            self.lastEvent = context.eventLoop.now
        }
        context.write(data, promise: promise)
    }

    // MARK: - Idleness

    private func checkIdleness(_ context: ChannelHandlerContext, in time: TimeAmount) {
        self.idleCheck = context.eventLoop.assumeIsolated().scheduleTask(in: time) {
            let quiet = context.eventLoop.now - self.lastEvent
            // What is being answered may take its time; a request that does not arrive may not.
            if self.atWork > 0, !self.isReadingRequest {
                self.checkIdleness(context, in: self.idleTimeout)
            } else if quiet >= self.idleTimeout {
                context.close(promise: nil)
            } else {
                self.checkIdleness(context, in: self.idleTimeout - quiet)
            }
        }
    }
}
