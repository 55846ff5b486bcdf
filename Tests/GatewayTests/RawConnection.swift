import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

/// A client that sends what it is told, byte by byte if need be.
struct RawConnection: Sendable {
    private final class Collector: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        let bytes = Mutex(ByteBuffer())

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            var piece = self.unwrapInboundIn(data)
            self.bytes.withLock { _ = $0.writeBuffer(&piece) }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }

    private let channel: any Channel
    private let collector: Collector

    /// - Parameter certificate: file of the authority to trust; nil: no TLS.
    static func open(port: Int, certificate: String? = nil) async throws -> RawConnection {
        let collector = Collector()
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let certificate {
                        var tls = TLSConfiguration.makeClientConfiguration()
                        tls.trustRoots = .file(certificate)
                        try pipeline.addHandler(
                            NIOSSLClientHandler(
                                context: NIOSSLContext(configuration: tls), serverHostname: "localhost"))
                    }
                    try pipeline.addHandler(collector)
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
        return RawConnection(channel: channel, collector: collector)
    }

    var isOpen: Bool { self.channel.isActive }
    var bytes: ByteBuffer { self.collector.bytes.withLock { $0 } }
    var text: String { self.collector.bytes.withLock { String(buffer: $0) } }

    func send(_ text: String) async { try? await self.channel.writeAndFlush(ByteBuffer(string: text)) }

    /// Whether what comes in is taken from the socket.
    func setReading(_ isReading: Bool) async throws {
        try await self.channel.setOption(.autoRead, value: isReading).get()
    }

    func close() async { try? await self.channel.close() }

    /// Sends one byte every 200 ms until the other side closes, at most for so many seconds.
    /// - Returns: whether it closed.
    func drip(_ text: String, seconds: Int) async throws -> Bool {
        var left = ByteBuffer(string: text)
        for _ in 0..<seconds * 5 {
            guard self.isOpen else { return true }
            if let byte = left.readSlice(length: 1) { try? await self.channel.writeAndFlush(byte) }
            try await Task.sleep(for: .milliseconds(200))
        }
        return !self.isOpen
    }
}
