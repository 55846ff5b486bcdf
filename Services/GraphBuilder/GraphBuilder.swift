import Dispatch
import Engine
import Foundation
import Hummingbird
import Logging
import Model
import Postgres
import ServiceLifecycle
import ServiceRuntime

/// graph-builder: takes observations in, keeps series, computes layers, serves graphs.
enum GraphBuilder: ServiceDefinition {
    static let name = "graph-builder"
    static let summary = "Takes observations in, keeps series, computes correlation layers, serves graphs."
    static let httpPort = 8_081
    static let metricsPort = 9_081
    static let settings: [Setting] = [
        Setting(
            "LEASE_SECONDS", .integer(1...300), unit: "s", default: "10",
            "Validity of a shard lease. A holder stops at half of it; another takes over after all of it."),
        Setting(
            "REPLICA_ADDRESS", .text,
            "host:port other services reach this replica at. Default: HTTP_HOST:HTTP_PORT."),
        Setting(
            "MEMORY_CEILING_BYTES", .integer(64 << 20...1 << 40), unit: "bytes", default: String(2 << 30),
            "Memory this service aims to stay under: from 85 % caches are emptied, from 95 % nothing is built; encoded graphs take at most a thirty-second of it."
        ),
        Setting(
            "OBSERVATION_RETENTION_DAYS", .integer(1...36_500), unit: "days", default: "400",
            "Observations, and what was concluded from them, are kept this long before the newest one of their domain, in event time."
        ),
        Setting(
            "OBSERVATION_RETENTION_INTERVAL_SECONDS", .integer(1...86_400), unit: "s", default: "3600",
            "How often what is older goes: partitions of observations, and rows that were concluded from them."),
        Setting(
            "SNAPSHOT_DIR", .text, "Folder of the snapshots that `graph-builder snapshot` makes; none: it makes none."),
        Setting(
            "RETENTION_DAYS", .integer(1...36_500), unit: "days", default: "7",
            "Snapshots older than this are removed by `snapshot rotate`; the newest one stays."),
        Setting(
            "USE_WORKER_THREADS", .flag, default: "true",
            "Whether one evaluation is spread over all cores; false: one thread. The graphs are the same."),
        Setting(
            "ENABLE_SIMD", .flag, default: "true",
            "Whether instructions beyond the least processor of the architecture are used. The graphs are the same."),
        Setting(
            "LAYERS_OFF", .words(Layer.allCases.map(\.code)),
            "Layers that are not computed, separated by commas; graphs say so. None: all are."),
        Setting(
            "L4_MODE", .choice(["hot", "standby"]), default: "hot",
            "`standby`: pairs of different domains are not computed, and graphs say so."),
        Setting(
            "MAX_GRAPHS_PER_SECOND", .integer(0...1_000_000), unit: "1/s", default: "0",
            "Graphs this replica builds a second at most; what is due waits. 0: no limit."),
        Setting(
            "FAILOVER_ENABLED", .flag, default: "true",
            "Whether graphs in memory are served, marked `stale`, while the database is away or takes no evaluations; false: 503."
        ),
        AnswerCache.setting,
    ]
    static let reloadableSettings: Set<String> = [
        "LAYERS_OFF", "L4_MODE", "MAX_GRAPHS_PER_SECOND", "FAILOVER_ENABLED", "MEMORY_CEILING_BYTES",
        "USE_WORKER_THREADS", "ENABLE_SIMD",
    ]
    static let settingPrefixes = [
        "LEASE_", "REPLICA_", "MEMORY_", "OBSERVATION_", "USE_", "ENABLE_", "SNAPSHOT_", "RETENTION_", "LAYERS_", "L4_",
        "MAX_GRAPHS_", "FAILOVER_", AnswerCache.settingPrefix,
    ]

