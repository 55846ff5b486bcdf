import Logging
import Model
import ServiceRuntime
import Synchronization
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
    private let live: Mutex<Live>

    /// What may change while the gateway runs.
    struct Live: Sendable {
        /// `ratelimit-policy` of callers.
        var policyLine: String
        /// Longest time from the head of a request to the last byte of its answer.
        var requestMs: Int
    }

    /// Counts the changes of ``limits``: event loops keep a copy and look here whether it is the latest.
    private let changeCount = Atomic<Int>(0)

    var limits: (values: Live, change: Int) {
        // In this order: a change in between makes the copy old at once.
        let change = self.changeCount.load(ordering: .acquiring)
        return (self.live.withLock { $0 }, change)
    }

    func isLatest(change: Int) -> Bool { change == self.changeCount.load(ordering: .acquiring) }

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
        self.live = Mutex(
            Live(
                policyLine: RateLimitFields.policyLine(gatekeeper.callerPolicy, named: "caller"),
                requestMs: settings.requestMs))
    }

    /// Takes limits over that are in force from now on; requests under way keep the deadline they have.
    func take(_ limits: DoorSettings) {
        if limits.callerPolicy != self.gatekeeper.callerPolicy {
            self.gatekeeper.callers.set(policy: limits.callerPolicy)
        }
        if limits.peerPolicy != self.gatekeeper.strangers.policy {
            self.gatekeeper.strangers.set(policy: limits.peerPolicy)
        }
        self.inFlight.set(limit: limits.inFlightLimit)
        self.live.withLock {
            $0.policyLine = RateLimitFields.policyLine(limits.callerPolicy, named: "caller")
            $0.requestMs = limits.requestMs
        }
        self.changeCount.add(1, ordering: .releasing)
    }
}
