import CoreMetrics
import Model
import Synchronization

/// What a service knows of its own state: drain, database, and whatever its parts add.
///
/// Readiness is asked often and must be cheap: checks run at most once per second, one run at a time, each bounded to two
/// seconds; everybody else gets the last result.
public final class HealthMonitor: Sendable {
    /// Something that must hold. `run` returns why it does not, or nil.
    public struct Check: Sendable {
        public var name: String
        /// Whether the service is not ready while it fails; otherwise it is only DEGRADED.
        public var stopsTraffic: Bool
        public var run: @Sendable () async -> String?

        public init(_ name: String, stopsTraffic: Bool, run: @escaping @Sendable () async -> String?) {
            self.name = name
            self.stopsTraffic = stopsTraffic
            self.run = run
        }
    }

    public struct Readiness: Hashable, Sendable {
        public var isReady: Bool
        public var reasons: [String]
    }

    static let cacheTime: Duration = .seconds(1)
    static let checkTime: Duration = .seconds(2)

    private struct Outcome {
        var at: ContinuousClock.Instant
        var stopping: [String]
        var degrading: [String]
        var databaseMs: Double?
    }

    private struct State {
        var isDraining = false
        var isStarted = false
        var checks: [Check] = []
        var figures: (@Sendable () -> HealthReport.Metrics)?
        var circuits: [@Sendable () -> (states: [String: String], reasons: [String])] = []
        var databaseCircuits: [Circuit] = []
        var last: Outcome?
        var isRunning = false
    }

    public let service: String
    public let version: String
    private let database: (@Sendable () async throws -> Duration)?
    private let state = Mutex(State())

    /// - Parameter database: one round trip to the database, and how long it took; nil: no database.
    public init(service: String, version: String, database: (@Sendable () async throws -> Duration)? = nil) {
        self.service = service
        self.version = version
        self.database = database
    }

    /// Adds a check; call while assembling.
    public func add(_ check: Check) { self.state.withLock { $0.checks.append(check) } }

    /// The figures of `/health` besides the database latency.
    public func setFigures(_ figures: @escaping @Sendable () -> HealthReport.Metrics) {
        self.state.withLock { $0.figures = figures }
    }

    /// Circuits that are shown, and degrade the service while they are not closed.
    public func add(circuits: @escaping @Sendable () -> (states: [String: String], reasons: [String])) {
        self.state.withLock { $0.circuits.append(circuits) }
    }

    /// The circuit around the database. When nobody asks after its pause, the round trip of a check is the question that is let
    /// through: else a quiet service would stay DEGRADED long after its database is well.
    public func add(database circuit: Circuit) {
        self.add(circuits: { ([circuit.name: circuit.state.rawValue], circuit.reason.map { [$0] } ?? []) })
        self.state.withLock { $0.databaseCircuits.append(circuit) }
    }

    /// From now on requests may come: set when the listener is up.
    public func markStarted() { self.state.withLock { $0.isStarted = true } }
    /// From now on `/readyz` says 503.
    public func startDraining() { self.state.withLock { $0.isDraining = true } }
    public var isDraining: Bool { self.state.withLock { $0.isDraining } }

    public func readiness() async -> Readiness {
        let (isDraining, isStarted) = self.state.withLock { ($0.isDraining, $0.isStarted) }
        if isDraining { return Readiness(isReady: false, reasons: ["the service is stopping"]) }
        if !isStarted { return Readiness(isReady: false, reasons: ["the service is starting"]) }
        let outcome = await self.outcome()
        return Readiness(isReady: outcome.stopping.isEmpty, reasons: outcome.stopping)
    }

    public func report() async -> HealthReport {
        let outcome = await self.outcome()
        let (figures, isDraining, circuits) = self.state.withLock { ($0.figures, $0.isDraining, $0.circuits) }
        var states: [String: String] = [:]
        var troubles: [String] = []
        for circuit in circuits {
            let told = circuit()
            states.merge(told.states) { $1 }
            troubles += told.reasons
        }
        var metrics = figures?() ?? HealthReport.Metrics()
        metrics.dbLatency = outcome.databaseMs
        let reasons = (isDraining ? ["the service is stopping"] : []) + outcome.stopping + outcome.degrading + troubles
        return HealthReport(
            status: reasons.isEmpty ? .healthy : .degraded, service: self.service, version: self.version,
            metrics: metrics, circuits: states, reasons: reasons)
    }

    private func outcome() async -> Outcome {
        let cached: Outcome? = self.state.withLock { state in
            if let last = state.last, state.isRunning || ContinuousClock.now - last.at < Self.cacheTime { return last }
            state.isRunning = true
            return nil
        }
        if let cached { return cached }
        let outcome = await self.examine()
        self.state.withLock { state in
            state.last = outcome
            state.isRunning = false
        }
        return outcome
    }

    private func examine() async -> Outcome {
        var outcome = Outcome(at: ContinuousClock.now, stopping: [], degrading: [], databaseMs: nil)
        if let database = self.database {
            let trials = self.state.withLock { $0.databaseCircuits }.filter { $0.beginTrial() }
            let took = await Self.bounded { try? await database() } ?? nil
            // A pool whose connections are all at work does not answer either, and says nothing against the database.
            for circuit in trials { if took == nil { circuit.abandoned() } else { circuit.succeeded() } }
            if let took {
                outcome.databaseMs = Double(Int64(took / .microseconds(1))) / 1_000
            } else {
                outcome.stopping.append("the database does not answer")
            }
        }
        for check in self.state.withLock({ $0.checks }) {
            let answer = await Self.bounded { await check.run() }
            guard let reason = answer ?? "\(check.name) did not answer in time" else { continue }
            if check.stopsTraffic { outcome.stopping.append(reason) } else { outcome.degrading.append(reason) }
        }
        outcome.at = ContinuousClock.now
        return outcome
    }

    /// nil when `work` did not end in time.
    private static func bounded<Value: Sendable>(_ work: @escaping @Sendable () async -> Value) async -> Value? {
        await withTaskGroup(of: Value?.self) { group in
            group.addTask { await work() }
            group.addTask {
                try? await Task.sleep(for: Self.checkTime)
                return nil
            }
            defer { group.cancelAll() }
            return await group.next() ?? nil
        }
    }
}
