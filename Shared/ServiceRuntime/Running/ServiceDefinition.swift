import Hummingbird
import Logging
import Postgres
import ServiceLifecycle
import Telemetry

/// What a service tells the runtime about itself; the rest is the same for all.
public protocol ServiceDefinition: Sendable {
    /// `graph-builder`: the name in logs, metrics, traces and of the executable.
    static var name: String { get }
    static var summary: String { get }
    static var httpPort: Int { get }
    static var metricsPort: Int { get }
    /// Its own keys, besides the shared ones.
    static var settings: [Setting] { get }
    /// Its own keys whose new value counts at once when the configuration is read again, besides ``Setting/sharedReloadable``.
    static var reloadableSettings: Set<String> { get }
    /// Words its own keys begin with, so that typos of them stop the start.
    static var settingPrefixes: [String] { get }

    /// The composition root: builds the parts, binds nothing.
    static func assemble(_ host: ServiceHost) async throws -> ServiceAssembly
}

extension ServiceDefinition {
    public static var settingPrefixes: [String] { [] }
    public static var reloadableSettings: Set<String> { [] }

    public static var settingsTable: [Setting] {
        let own = Set(Self.settings.map(\.name))
        // A service may declare a shared key anew, with its own default.
        return Setting.shared(httpPort: Self.httpPort, metricsPort: Self.metricsPort)
            .filter { !own.contains($0.name) } + Self.settings
    }

    public static var settingsLoader: SettingsLoader {
        SettingsLoader(service: Self.name, table: Self.settingsTable, prefixes: Self.settingPrefixes)
    }
}

/// What the runtime has made before the service is assembled.
public struct ServiceHost: Sendable {
    public let settings: ServiceSettings
    /// The same, and what of them has changed since.
    public let live: LiveSettings
    public let logger: Logger
    public let metrics: MetricsRegistry
    public let tracer: TraceRecorder
    public let health: HealthMonitor
    /// Runs, and is pinged for readiness, by the runtime.
    public let database: PostgresPool
    /// The bound address of the plain listener, known once it listens.
    public let listener: ListenerAddress
    let schema: SchemaCheck

    public init(
        settings: ServiceSettings, logger: Logger, metrics: MetricsRegistry, tracer: TraceRecorder,
        health: HealthMonitor, database: PostgresPool, listener: ListenerAddress, live: LiveSettings? = nil
    ) {
        self.live = live ?? LiveSettings(settings, reloadable: [])
        self.settings = settings
        self.logger = logger
        self.metrics = metrics
        self.tracer = tracer
        self.health = health
        self.database = database
        self.listener = listener
        self.schema = SchemaCheck(database: database)
    }
}

/// The parts of a service.
public struct ServiceAssembly {
    /// Background work, in start order. Stopped in reverse order after the listener; one that returns ends the process in order.
    public var services: [any Service]
    /// Runs when the background work has been started and before the listener opens.
    public var beforeListening: (@Sendable () async throws -> Void)?
    /// Adds the routes behind all middlewares; nil: the service brings its own listener among `services` and calls
    /// `host.health.markStarted()` itself.
    public var routes: ((Router<CallContext>) -> Void)?
    /// Routes among them whose answers are often at hand.
    public var ready: [ReadyRoute]

    public init(
        services: [any Service] = [], beforeListening: (@Sendable () async throws -> Void)? = nil,
        routes: ((Router<CallContext>) -> Void)? = nil, ready: [ReadyRoute] = []
    ) {
        self.ready = ready
        self.services = services
        self.beforeListening = beforeListening
        self.routes = routes
    }
}
