import DequeModule
import NIOCore
import NIOHTTP1

/// One client's connection: asks what is due, one request after the other. What is due while an answer is awaited waits, and its
/// time counts from when it was due: a slow answer is not hidden by the requests it kept from being sent (coordinated omission).
final class LoadConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    /// Requests that may wait; more are failures.
    static let queueLimit = 20_000

    private struct Due {
        let index: Int
        let due: NIODeadline
    }

    private let plan: LoadPlan
    private let host: String
    private let key: String
    private var queue: Deque<Due> = []
    private var current: (due: Due, sent: NIODeadline)?
    private var status = 0
    private var context: ChannelHandlerContext?
    private(set) var tally: LoadTally

    init(plan: LoadPlan, host: String, key: String) {
        self.plan = plan
        self.host = host
        self.key = key
        self.tally = LoadTally(routeCount: plan.routes.count)
    }

    /// Nothing waits and nothing is under way.
    var isIdle: Bool { self.queue.isEmpty && self.current == nil }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func add(_ index: Int, due: NIODeadline) {
        guard self.context != nil, self.queue.count < Self.queueLimit else {
            return self.tally.fail(route: self.plan.route(index), "not sent")
        }
        self.queue.append(Due(index: index, due: due))
        self.sendNext()
    }

    private func sendNext() {
        guard self.current == nil, let context, let next = self.queue.popFirst() else { return }
        self.current = (next, .now())
        let request = self.plan.routes[self.plan.route(next.index)].make(next.index)
        var head = HTTPRequestHead(version: .http1_1, method: .init(rawValue: request.method), uri: request.path)
        head.headers.add(name: "host", value: self.host)
        head.headers.add(name: "x-api-key", value: self.key)
        for (name, value) in request.fields { head.headers.add(name: name, value: value) }
        if let body = request.body { head.headers.add(name: "content-length", value: String(body.utf8.count)) }
        context.write(self.wrapOutboundOut(.head(head)), promise: nil)
        if let body = request.body {
            context.write(
                self.wrapOutboundOut(.body(.byteBuffer(context.channel.allocator.buffer(string: body)))), promise: nil)
        }
        context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head(let head): self.status = Int(head.status.code)
        case .body: break
        case .end:
            guard let (due, sent) = self.current else { return }
            self.current = nil
            let now = NIODeadline.now()
            let route = self.plan.route(due.index)
            if self.status == 200 || self.status == 304 {
                self.tally.answered(route: route, sinceDue: now - due.due, sinceSent: now - sent)
            } else {
                self.tally.fail(route: route, "status \(self.status)")
            }
            self.sendNext()
        }
    }

    func channelInactive(context: ChannelHandlerContext) { self.end("connection lost") }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.end("\(type(of: error))")
        context.close(promise: nil)
    }

    /// Everything that is still open has failed.
    func end(_ reason: String) {
        if let (due, _) = self.current { self.tally.fail(route: self.plan.route(due.index), reason) }
        for due in self.queue { self.tally.fail(route: self.plan.route(due.index), reason) }
        self.current = nil
        self.queue = []
        self.context = nil
    }
}
