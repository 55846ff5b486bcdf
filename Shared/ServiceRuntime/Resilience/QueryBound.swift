import CoreMetrics
import Model
import Postgres

/// Bounds the database work of one question. The server itself stops each statement at the limit; the caller gives up a second
/// later, for a server that does not even do that.
public struct QueryBound: Sendable {
    public enum Kind: String, Sendable {
        /// What a person or a program waits for: QUERY_TIMEOUT_MS.
        case interactive
        /// What computes over much that is stored: BATCH_TIMEOUT_MS, or a limit of its own.
        case batch
    }

    /// How long after the server's own limit its silence counts as absence.
    static let grace = Duration.seconds(1)

    private let limit: @Sendable () -> Duration
    private let delay: @Sendable () -> Duration?
    private let circuit: Circuit?
    private let durations: CoreMetrics.Timer
    private let timeouts: Counter

    /// - Parameters:
    ///   - delay: put before each statement, on the server: slow database by choice.
    ///   - limit: read for each question, so that it can be changed while the service runs.
    public init(
        _ kind: Kind, circuit: Circuit? = nil, factory: any MetricsFactory = MetricsSystem.factory,
        delay: @escaping @Sendable () -> Duration? = { nil }, limit: @escaping @Sendable () -> Duration
    ) {
        self.limit = limit
        self.delay = delay
        self.circuit = circuit
        let labels = [("kind", kind.rawValue)]
        self.durations = CoreMetrics.Timer(
            label: "correlation_engine_query_duration_seconds", dimensions: labels, preferredDisplayUnit: .seconds,
            factory: factory)
        self.timeouts = Counter(
            label: "correlation_engine_query_timeouts_total", dimensions: labels, factory: factory)
    }

    /// A fixed limit, for tests and commands.
    public init(limit: Duration) { self.init(.interactive, limit: { limit }) }

    /// - Throws: what `body` throws; 503 at once while the database's circuit is open.
    public nonisolated(nonsending) func bound<Result>(_ body: () async throws -> Result) async throws -> Result {
        try self.circuit?.admit()
        let limit = self.limit()
        let begin = ContinuousClock.now
        let own = begin + limit + Self.grace
        let deadline = min(own, PostgresDeadline.current ?? own)
        do {
            let result = try await PostgresDeadline.$current.withValue(deadline) {
                try await PostgresDeadline.$statement.withValue(
                    PostgresDeadline.Statement(limit: limit, delay: self.delay()), operation: body)
            }
            self.durations.recordNanoseconds(Int64(begin.duration(to: .now) / .nanoseconds(1)))
            self.circuit?.succeeded()
            return result
        } catch let error as PostgresError {
            self.durations.recordNanoseconds(Int64(begin.duration(to: .now) / .nanoseconds(1)))
            self.judge(error)
            throw error
        } catch {
            // Whatever else it was, the database was not what failed.
            self.circuit?.abandoned()
            throw error
        }
    }

    private func judge(_ error: PostgresError) {
        if error.code == .timeout { self.timeouts.increment() }
        switch error.code {
        case .unavailable, .connectionLost, .outOfResources: self.circuit?.failed("\(error)")
        // A server that stopped the statement itself is well; one that was only given up on is not.
        case .timeout where error.sqlState == nil: self.circuit?.failed("it did not answer in time")
        case .timeout, .cancelled, .overloaded: self.circuit?.abandoned()
        default: self.circuit?.succeeded()
        }
    }
}
