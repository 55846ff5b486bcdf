import CMalloc
import Hummingbird
import Logging
import Postgres
import ServiceLifecycle
import ServiceRuntime

/// The composition root: what anomaly-propagation is made of.
enum AnomalyPropagation: ServiceDefinition {
    static let name = "anomaly-propagation"
    static let summary = "Anomalies, forecasts, propagation of shocks and root causes."
    static let httpPort = 8082
    static let metricsPort = 9082

    static let settings: [Setting] = [
        Setting(
            "ROOT_CAUSE_TIMEOUT_MS", .integer(100...600_000), unit: "ms", default: "30000",
            "Longest root-cause question, its reading included."),
        Setting(
            "ROOT_CAUSE_CONCURRENCY", .integer(1...64), default: "2",
            "Root-cause questions answered at a time; the next one gets 503 `overloaded`."),
        Setting(
            "EDGE_CACHE_AGE_MS", .integer(0...60_000), unit: "ms", default: "2000",
            "Oldest state of the edges that a propagation is answered from."),
        AnswerCache.setting,
        Setting(
            "MEMORY_CEILING_BYTES", .integer(64 << 20...1 << 40), unit: "bytes", default: String(1 << 30),
            "Memory this service aims to stay under: from 85 % kept answers are let go, from 95 % root causes and propagation are refused."
        ),
        Setting(
            "WORKER_ENABLED", .flag, default: "true",
            "Whether this replica turns findings into anomalies and forecasts; false: it only answers."),
        Setting(
            "WORKER_POLL_MS", .integer(50...60_000), unit: "ms", default: "1000",
            "How often new findings are looked for without a notification."),
        Setting(
            "WORKER_BATCH", .integer(1...10_000), default: "50",
            "Evaluations taken in per shard and round."),
    ]
    static let reloadableSettings: Set<String> = ["ROOT_CAUSE_TIMEOUT_MS", "MEMORY_CEILING_BYTES"]
    static let settingPrefixes = ["ROOT_CAUSE_", "EDGE_CACHE_", "WORKER_", "MEMORY_", AnswerCache.settingPrefix]

    static func assemble(_ host: ServiceHost) async throws -> ServiceAssembly {
        let live = host.live
        let circuit = Circuit("database", rule: host.settings.breaker, factory: host.metrics)
        host.health.add(database: circuit)
        func bound(_ kind: QueryBound.Kind, _ limit: @escaping @Sendable (ServiceSettings) -> Duration) -> QueryBound {
            QueryBound(kind, circuit: circuit, factory: host.metrics, limit: { limit(live.current) })
        }
        let answers = AnswerCache(maximumAge: host.settings.milliseconds(AnswerCache.setting.name))
        let memory = MemoryMonitor(
            ceilingBytes: host.settings.integer("MEMORY_CEILING_BYTES"), refused: "nothing is computed",
            logger: host.logger, factory: host.metrics
        ) {
            answers.empty()
            malloc_trim(0)
        }
        live.observe { memory.set(ceilingBytes: $0.integer("MEMORY_CEILING_BYTES")) }
        host.health.add(circuits: { ([:], memory.reason.map { [$0] } ?? []) })
        let routes = Self.routes(
            pool: host.database,
            bounds: QueryBounds(
                interactive: bound(.interactive) { $0.queryTimeout }, batch: bound(.batch) { $0.batchTimeout },
                rootCauses: bound(.batch) { $0.milliseconds("ROOT_CAUSE_TIMEOUT_MS") }),
            rootCauseConcurrency: host.settings.integer("ROOT_CAUSE_CONCURRENCY"),
            edgeAge: host.settings.milliseconds("EDGE_CACHE_AGE_MS"), answers: answers, memory: memory)
        let readiness = ReadinessRoutes(
            store: ReadinessStore(pool: host.database),
            secrets: try host.settings.optionalText("CALLER_TOKEN_SECRET_FILE").map {
                try CallerTokenSecrets(path: $0)
            },
            timeout: bound(.interactive) { $0.queryTimeout })
        let all: (Router<CallContext>) -> Void = { router in
            routes.add(router)
            readiness.add(to: router)
        }
        guard host.settings.flag("WORKER_ENABLED") else {
            return ServiceAssembly(services: [memory], routes: all, ready: routes.ready)
        }
        let metrics = WorkerMetrics(factory: host.metrics)
        var bounds = FindingsReader.Bounds()
        bounds.evaluationsPerShard = host.settings.integer("WORKER_BATCH")
        let worker = FindingsWorker(
            reader: FindingsReader(pool: host.database, metrics: metrics, bounds: bounds),
            listener: try PostgresListener(
                configuration: host.database.configuration, channels: [FindingsWorker.channel], logger: host.logger),
            metrics: metrics, logger: host.logger, pollInterval: host.settings.milliseconds("WORKER_POLL_MS"))
        return ServiceAssembly(services: [memory, AfterMigration(worker, on: host)], routes: all, ready: routes.ready)
    }

    /// How long the database may work for a question of each kind.
    struct QueryBounds: Sendable {
        var interactive: QueryBound
        var batch: QueryBound
        var rootCauses: QueryBound
    }

    /// All routes over one pool, and those among them whose answers are often at hand.
    /// - Parameter memory: says when nothing is to be computed; nil: never.
    static func routes(
        pool: PostgresPool, bounds: QueryBounds, rootCauseConcurrency: Int, edgeAge: Duration, answers: AnswerCache,
        memory: MemoryMonitor? = nil
    ) -> (add: (Router<CallContext>) -> Void, ready: [ReadyRoute]) {
        let timeout = bounds.interactive
        let observations = ObservationStore(pool: pool)
        let domains = DomainStore(pool: pool)
        let topologies = TopologyStore(pool: pool)
        let anomalies = AnomalyRoutes(store: AnomalyStore(pool: pool), timeout: timeout, answers: answers)
        let forecasts = ForecastRoutes(store: ForecastStore(pool: pool), timeout: timeout, answers: answers)
        let topology = TopologyRoutes(store: topologies, timeout: timeout)
        let propagation = PropagationRoutes(
            cache: EdgeCache(pool: pool, maximumAge: edgeAge), domains: domains, observations: observations,
            timeout: bounds.batch, memory: memory)
        let rootCauses = RootCauseRoutes(
            domains: domains, topologies: topologies, observations: observations,
            admission: RootCauseAdmission(limit: rootCauseConcurrency), timeout: bounds.rootCauses,
            memory: memory)
        let add: (Router<CallContext>) -> Void = { router in
            anomalies.add(to: router)
            forecasts.add(to: router)
            topology.add(to: router)
            propagation.add(to: router)
            rootCauses.add(to: router)
        }
        return (add, anomalies.readyRoutes + forecasts.readyRoutes)
    }
}
