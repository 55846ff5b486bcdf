import CoreMetrics
import Hummingbird
import Telemetry

/// Puts the middlewares in their one order around the routes of a service.
///
/// Outermost first: trace, access log, metrics, problem; then the open health routes; then admission, caller, deadline. So a
/// refusal is traced, logged, counted and formed like every other answer.
public struct ServiceRouter: Sendable {
    public var tracer: TraceRecorder
    public var metrics: any MetricsFactory
    public var health: HealthMonitor
    public var secrets: CallerTokenSecrets
    public var inFlightLimit: Int
    public var routes: RouteTable
    /// Where a changed HTTP_MAX_IN_FLIGHT comes from; nil: it never changes.
    public var live: LiveSettings?

    public init(
        tracer: TraceRecorder, metrics: any MetricsFactory, health: HealthMonitor, secrets: CallerTokenSecrets,
        inFlightLimit: Int, routes: RouteTable = RouteTable(), live: LiveSettings? = nil
    ) {
        self.tracer = tracer
        self.metrics = metrics
        self.health = health
        self.secrets = secrets
        self.inFlightLimit = inFlightLimit
        self.routes = routes
        self.live = live
    }

    /// The router, and the same way for what is at hand.
    func build(
        watch: CallWatch, ready: [ReadyRoute] = [], _ addRoutes: (Router<CallContext>) -> Void
    ) -> (router: Router<CallContext>, ready: ReadyDoor?) {
        let trace = TraceMiddleware(tracer: self.tracer)
        let log = AccessLogMiddleware()
        let metrics = HTTPMetricsMiddleware(factory: self.metrics)
        let admission = AdmissionMiddleware(limit: self.inFlightLimit, metrics: self.metrics)
        self.live?.observe { admission.set(limit: $0.integer("HTTP_MAX_IN_FLIGHT")) }
        let callers = CallerTokenMiddleware(secrets: self.secrets, routes: self.routes)
        let router = Router(context: CallContext.self)
        router.add(middleware: trace)
        router.add(middleware: log)
        router.add(middleware: metrics)
        router.add(middleware: ProblemMiddleware(routes: self.routes))
        HealthRoutes(monitor: self.health).add(to: router)
        router.add(middleware: admission)
        router.add(middleware: callers)
        router.add(middleware: DeadlineMiddleware(watch: watch))
        addRoutes(router)
        let door = ReadyDoor(
            routes: ready, trace: trace, log: log, metrics: metrics, admission: admission, callers: callers)
        return (router, ready.isEmpty ? nil : door)
    }
}
