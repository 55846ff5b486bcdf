import AsyncHTTPClient
import Logging
import Metrics
import Model
import NIOCore
import NIOPosix
import Postgres
import ServiceLifecycle
import ServiceRuntime
import Telemetry

/// The gateway put together. Start its services in the order of ``services``.
struct Gateway: Sendable {
    let core: DoorCore
    let audit: AuditLog
    let directory: ServiceDirectory
    let discovery: NameDiscovery
    let probe: ReplicaProbe
    let authority: APIKeyAuthority
    let tokens: JWTAuthority?
    let health: HealthCheck
    let client: HTTPClient
    let certificates: ServerCertificates
    let listener: PublicListener
    let redirect: RedirectListener?

    /// - Parameters:
    ///   - isDraining: whether the service has begun to stop, so that `/readyz` turns before the listener does.
    ///   - onRunning: is told the channel of the listener.
    ///   - onRedirecting: is told the channel of the listener that redirects, if there is one.
    init(
        settings: GatewaySettings, pool: PostgresPool, logger: Logger, accessLog: AccessLog,
        metrics: any MetricsFactory = MetricsSystem.factory, tracer: TraceRecorder = TraceRecorder(),
        isDraining: @escaping @Sendable () -> Bool = { false },
        onRunning: @escaping @Sendable (any Channel) async -> Void = { _ in },
        onRedirecting: @escaping @Sendable (any Channel) async -> Void = { _ in }
    ) async throws {
        let directory = ServiceDirectory(
            pool: pool, fallback: settings.fallback, breaker: settings.breaker, logger: logger)
        let store = APIKeyStore(pool: pool)
        let client = HTTPClient(
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton, configuration: Self.clientConfiguration())
        let authority = APIKeyAuthority(lookup: store)
        var tokens: JWTAuthority?
        if let jwt = settings.jwt {
            let source: KeySource =
                switch jwt.source {
                case .file(let path): .file(path)
                case .url(let url, let stale): .web(url, client: client, staleAfter: .seconds(stale))
                }
            tokens = try await JWTAuthority(source: source, rules: jwt.rules, logger: logger)
        }
        let inFlight = InFlight(limit: settings.door.inFlightLimit)
        let health = HealthCheck(
            pool: pool, directory: directory, client: client, activeRequests: { inFlight.count },
            isDraining: isDraining)
        let decisions = DecisionLog()
        let auditStore = AuditStore(pool: pool, service: GatewayService.name)
        let audit = AuditLog(
            level: settings.audit.level, retentionDays: settings.audit.retentionDays, store: auditStore, logger: logger,
            metrics: metrics)
        let core = DoorCore(
            settings: settings.door,
            gatekeeper: Gatekeeper(
                keys: authority, tokens: tokens,
                callers: settings.door.isLimitShared
                    ? SharedLimiter(policy: settings.door.callerPolicy, source: LeaseStore(pool: pool))
                    : RateLimiter(policy: settings.door.callerPolicy),
                strangers: RateLimiter(policy: settings.door.peerPolicy),
                certificateScopes: settings.door.certificateScopes),
            directory: directory, mint: CallerTokenMint(secret: settings.callerTokenSecret),
            own: OwnRoutes(
                health: health, keys: APIKeyRoutes(store: store, authority: authority, logger: logger),
                decisions: decisions, audit: AuditRoutes(store: auditStore, logger: logger),
                openAPI: try OpenAPIDocument.json()),
            metrics: GatewayMetrics(factory: metrics), inFlight: inFlight, decisions: decisions, audit: audit,
            tracer: tracer,
            accessLog: accessLog,
            isDraining: isDraining, logger: logger)
        self.core = core
        self.audit = audit
        self.directory = directory
        self.discovery = NameDiscovery(names: settings.names, directory: directory, logger: logger)
        self.probe = ReplicaProbe(directory: directory, logger: logger, check: ReplicaProbe.asking(client))
        self.authority = authority
        self.tokens = tokens
        self.health = health
        self.client = client
        self.certificates = try ServerCertificates(
            settings.tls, files: settings.tlsFiles, logger: logger, metrics: metrics)
        self.redirect = settings.redirectPort.map {
            RedirectListener(
                host: settings.host, port: $0, securePort: settings.port, headerLimit: settings.door.headerLimit,
                connectionLimit: settings.door.connectionLimit,
                timeLimit: .nanoseconds(settings.door.headNanoseconds), logger: logger, onRunning: onRedirecting)
        }
        self.listener = try await PublicListener(
            settings: settings, core: core, certificates: self.certificates, logger: logger, onRunning: onRunning)
    }

    /// In start order; they stop in reverse.
    var services: [any Service] {
        var services: [any Service] = [
            UpstreamClientService(client: self.client), self.audit, self.directory, self.certificates,
        ]
        if let tokens { services.append(tokens) }
        if let redirect { services.append(redirect) }
        services.append(self.discovery)
        services.append(self.probe)
        services.append(self.listener)
        return services
    }

    /// For asking replicas how they are.
    private static func clientConfiguration() -> HTTPClient.Configuration {
        var configuration = HTTPClient.Configuration(
            redirectConfiguration: .disallow,
            timeout: .init(connect: .seconds(1), read: .seconds(1)), decompression: .disabled)
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
