import Logging
import Model
import NIOCore
import NIOHPACK
import NIOHTTP2
import NIOPosix
import NIOSSL
import ServiceLifecycle
import Synchronization
import Testing

@testable import Gateway

@Suite("Clients that waste what they are given", .serialized)
struct LiveAbuseTests {
    @Test("a head that comes slowly ends its connection, though a byte comes again and again; so do empty lines")
    func slowHead() async throws {
        try await LiveGateway.with {
            $0.door.idleSeconds = 1
        } _: { live in
            let slow = try await RawConnection.open(port: live.port, certificate: live.certificate)
            let head = "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Filler: \(String(repeating: "a", count: 100))"
            #expect(try await slow.drip(head, seconds: 8))
            let empty = try await RawConnection.open(port: live.port, certificate: live.certificate)
            #expect(try await empty.drip(String(repeating: "\r\n", count: 50), seconds: 8))
        }
    }

    @Test("who does not speak TLS within its time is cut off")
    func handshake() async throws {
        try await LiveGateway.with {
            $0.door.idleSeconds = 1
        } _: { live in
            let silent = try await RawConnection.open(port: live.port)
            #expect(try await silent.drip("", seconds: 8))
            let slow = try await RawConnection.open(port: live.port)
            // The beginning of a TLS record that would go on for long.
            #expect(try await slow.drip("\u{16}\u{3}\u{1}\u{2}" + String(repeating: "\u{1}", count: 100), seconds: 8))
        }
    }

