import AsyncHTTPClient
import Hummingbird
import HummingbirdCore
import HummingbirdHTTP2
import HummingbirdTLS
import Logging
import Metrics
import Model
import NIOCore
import NIOPosix
import Postgres
import ServiceLifecycle
import Telemetry

/// The gateway put together. Start its services in the order of ``services``.
struct Gateway: Sendable {
    let directory: ServiceDirectory
    let authority: APIKeyAuthority
    let tokens: JWTAuthority?
    let health: HealthCheck
    let client: HTTPClient
    let application: Application<Door>

    /// - Parameters:
    ///   - isDraining: whether the service has begun to stop, so that `/readyz` turns before the listener does.
    ///   - onRunning: is told the channel of the listener.
    init(
        settings: GatewaySettings, pool: PostgresPool, logger: Logger,
        metrics: any MetricsFactory = MetricsSystem.factory, tracer: TraceRecorder = TraceRecorder(),
        isDraining: @escaping @Sendable () -> Bool = { false },
        onRunning: @escaping @Sendable (any Channel) async -> Void = { _ in }
    ) async throws {
        let directory = ServiceDirectory(pool: pool, fallback: settings.fallback, logger: logger)
        let store = APIKeyStore(pool: pool)
        let authority = APIKeyAuthority(lookup: store)
        var tokens: JWTAuthority?
        if let jwt = settings.jwt {
            tokens = try await JWTAuthority(path: jwt.keySetFile, rules: jwt.rules, logger: logger)
        }
        let openAPI = try OpenAPIDocument.json()
        let client = HTTPClient(
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton,
            configuration: Self.clientConfiguration(settings.door))
        let inFlight = InFlight(limit: settings.door.inFlightLimit)
        let health = HealthCheck(
            pool: pool, directory: directory, client: client, activeRequests: { inFlight.count },
            isDraining: isDraining)
        let registry = ConnectionRegistry()
        let door = Door(
            settings: settings.door, registry: registry,
            gatekeeper: Gatekeeper(
                keys: authority, tokens: tokens, callers: RateLimiter(policy: settings.door.callerPolicy),
                strangers: RateLimiter(policy: settings.door.peerPolicy)),
            proxy: Proxy(client: client, directory: directory),
            mint: CallerTokenMint(secret: settings.callerTokenSecret),
            own: OwnRoutes(
                health: health, keys: APIKeyRoutes(store: store, authority: authority, logger: logger),
                openAPI: openAPI),
            metrics: GatewayMetrics(factory: metrics), inFlight: inFlight, tracer: tracer, logger: logger)
        self.directory = directory
        self.authority = authority
        self.tokens = tokens
        self.health = health
        self.client = client
        self.application = try Self.application(
            settings: settings, door: door, registry: registry, logger: logger, onRunning: onRunning)
    }

    /// In start order; they stop in reverse.
    var services: [any Service] {
        var services: [any Service] = [UpstreamClientService(client: self.client), self.directory]
        if let tokens { services.append(tokens) }
        services.append(self.application)
        return services
    }

    private static func application(
        settings: GatewaySettings, door: Door, registry: ConnectionRegistry, logger: Logger,
        onRunning: @escaping @Sendable (any Channel) async -> Void
    ) throws -> Application<Door> {
        let limits = ConnectionGuard.Limits(requestMs: settings.door.requestMs, bodyStallMs: settings.door.bodyStallMs)
        let headers = HTTP1Channel.Configuration.DecoderConfiguration(
            maxHeaderFieldSize: settings.door.headerLimit, maxHeaderListSize: settings.door.headerLimit,
            maxHeaderFieldCount: 128)
        let streams = HTTP1Channel.Configuration(
            additionalChannelHandlers: [ConnectionGuard(limits: limits, registry: registry)],
            idleTimeout: .seconds(Int64(settings.door.idleSeconds)), httpDecoderConfiguration: headers)
        let server = try HTTPServerBuilder.http2Upgrade(
            tlsConfiguration: settings.tls,
            configuration: HTTP2ChannelConfiguration(
                idleTimeout: .seconds(settings.door.idleSeconds), gracefulCloseTimeout: .seconds(10),
                streamConfiguration: streams))
        // The framework's own lines are about its inside; the access log is ours.
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .notice)
        return Application(
            responder: door, server: server,
            configuration: ApplicationConfiguration(
                address: .hostname(settings.host, port: settings.port), serverName: nil,
                availableConnectionsDelegate: MaximumAvailableConnections(settings.door.connectionLimit)),
            onServerRunning: onRunning, logger: quiet)
    }

    private static func clientConfiguration(_ door: DoorSettings) -> HTTPClient.Configuration {
        var configuration = HTTPClient.Configuration(
            redirectConfiguration: .disallow,
            timeout: .init(
                connect: .seconds(1), read: .milliseconds(Int64(door.requestMs)),
                write: .milliseconds(Int64(door.requestMs))),
            connectionPool: .init(idleTimeout: .seconds(30), concurrentHTTP1ConnectionsPerHostSoftLimit: 256),
            decompression: .disabled)
        // Try another replica at once instead of waiting for this one.
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.httpVersion = .http1Only
        // The client would add a second traceparent beside ours.
        configuration.tracing.tracer = nil
        return configuration
    }
}

/// Ends the upstream client after everything that uses it.
struct UpstreamClientService: Service {
    let client: HTTPClient

    func run() async throws {
        try? await gracefulShutdown()
        try await self.client.shutdown()
    }
}
