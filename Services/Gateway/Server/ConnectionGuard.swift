import Foundation
import HTTPTypes
import Model
import NIOCore
import NIOHTTP1
import NIOHTTPTypes

/// Stands in each HTTP/1.1 connection and each HTTP/2 stream: keeps deadlines on the event loop, notices a client that
/// has gone, and answers what cannot be parsed with a problem.
final class ConnectionGuard: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    struct SendContinue: Sendable {}

    struct Limits: Sendable {
        /// The gateway's own bound on a whole exchange, and how long it waits for the next piece of a body.
        var requestMs: Int
        var bodyStallMs: Int
    }

    private struct Running {
        let exchange: Exchange
        let deadline: Scheduled<Void>
        var isResponseStarted = false
    }

    private let limits: Limits
    private let registry: ConnectionRegistry
    private var running: [Running] = []
    private var bodyTimer: RepeatedTask?

    init(limits: Limits, registry: ConnectionRegistry) {
        self.limits = limits
        self.registry = registry
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head(let head):
            self.begin(head, context: context)
        case .end:
            self.stopBodyTimer()
        case .body:
            break
        }
        context.fireChannelRead(data)
    }

    private func begin(_ head: HTTPRequest, context: ChannelHandlerContext) {
        let exchange = Exchange(channel: context.channel, startedAt: MonotonicClock.nanoseconds())
        // A wrong value is refused later; until then the gateway's own limit holds.
        let asked = head.headerFields[values: .requestTimeout]
        let milliseconds = (try? RequestDeadline.milliseconds(asked: asked, limitMs: self.limits.requestMs))
        let deadline = context.eventLoop.scheduleTask(
            in: .milliseconds(Int64(milliseconds ?? self.limits.requestMs))
        ) {
            exchange.interrupt(.deadlinePassed)
        }
        self.running.append(Running(exchange: exchange, deadline: deadline))
        self.registry.append(exchange, for: context.channel)
        let stallMs = Int64(self.limits.bodyStallMs)
        self.stopBodyTimer()
        guard head.method == .post || head.method == .put else { return }
        let step = TimeAmount.milliseconds(max(10, stallMs / 4))
        self.bodyTimer = context.eventLoop.scheduleRepeatedTask(initialDelay: step, delay: step) { _ in
            exchange.checkBody(now: MonotonicClock.nanoseconds(), limit: stallMs * 1_000_000)
        }
    }

    private func stopBodyTimer() {
        self.bodyTimer?.cancel()
        self.bodyTimer = nil
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch self.unwrapOutboundIn(data) {
        case .head(let head):
            if head.status.code >= 200, !self.running.isEmpty { self.running[0].isResponseStarted = true }
            context.write(data, promise: promise)
        case .body:
            context.write(data, promise: promise)
        case .end:
            let done = self.running.isEmpty ? nil : self.running.removeFirst()
            done?.deadline.cancel()
            guard done?.exchange.mustClose == true else {
                context.write(data, promise: promise)
                return
            }
            context.writeAndFlush(data, promise: promise)
            self.closeGently(context)
        }
    }

    /// Closes a little later, so that a client that is still sending reads the answer before it meets a reset.
    private func closeGently(_ context: ChannelHandlerContext) {
        self.stopBodyTimer()
        let channel = context.channel
        context.eventLoop.scheduleTask(in: .milliseconds(100)) { channel.close(promise: nil) }
    }

    func triggerUserOutboundEvent(context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?) {
        guard event is SendContinue else {
            context.triggerUserOutboundEvent(event, promise: promise)
            return
        }
        promise?.succeed()
        guard let first = self.running.first, !first.isResponseStarted else { return }
        context.writeAndFlush(
            self.wrapOutboundOut(.head(HTTPResponse(status: .continue))), promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed? = event as? ChannelEvent { self.clientHasGone() }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.clientHasGone()
        self.registry.remove(context.channel)
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.clientHasGone()
        self.registry.remove(context.channel)
    }

    private func clientHasGone() {
        self.stopBodyTimer()
        for entry in self.running {
            entry.deadline.cancel()
            entry.exchange.interrupt(.clientGone)
        }
        self.running = []
    }

    /// A request that the HTTP/1.1 parser refuses is answered here, because the framework would answer without a body.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? HTTPParserError, self.running.isEmpty else {
            context.fireErrorCaught(error)
            return
        }
        let isOverflow = error == .headerOverflow
        let problem =
            isOverflow
            ? Problem(.headersTooLarge, detail: "The header fields are longer or more than this gateway reads.")
            : Problem(.invalidRequest, detail: "The request is not HTTP that this gateway can read.")
        let rendered = ProblemBody.render(problem)
        var head = HTTPResponse(status: HTTPResponse.Status(code: problem.status))
        head.headerFields[.contentType] = ProblemBody.mediaType
        head.headerFields[.contentLength] = String(rendered.count)
        head.headerFields[.connection] = "close"
        context.write(self.wrapOutboundOut(.head(head)), promise: nil)
        context.write(self.wrapOutboundOut(.body(ByteBuffer(bytes: rendered))), promise: nil)
        context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
        self.closeGently(context)
    }
}