    static func assemble(_ host: ServiceHost) async throws -> ServiceAssembly {
        let settings = host.settings
        Self.followHardware(host.live, gauges: HardwareGauges(factory: host.metrics))
        let pool = host.database
        let address = settings.optionalText("REPLICA_ADDRESS") ?? "\(settings.httpHost):\(settings.httpPort)"
        let keeper = LeaseKeeper(
            store: LeaseStore(
                pool: pool, replica: UUID().uuidString.lowercased(), address: address,
                validity: settings.seconds("LEASE_SECONDS")),
            logger: host.logger, metrics: LeaseMetrics(factory: host.metrics))
        let metrics = GraphBuilderMetrics(factory: host.metrics)
        let graphs = GraphStore(bodyLimit: settings.integer("MEMORY_CEILING_BYTES") / 32)
        let layers = LayerControl(rule: settings.breaker, factory: host.metrics)
        let answers = AnswerCache(maximumAge: settings.milliseconds(AnswerCache.setting.name))
        let memory = MemoryWatch(
            ceilingBytes: settings.integer("MEMORY_CEILING_BYTES"), graphs: graphs, answers: answers,
            logger: host.logger, factory: host.metrics)
        let engine = EvaluationEngine(
            pool: pool, keeper: keeper, graphs: graphs, metrics: metrics, layers: layers, memory: memory,
            logger: host.logger)
        Self.follow(host.live, layers: layers, memory: memory, engine: engine)
        let staleAnswers = StaleAnswers(factory: host.metrics)
        let database = Circuit("database", rule: settings.breaker, factory: host.metrics)
        let slowness = DatabaseSlowness()
        Self.watchHealth(host.health, layers: layers, memory: memory, database: database)
        let service = EvaluationService(
            engine: engine, keeper: keeper, graphs: graphs, metrics: metrics,
            listener: try PostgresListener(
                configuration: settings.database(), channels: [EvaluationService.channel], logger: host.logger),
            logger: host.logger)
        host.health.setFigures {
            HealthReport.Metrics(
                layerFailures: metrics.layerFailureCount, activeConnections: pool.status.inUse,
                lastSuccessfulBuild: service.lastSuccess,
                failover: staleAnswers.isServing ? "stale graphs" : "none")
        }
        let notifier = IngestNotifier(logger: host.logger)
        let partitions = ObservationPartitions(logger: host.logger, factory: host.metrics)
        let retention = RetentionService(
            retention: ObservationRetention(
                pool: pool, partitions: partitions,
                days: Int64(settings.integer("OBSERVATION_RETENTION_DAYS")), logger: host.logger),
            interval: settings.seconds("OBSERVATION_RETENTION_INTERVAL_SECONDS"), logger: host.logger,
            factory: host.metrics)
        let ingest = IngestService(
            pool: pool, notifier: notifier, partitions: partitions, metrics: IngestMetrics(factory: host.metrics),
            logger: host.logger)
        let upkeep = IngestUpkeep(service: ingest, notifier: notifier, pool: pool, logger: host.logger)
        let live = host.live
        let interactive = QueryBound(
            .interactive, circuit: database, factory: host.metrics, delay: { slowness.delay },
            limit: { live.current.queryTimeout })
        let chaos =
            settings.flag("CHAOS_ENABLED")
            ? ChaosControl(
                pool: pool, engine: engine, keeper: keeper, layers: layers, slowness: slowness,
                watch: ChaosWatch(
                    pool: pool, graphs: graphs, layers: layers, memory: memory, slowness: slowness,
                    queryTimeout: { live.current.queryTimeout }, logger: host.logger), replica: address,
                ceilingBytes: { live.current.integer("MEMORY_CEILING_BYTES") }, logger: host.logger) : nil
        let graphRoutes = GraphRoutes(
            graphs: graphs, cold: ColdGraphReader(pool: pool), keeper: keeper, engine: engine, bound: interactive,
            servesStale: { live.current.flag("FAILOVER_ENABLED") }, evaluationFailing: { service.failing },
            memory: memory, staleAnswers: staleAnswers, counts: GraphAnswerCounts(factory: host.metrics))
        let eventRoutes = EventRoutes(pool: pool, bound: interactive, answers: answers)
        let routes: (Router<CallContext>) -> Void = { router in
            IngestController<CallContext>(service: ingest) { context in
                guard let caller = context.caller else {
                    throw Problem(.unauthenticated, detail: "the request carries no caller token")
                }
                return caller.caller
            }.addRoutes(to: router)
            graphRoutes.add(to: router)
            eventRoutes.add(to: router)
            ChangeRoutes(
                pool: pool,
                bound: QueryBound(
                    .batch, circuit: database, factory: host.metrics, delay: { slowness.delay },
                    limit: { live.current.batchTimeout }), memory: memory
            ).add(to: router)
            DomainRoutes(pool: pool, engine: engine, counts: ObservationCounts(pool: pool)).add(to: router)
            ChaosRoutes(control: chaos).add(to: router)
        }
        let afterMigration = ([keeper, service, retention] as [any Service]).map { AfterMigration($0, on: host) }
        return ServiceAssembly(
            services: [memory, upkeep] + afterMigration, routes: routes,
            ready: graphRoutes.readyRoutes + eventRoutes.readyRoutes)
    }
}
