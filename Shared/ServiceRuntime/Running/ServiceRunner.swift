import CoreMetrics
import Foundation
import Hummingbird
import HummingbirdCore
import Instrumentation
import Logging
import NIOCore
import Postgres
import ServiceLifecycle
import Telemetry
import Tracing
import UnixSignals

/// Starts, runs and stops one service.
public struct ServiceRunner<Definition: ServiceDefinition>: Sendable {
    public let settings: ServiceSettings

    public init(settings: ServiceSettings) { self.settings = settings }

    /// Runs until SIGTERM or SIGINT, or until a part fails.
    public func run() async throws {
        let registry = MetricsRegistry(keepsExemplars: self.settings.optionalText("OTLP_ENDPOINT") != nil)
        let queue = self.settings.optionalText("OTLP_ENDPOINT").map { _ in SpanQueue(metrics: registry) }
        let tracer = TraceRecorder(
            sampler: RatioSampler(ratio: self.settings.number("TRACE_SAMPLE_RATIO")), queue: queue)
        LogSettings(
            service: Definition.name, level: self.settings.logLevel, format: self.settings.logFormat
        ).bootstrap()
        MetricsSystem.bootstrap(registry)
        InstrumentationSystem.bootstrap(tracer)
        let logger = Logger(label: Definition.name)
        Meter(
            label: "undercurrent_build_info",
            dimensions: [
                ("service", Definition.name), ("version", BuildVersion.version), ("commit", BuildVersion.commit()),
            ], factory: registry
        ).set(1)

        let secrets = try self.secrets()
        let database = try PostgresPool(configuration: self.settings.database())
        let health = HealthMonitor(service: Definition.name, version: BuildVersion.version) {
            try await database.ping()
        }
        let live = LiveSettings(
            self.settings, reloadable: Setting.sharedReloadable.union(Definition.reloadableSettings))
        let host = ServiceHost(
            settings: self.settings, logger: logger, metrics: registry, tracer: tracer, health: health,
            database: database, listener: ListenerAddress(), live: live)
        health.add(host.schema.check)
        let assembly = try await Definition.assemble(host)

        var services: [any Service] = []
        if let endpoint = self.settings.optionalText("OTLP_ENDPOINT"), let queue {
            services.append(
                OTLPExporter(
                    endpoint: endpoint, queue: queue, service: Definition.name, version: BuildVersion.version,
                    logger: logger))
        }
        services.append(PoolService { await database.run() })
        services.append(
            SettingsReload(
                live: live, path: ProcessInfo.processInfo.environment["CONFIG_FILE"], logger: logger, factory: registry
            ) { () throws(SettingsError) in try Definition.settingsLoader.load() })
        services.append(
            PerformanceRecorder(
                service: Definition.name, instance: UUID().uuidString.lowercased(), database: database,
                registry: registry, live: live, logger: logger))
        services.append(
            MetricsListener(
                registry: registry, health: health, host: self.settings.metricsHost, port: self.settings.metricsPort,
                logger: logger))
        services += assembly.services
        if let routes = assembly.routes {
            let watch = CallWatch()
            let (router, ready) = ServiceRouter(
                tracer: tracer, metrics: registry, health: health, secrets: secrets,
                inFlightLimit: self.settings.integer("HTTP_MAX_IN_FLIGHT"), live: live
            ).build(watch: watch, ready: assembly.ready, routes)
            let idleTimeout = TimeAmount.seconds(Int64(self.settings.integer("HTTP_IDLE_TIMEOUT_SECONDS")))
            services.append(
                self.listener(router, host, assembly.beforeListening) {
                    ServiceConnectionHandler(ready: ready, watch: watch, idleTimeout: idleTimeout)
                })
        } else if let beforeListening = assembly.beforeListening {
            try await beforeListening()
        }
        services.append(ReadinessDrain(health: health, time: self.settings.shutdownDrain, logger: logger))
        try await self.group(services, logger).run()
        logger.info("stopped")
    }

    private func secrets() throws(SettingsError) -> CallerTokenSecrets {
        guard let path = self.settings.optionalText("CALLER_TOKEN_SECRET_FILE") else {
            throw SettingsError(faults: ["CALLER_TOKEN_SECRET_FILE is required to serve"])
        }
        return try CallerTokenSecrets(path: path)
    }

    private func listener(
        _ router: Router<CallContext>, _ host: ServiceHost, _ beforeListening: (@Sendable () async throws -> Void)?,
        _ connection: @escaping @Sendable () -> ServiceConnectionHandler
    ) -> some Service {
        // Our handler closes idle connections: it also sees the requests that the library never sees.
        let configuration = HTTP1Channel.Configuration(
            additionalChannelHandlers: [connection()], idleTimeout: nil,
            httpDecoderConfiguration: HTTP1Channel.Configuration.DecoderConfiguration(
                maxHeaderFieldSize: 16_384, maxHeaderListSize: 32_768, maxHeaderFieldCount: 100))
        var application = Application(
            router: router, server: .http1(configuration: configuration),
            configuration: ApplicationConfiguration(
                address: .hostname(self.settings.httpHost, port: self.settings.httpPort),
                availableConnectionsDelegate: MaximumAvailableConnections(
                    self.settings.integer("HTTP_MAX_CONNECTIONS"))),
            onServerRunning: { channel in
                host.listener.set(host: self.settings.httpHost, port: channel.localAddress?.port ?? 0)
                host.health.markStarted()
                host.logger.info(
                    "listening",
                    metadata: [
                        "address": "\(channel.localAddress?.description ?? "")", "version": "\(BuildVersion.text)",
                    ])
            }, logger: Logger.quietServer)
        if let beforeListening { application.beforeServerStarts(perform: beforeListening) }
        return application
    }

    private func group(_ services: [any Service], _ logger: Logger) -> ServiceGroup {
        var quiet = logger
        quiet.logLevel = max(.notice, logger.logLevel)
        var configuration = ServiceGroupConfiguration(
            services: services.map {
                ServiceGroupConfiguration.ServiceConfiguration(
                    service: $0, successTerminationBehavior: .gracefullyShutdownGroup,
                    failureTerminationBehavior: .cancelGroup)
            }, gracefulShutdownSignals: [.sigterm, .sigint], logger: quiet)
        configuration.maximumGracefulShutdownDuration = self.settings.shutdownGrace
        configuration.maximumCancellationDuration = .seconds(5)
        return ServiceGroup(configuration: configuration)
    }
}