    @Test("beyond the number of connections a new one is closed, and there is room again when one ends")
    func connections() async throws {
        try await LiveGateway.with {
            $0.door.connectionLimit = 2
        } _: { live in
            let first = try await RawConnection.open(port: live.port, certificate: live.certificate)
            let second = try await RawConnection.open(port: live.port, certificate: live.certificate)
            for held in [first, second] {
                await held.send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                try await LiveFailureTests.eventually { held.text.hasPrefix("HTTP/1.1 200") }
            }
            let third = try await RawConnection.open(port: live.port, certificate: live.certificate)
            try await LiveFailureTests.eventually { !third.isOpen }
            #expect(first.isOpen && second.isOpen)
            await first.close()
            try await LiveFailureTests.eventually {
                let next = try await RawConnection.open(port: live.port, certificate: live.certificate)
                await next.send("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                try await Task.sleep(for: .milliseconds(50))
                return next.text.hasPrefix("HTTP/1.1 200")
            }
        }
    }

    @Test("requests that lead nowhere are paid for by their address, or by the caller who sends them")
    func leadingNowhere() async throws {
        try await LiveGateway.with {
            $0.door.peerPolicy = GCRA(burst: 6, refillPerSecond: 0.01)
            $0.door.callerPolicy = GCRA(burst: 4, refillPerSecond: 0.01)
        } _: { live in
            let key = try await live.key()
            let other = try await live.key()
            for known in [key, other] { #expect(try await live.send("GET", "/v1/events", key: known).status == 200) }
            var statuses: [Int] = []
            for _ in 0..<4 { statuses.append(try await live.send("GET", "/nowhere", key: key).status) }
            #expect(statuses == [404, 404, 404, 429])
            statuses = []
            for (method, target) in [
                ("GET", "/nowhere"), ("PATCH", "/v1/events"), ("GET", "/v1/%2e%2e"), ("GET", "/nowhere"),
                ("OPTIONS", "/v1/events"),
            ] { statuses.append(try await live.send(method, target).status) }
            #expect(statuses == [404, 405, 400, 404, 405])
            // Not even a head: it costs the last one.
            for expected in ["400", "429"] {
                let raw = try await RawConnection.open(port: live.port, certificate: live.certificate)
                await raw.send("GET / HTTP/9.9\r\n\r\n")
                try await LiveFailureTests.eventually { raw.text.hasPrefix("HTTP/1.1 \(expected)") }
            }
            #expect(try await live.send("GET", "/nowhere").status == 429)
            #expect(try await live.send("GET", "/v1/events", key: other).status == 200)
        }
    }

    @Test("an HTTP/2 client that does not take its answer loses the stream, and the connection with the last one")
    func unread() async throws {
        try await LiveGateway.with {
            $0.door.idleSeconds = 1
        } _: { live in
            let key = try await live.key()
            let (connection, multiplexer) = try await Self.connectHTTP2(live)
            let (stream, answered) = try await Self.ask(multiplexer, connection, "/v1/events", key: key)
            try await LiveFailureTests.eventually { answered.withLock { $0 } }
            // The answer has come so far as its head; nothing of its body may.
            try await LiveFailureTests.eventually { !stream.isActive }
            try await LiveFailureTests.eventually { !connection.isActive }
        }
    }

    /// A client whose windows are closed.
    private static func connectHTTP2(
        _ live: LiveGateway
    ) async throws -> (any Channel, NIOHTTP2Handler.StreamMultiplexer) {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.trustRoots = .file(live.certificate)
        tls.applicationProtocols = ["h2"]
        let context = try NIOSSLContext(configuration: tls)
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        NIOSSLClientHandler(context: context, serverHostname: "localhost"))
                }
            }
            .connect(host: "127.0.0.1", port: live.port).get()
        let multiplexer = try await channel.eventLoop.submit {
            var connection = NIOHTTP2Handler.ConnectionConfiguration()
            connection.initialSettings = [HTTP2Setting(parameter: .initialWindowSize, value: 0)]
            return try channel.pipeline.syncOperations.configureHTTP2Pipeline(
                mode: .client, connectionConfiguration: connection, streamConfiguration: .init()
            ) { $0.eventLoop.makeSucceededVoidFuture() }
        }.get()
        return (channel, multiplexer)
    }

    private final class Reader: ChannelInboundHandler {
        typealias InboundIn = HTTP2Frame.FramePayload
        let onHead: @Sendable () -> Void
        init(onHead: @escaping @Sendable () -> Void) { self.onHead = onHead }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            if case .headers = self.unwrapInboundIn(data) { self.onHead() }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }

    private final class Flag: Sendable {
        private let value = Mutex(false)
        func set() { self.value.withLock { $0 = true } }
        func withLock<Result>(_ body: (Bool) -> Result) -> Result { self.value.withLock { body($0) } }
    }

    private static func ask(
        _ multiplexer: NIOHTTP2Handler.StreamMultiplexer, _ connection: any Channel, _ path: String, key: APIKeyText
    ) async throws -> (any Channel, Flag) {
        let answered = Flag()
        let stream = try await multiplexer.createStreamChannel { stream in
            stream.eventLoop.makeCompletedFuture {
                try stream.pipeline.syncOperations.addHandler(Reader { answered.set() })
            }
        }.get()
        let headers = HPACKHeaders([
            (":method", "GET"), (":path", path), (":scheme", "https"), (":authority", "localhost"),
            ("x-api-key", key.text),
        ])
        try await stream.writeAndFlush(HTTP2Frame.FramePayload.headers(.init(headers: headers, endStream: true)))
        return (stream, answered)
    }

    @Test("an orderly stop takes as long as the settings give it, not longer")
    func drain() async throws {
        var settings = DoorSettings()
        #expect(settings.drainLimit == .seconds(17))
        settings.shutdownGraceSeconds = 60
        settings.shutdownDrainSeconds = 5
        #expect(settings.drainLimit == .seconds(54))
        try await LiveGateway.with {
            $0.door.shutdownGraceSeconds = 4
            $0.door.shutdownDrainSeconds = 1
        } _: { live in
            let key = try await live.key()
            let slow = Task { try await live.send("GET", "/v1/events/slow", key: key) }
            try await LiveFailureTests.eventually { live.builder.begun == 1 }
            let ports = Ports()
            let second = try await PublicListener(
                settings: live.settings, core: live.gateway.core, certificates: live.gateway.certificates,
                logger: .quiet, onRunning: { await ports.set("second", $0) })
            let group = ServiceGroup(services: [second], logger: .quiet)
            let run = Task { try await group.run() }
            let port = try await ports.wait("second")
            let raw = try await RawConnection.open(port: port, certificate: live.certificate)
            await raw.send(
                "GET /v1/events/slow HTTP/1.1\r\nHost: localhost\r\nX-API-Key: \(key.text)\r\n\r\n")
            try await LiveFailureTests.eventually { live.builder.begun == 2 }
            let clock = ContinuousClock()
            let begin = clock.now
            await group.triggerGracefulShutdown()
            _ = await run.result
            // Two seconds by these settings; the request would take twenty.
            #expect(clock.now - begin >= .seconds(1.5) && clock.now - begin < .seconds(6), "\(clock.now - begin)")
            slow.cancel()
            _ = await slow.result
        }
    }
}

