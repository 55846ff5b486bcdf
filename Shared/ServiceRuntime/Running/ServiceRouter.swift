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

    public init(
        tracer: TraceRecorder, metrics: any MetricsFactory, health: HealthMonitor, secrets: CallerTokenSecrets,
        inFlightLimit: Int, routes: RouteTable = RouteTable()
    ) {
        self.tracer = tracer
        self.metrics = metrics
        self.health = health
        self.secrets = secrets
        self.inFlightLimit = inFlightLimit
        self.routes = routes
    }

    public func build(_ addRoutes: (Router<CallContext>) -> Void) -> Router<CallContext> {
        let router = Router(context: CallContext.self)
        router.add(middleware: TraceMiddleware(tracer: self.tracer))
        router.add(middleware: AccessLogMiddleware())
        router.add(middleware: HTTPMetricsMiddleware(factory: self.metrics))
        router.add(middleware: ProblemMiddleware(routes: self.routes))
        HealthRoutes(monitor: self.health).add(to: router)
        router.add(middleware: AdmissionMiddleware(limit: self.inFlightLimit, metrics: self.metrics))
        router.add(middleware: CallerTokenMiddleware(secrets: self.secrets, routes: self.routes))
        router.add(middleware: DeadlineMiddleware())
        addRoutes(router)
        return router
    }
}
