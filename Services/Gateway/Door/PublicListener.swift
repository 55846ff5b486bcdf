import CoreMetrics
import Logging
import NIOCore
import NIOHTTP2
import NIOPosix
import NIOSSL
import NIOTLS
import ServiceLifecycle
import Synchronization

/// The public port: accepts connections, speaks TLS, hands each connection to the event loop it stays on, and stops in order.
final class PublicListener: Service {
    private let settings: GatewaySettings
    private let core: DoorCore
    private let certificates: ServerCertificates
    private let group: MultiThreadedEventLoopGroup
    private let loops: [ObjectIdentifier: NIOLoopBound<LoopState>]
    private let openCount = Atomic<Int>(0)
    private let onRunning: @Sendable (any Channel) async -> Void
    private let logger: Logger

    init(
        settings: GatewaySettings, core: DoorCore, certificates: ServerCertificates,
        group: MultiThreadedEventLoopGroup = .singleton, logger: Logger,
        onRunning: @escaping @Sendable (any Channel) async -> Void
    ) async throws {
        self.settings = settings
        self.core = core
        self.certificates = certificates
        self.group = group
        self.logger = logger
        self.onRunning = onRunning
        var loops: [ObjectIdentifier: NIOLoopBound<LoopState>] = [:]
        for eventLoop in group.makeIterator() {
            loops[ObjectIdentifier(eventLoop)] =
                try await eventLoop.submit {
                    NIOLoopBound(LoopState(eventLoop: eventLoop, core: core), eventLoop: eventLoop)
                }.get()
        }
        self.loops = loops
    }

    /// Clients connected now.
    var connectionCount: Int { self.openCount.load(ordering: .relaxed) }

