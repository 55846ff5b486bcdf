import Logging
import Model
import NIOCore
import NIOPosix
import ServiceLifecycle

/// Plain HTTP, and nothing on it but the way to TLS: 308 to the same host and path.
struct RedirectListener: Service {
    let host: String
    let port: Int
    /// Where TLS is spoken; left out of the address when it is 443.
    let securePort: Int
    let headerLimit: Int
    /// Connections at once.
    let connectionLimit: Int
    /// How long one may last, whatever comes on it.
    let timeLimit: TimeAmount
    let logger: Logger
    var onRunning: @Sendable (any Channel) async -> Void = { _ in }

    func run() async throws {
        let securePort = self.securePort
        let headerLimit = self.headerLimit
        let timeLimit = self.timeLimit
        let places = InFlight(limit: self.connectionLimit)
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard places.enter() else { throw ChannelError.connectPending }
                    channel.closeFuture.whenComplete { _ in places.leave() }
                    try channel.pipeline.syncOperations.addHandler(
                        RedirectHandler(securePort: securePort, headerLimit: headerLimit, timeLimit: timeLimit))
                }
            }
            .bind(host: self.host, port: self.port).get()
        self.logger.info("redirects to TLS", metadata: ["address": "\(listener.localAddress?.description ?? "")"])
        await self.onRunning(listener)
        try? await gracefulShutdown()
        try? await listener.close()
    }

    /// The address of `target` over TLS; nil when the request names no host that may be repeated.
    static func location(host: String?, target: String, securePort: Int) -> String? {
        guard let host, !host.isEmpty, target.hasPrefix("/"), target.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
        else { return nil }
        var name = Substring(host)
        if let colon = host.lastIndex(of: ":"), !host.hasSuffix("]") { name = host[..<colon] }
        let isPlain = name.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x3A, 0x5B, 0x5D: true
            default: false
            }
        }
        guard isPlain, !name.isEmpty else { return nil }
        return "https://\(name)\(securePort == 443 ? "" : ":\(securePort)")\(target)"
    }
}

/// Answers the first request of a connection and closes it.
final class RedirectHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let securePort: Int
    private let timeLimit: TimeAmount
    private var end: Scheduled<Void>?
    private var reader: HTTP1RequestReader
    private var buffer = ByteBuffer()
    private var isDone = false

    init(securePort: Int, headerLimit: Int, timeLimit: TimeAmount) {
        self.securePort = securePort
        self.timeLimit = timeLimit
        self.reader = HTTP1RequestReader(headerLimit: headerLimit)
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.end = context.eventLoop.assumeIsolated().scheduleTask(in: self.timeLimit) { context.close(promise: nil) }
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.end?.cancel() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.isDone else { return }
        var piece = self.unwrapInboundIn(data)
        self.buffer.writeBuffer(&piece)
        guard let event = self.reader.next(&self.buffer) else { return }
        self.isDone = true
        var answer = ByteBuffer()
        if case .head(let head) = event,
            let location = RedirectListener.location(
                host: head.authority, target: head.target, securePort: self.securePort)
        {
            answer.writeString(
                "HTTP/1.1 308 Permanent Redirect\r\nlocation: \(location)\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
        } else {
            let problem = ProblemBody.render(
                Problem(.invalidRequest, detail: "The request names no host and path that can be asked for over TLS."))
            answer.writeString(
                "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: \(problem.count)\r\n"
                    + "connection: close\r\n\r\n")
            answer.writeBytes(problem)
        }
        context.writeAndFlush(self.wrapOutboundOut(answer), promise: nil)
        context.close(promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
