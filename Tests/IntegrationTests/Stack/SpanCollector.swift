import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// A collector of spans: takes what is sent, or refuses it for good, and keeps nothing.
final class SpanCollector: Sendable {
    private final class Answer: Sendable {
        let status = Mutex(HTTPResponseStatus.ok)
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        private let answer: Answer
        init(answer: Answer) { self.answer = answer }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard case .end = self.unwrapInboundIn(data) else { return }
            let head = HTTPResponseHead(
                version: .http1_1, status: self.answer.status.withLock { $0 }, headers: ["content-length": "0"])
            context.write(self.wrapOutboundOut(.head(head)), promise: nil)
            context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
        }
    }

    private let answer: Answer
    private let channel: any Channel

    private init(answer: Answer, channel: any Channel) {
        self.answer = answer
        self.channel = channel
    }

    var port: Int { self.channel.localAddress?.port ?? 0 }

    static func start() async throws -> SpanCollector {
        let answer = Answer()
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Handler(answer: answer))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return SpanCollector(answer: answer, channel: channel)
    }

    /// From now on every span is refused, and not to be sent again.
    func refuse() { self.answer.status.withLock { $0 = .badRequest } }

    func stop() async throws { try await self.channel.close().get() }
}