    func run() async throws {
        let listener = try await ServerBootstrap(group: self.group)
            .serverChannelOption(.backlog, value: 1_024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try self.accept(channel) }
            }
            .bind(host: self.settings.host, port: self.settings.port).get()
        let admin = try await self.listenForAdministrators()
        let sweep = self.sweep()
        await self.onRunning(listener)
        do {
            try await gracefulShutdown()
        } catch {
            // Cancelled: there is no time to finish anything.
        }
        try? await listener.close()
        try? await admin?.close()
        if !Task.isCancelled { await self.drain() }
        sweep.forEach { $0.cancel() }
        for (_, loop) in self.loops { try? await loop.onLoop { $0.shut() } }
        await self.core.accessLog.drain()
    }

    // MARK: - Accepting

    /// On the loopback only, and without TLS: nothing of it leaves the machine.
    private func listenForAdministrators() async throws -> (any Channel)? {
        guard let port = self.core.settings.adminPort else { return nil }
        let listener = try await ServerBootstrap(group: self.group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let (bound, connection) = try self.count(channel)
                    let peer = PeerText(channel.remoteAddress, isAdministrative: true)
                    let handler = HTTP1Connection(loop: bound.value, peer: peer)
                    try channel.pipeline.syncOperations.addHandler(handler)
                    connection.speaks(handler)
                }
            }
            .bind(host: "127.0.0.1", port: port).get()
        self.logger.info(
            "listening for administrators", metadata: ["address": "\(listener.localAddress?.description ?? "")"])
        return listener
    }

    /// Takes a new connection in, when there is room for it.
    private func count(_ channel: any Channel) throws -> (NIOLoopBound<LoopState>, OpenConnection) {
        guard let bound = self.loops[ObjectIdentifier(channel.eventLoop)] else {
            throw ChannelError.operationUnsupported
        }
        let count = self.openCount.add(1, ordering: .relaxed).newValue
        self.core.metrics.connections.set(Double(count))
        channel.closeFuture.whenComplete { _ in
            let count = self.openCount.subtract(1, ordering: .relaxed).newValue
            self.core.metrics.connections.set(Double(count))
        }
        guard count <= self.core.settings.connectionLimit else { throw ChannelError.connectPending }
        let connection = OpenConnection(channel: channel, now: MonotonicClock.nanoseconds())
        bound.value.open(connection)
        return (bound, connection)
    }

    private func accept(_ channel: any Channel) throws {
        let (bound, connection) = try self.count(channel)
        let handshake = HandshakeOutcome(metrics: self.core.metrics)
        channel.closeFuture.whenComplete { _ in handshake.ended() }
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(NIOSSLServerHandler(context: self.certificates.context))
        let boundConnection = NIOLoopBound(connection, eventLoop: channel.eventLoop)
        let settings = self.core.settings
        try pipeline.addHandler(
            ApplicationProtocolNegotiationHandler { result, channel in
                channel.eventLoop.makeCompletedFuture {
                    handshake.succeeded(speaksHTTP2: result == .negotiated("h2"))
                    if result == .negotiated("h2") {
                        try Self.speakHTTP2(on: channel, loop: bound, settings: settings)
                        boundConnection.value.speaksHTTP2(isQuiescing: bound.value.isQuiescing)
                    } else {
                        let handler = HTTP1Connection(loop: bound.value, peer: Self.peer(of: channel))
                        try channel.pipeline.syncOperations.addHandler(handler)
                        boundConnection.value.speaks(handler)
                    }
                }
            })
    }

    /// The name of a client certificate is believed because the library has checked it against the trusted authorities.
    private static func peer(of channel: any Channel) -> PeerText {
        let certificate = try? channel.pipeline.syncOperations.nioSSL_peerCertificate()
        return PeerText(channel.remoteAddress, certificateName: certificate.flatMap(ClientCertificate.name))
    }

    private static func speakHTTP2(
        on channel: any Channel, loop: NIOLoopBound<LoopState>, settings: DoorSettings
    ) throws {
        var connection = NIOHTTP2Handler.ConnectionConfiguration()
        connection.initialSettings = [
            HTTP2Setting(parameter: .maxConcurrentStreams, value: settings.streamLimit),
            HTTP2Setting(parameter: .maxHeaderListSize, value: settings.headerLimit),
            HTTP2Setting(parameter: .initialWindowSize, value: 65_535),
        ]
        connection.targetWindowSize = 1 << 20
        let manager = NIOHTTP2ServerConnectionManagementHandler(
            eventLoop: channel.eventLoop,
            configuration: .init(
                maxIdleTime: .seconds(Int64(settings.idleSeconds)), maxAge: nil,
                // From the first GOAWAY, while the listener is still open.
                maxGraceTime: .seconds(Int64(settings.shutdownGraceSeconds)),
                keepalive: nil))
        let peer = Self.peer(of: channel)
        let credentials = NIOLoopBound(CredentialMemory(), eventLoop: channel.eventLoop)
        let pipeline = channel.pipeline.syncOperations
        _ = try pipeline.configureHTTP2Pipeline(
            mode: .server, connectionConfiguration: connection, streamConfiguration: .init(),
            streamDelegate: manager.http2StreamDelegate
        ) { stream in
            stream.eventLoop.makeCompletedFuture {
                try stream.pipeline.syncOperations.addHandler(
                    HTTP2Stream(loop: loop.value, peer: peer, credentials: credentials.value))
            }
        }
        try pipeline.addHandler(manager)
        try pipeline.addHandler(HTTP2ErrorHandler())
    }

    // MARK: - Upkeep and stopping

    private func sweep() -> [RepeatedTask] {
        let core = self.core
        return self.loops.values.map { loop in
            loop.eventLoop.scheduleRepeatedTask(initialDelay: .milliseconds(100), delay: .milliseconds(100)) { _ in
                if core.isDraining() { loop.value.quiesce() }
            }
        }
            + self.loops.values.map { loop in
                loop.eventLoop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { _ in
                    loop.value.checkConnections(now: MonotonicClock.nanoseconds())
                    core.load.measureMemory()
                    core.metrics.sample(inFlight: core.inFlight, load: core.load, directory: core.directory)
                }
            }
    }

    /// Lets running requests finish, for as long as an orderly stop may take: HTTP/1 connections close behind their answer,
    /// HTTP/2 ones get GOAWAY.
    private func drain() async {
        for (_, loop) in self.loops { try? await loop.onLoop { $0.drain() } }
        let deadline = ContinuousClock.now + self.core.settings.drainLimit
        while self.connectionCount > 0, ContinuousClock.now < deadline {
            do { try await Task.sleep(for: .milliseconds(20)) } catch { return }
        }
        let left = self.connectionCount
        if left > 0 { self.logger.warning("connections cut off at the end", metadata: ["count": "\(left)"]) }
    }
}

/// Counts one handshake once: as what it agreed on, or as failed when the connection ends before that.
private final class HandshakeOutcome: Sendable {
    private let metrics: GatewayMetrics
    private let isKnown = Atomic<Bool>(false)

    init(metrics: GatewayMetrics) { self.metrics = metrics }

    func succeeded(speaksHTTP2: Bool) {
        self.isKnown.store(true, ordering: .relaxed)
        (speaksHTTP2 ? self.metrics.handshakes.http2 : self.metrics.handshakes.http1).increment()
    }

    func ended() {
        if !self.isKnown.load(ordering: .relaxed) { self.metrics.handshakes.failed.increment() }
    }
}

/// Closes an HTTP/2 connection that the library has given up.
final class HTTP2ErrorHandler: ChannelInboundHandler {
    typealias InboundIn = HTTP2Frame

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // An error of one stream, or a frame for one that has just ended, is no error of the connection.
        switch error {
        case is NIOHTTP2Errors.StreamError, is NIOHTTP2Errors.NoSuchStream, is NIOHTTP2Errors.StreamClosed: break
        default: context.close(promise: nil)
        }
    }
}

extension NIOLoopBound where Value == LoopState {
    func onLoop(_ body: @escaping @Sendable (LoopState) -> Void) async throws {
        try await self.eventLoop.submit { body(self.value) }.get()
    }
}
