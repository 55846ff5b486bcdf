import Logging
import Model
import ServiceRuntime
import Telemetry

/// What all event loops of the public side share. Immutable, or safe for many threads by itself.
final class DoorCore: Sendable {
    let settings: DoorSettings
    let routes: RouteTable
    let gatekeeper: Gatekeeper
    let directory: ServiceDirectory
    let mint: CallerTokenMint
    let own: OwnRoutes
    let metrics: GatewayMetrics
    let inFlight: InFlight
    let load: LoadControl
    let decisions: DecisionLog
    let audit: AuditLog
    let tracer: TraceRecorder
    let accessLog: AccessLog
    /// Whether the service has begun to stop: connections are then ended behind their answers, while the listener still takes
    /// new ones for those who have not heard of it.
    let isDraining: @Sendable () -> Bool
    let logger: Logger
    /// Lines that every answer has.
    let standingLines: String
    /// `ratelimit-policy` of callers.
    let policyLine: String

    init(
        settings: DoorSettings, gatekeeper: Gatekeeper, directory: ServiceDirectory, mint: CallerTokenMint,
        own: OwnRoutes, metrics: GatewayMetrics, inFlight: InFlight, decisions: DecisionLog, audit: AuditLog,
        tracer: TraceRecorder,
        accessLog: AccessLog, isDraining: @escaping @Sendable () -> Bool, logger: Logger
    ) {
        self.settings = settings
        self.routes = RouteTable()
        self.gatekeeper = gatekeeper
        self.directory = directory
        self.mint = mint
        self.own = own
        self.metrics = metrics
        self.inFlight = inFlight
        self.load = LoadControl(memoryCeiling: settings.memoryCeiling)
        self.decisions = decisions
        self.audit = audit
        self.tracer = tracer
        self.accessLog = accessLog
        self.isDraining = isDraining
        self.logger = logger
        self.standingLines =
            "strict-transport-security: max-age=\(settings.hstsSeconds)\r\nx-content-type-options: nosniff\r\n"
        self.policyLine = RateLimitFields.policyLine(gatekeeper.callerPolicy, named: "caller")
    }
}