@Suite("The way from plain HTTP to TLS", .serialized)
struct RedirectTests {
    private func with(
        connectionLimit: Int = 10, _ body: @escaping @Sendable (Int) async throws -> Void
    ) async throws {
        let ports = Ports()
        let listener = RedirectListener(
            host: "127.0.0.1", port: 0, securePort: 8_443, headerLimit: 4_096, connectionLimit: connectionLimit,
            timeLimit: .seconds(1), logger: .quiet, onRunning: { await ports.set("redirect", $0) })
        let group = ServiceGroup(services: [listener], logger: .quiet)
        let run = Task { try await group.run() }
        let port = try await ports.wait("redirect")
        do {
            try await body(port)
        } catch {
            await group.triggerGracefulShutdown()
            throw error
        }
        await group.triggerGracefulShutdown()
        try await run.value
    }

    @Test("a request is told where TLS is, and what is none that it is none")
    func answers() async throws {
        try await self.with { port in
            let good = try await RawConnection.open(port: port)
            await good.send("GET /v1/events?limit=1 HTTP/1.1\r\nHost: a.example:80\r\n\r\n")
            try await LiveFailureTests.eventually { !good.isOpen }
            #expect(good.text.hasPrefix("HTTP/1.1 308 Permanent Redirect\r\n"))
            #expect(good.text.contains("location: https://a.example:8443/v1/events?limit=1\r\n"))
            for text in ["GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "\u{16}\u{3}\u{1}\r\n\r\n"] {
                let bad = try await RawConnection.open(port: port)
                await bad.send(text)
                try await LiveFailureTests.eventually { !bad.isOpen }
                #expect(bad.text.hasPrefix("HTTP/1.1 400 Bad Request\r\n"), "\(text)")
                #expect(bad.text.contains("content-type: application/problem+json\r\n"))
                #expect(bad.text.contains(#""code":"invalid-request""#))
            }
        }
    }

    @Test("a connection lasts as long as it may, whatever comes on it, and there are only so many")
    func bounded() async throws {
        try await self.with(connectionLimit: 2) { port in
            let slow = try await RawConnection.open(port: port)
            let silent = try await RawConnection.open(port: port)
            try await Task.sleep(for: .milliseconds(100))
            let third = try await RawConnection.open(port: port)
            try await LiveFailureTests.eventually { !third.isOpen }
            #expect(slow.isOpen && silent.isOpen)
            #expect(try await slow.drip("GET / HTTP/1.1\r\nX: " + String(repeating: "a", count: 100), seconds: 8))
            try await LiveFailureTests.eventually { !silent.isOpen }
            let next = try await RawConnection.open(port: port)
            await next.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            try await LiveFailureTests.eventually { next.text.hasPrefix("HTTP/1.1 308") }
        }
    }
}
