import Synchronization

/// One statement of one caller on its way through a shared connection.
final class PipelineJob: Sendable {
    enum Outcome: Sendable {
        case done(Result<PostgresRows, PostgresError>)
        /// Nothing of the statement remains on the server and its caller is not to blame: it is to run on a connection of its own.
        case runAlone
        /// The server has not seen it.
        case notRun
    }

    private enum Place {
        case waiting
        case sent(PipelineLane)
        case finished
    }

    private struct State {
        var place = Place.waiting
        var continuation: CheckedContinuation<Outcome, Never>?
    }

    let text: String
    let key: StatementCache.Key
    let parameters: EncodedParameters
    let deadline: ContinuousClock.Instant?
    /// How long it waits for a connection: its deadline, or the pool's patience with those who have none.
    let waitsUntil: ContinuousClock.Instant
    /// Whether it may share a transaction with others of its kind.
    let isReadOnly: Bool
    private let state = Mutex(State())
    /// Apart from the state because a lane looks at it for everything under way; set with the state locked.
    private let stopRequested = Atomic<Bool>(false)

    init(_ query: PostgresQuery, deadline: ContinuousClock.Instant?, patience: Duration, isReadOnly: Bool) {
        self.text = query.statement.text
        self.parameters = EncodedParameters(query.parameters)
        self.key = StatementCache.Key(text: query.statement.text, types: self.parameters.types)
        self.deadline = deadline
        let bound = ContinuousClock.now + patience
        self.waitsUntil = deadline.map { min($0, bound) } ?? bound
        self.isReadOnly = isReadOnly
    }

    /// Before anything else is done with the job.
    func expect(_ continuation: CheckedContinuation<Outcome, Never>) {
        self.state.withLock { $0.continuation = continuation }
    }

    /// The caller does not want it any more.
    /// - Returns: the connection it was sent on, nil when it was not.
    func requestStop() -> PipelineLane? {
        self.state.withLock { state in
            self.stopRequested.store(true, ordering: .relaxed)
            guard case .sent(let lane) = state.place else { return nil }
            return lane
        }
    }

    var isStopRequested: Bool { self.stopRequested.load(ordering: .relaxed) }

    /// - Returns: false when it must not be sent any more.
    func markSent(on lane: PipelineLane) -> Bool {
        self.state.withLock { state in
            guard !self.isStopRequested, case .waiting = state.place else { return false }
            state.place = .sent(lane)
            return true
        }
    }

    /// Answers the caller; only the first answer counts.
    func finish(_ outcome: Outcome) {
        let continuation = self.state.withLock { state in
            state.place = .finished
            return state.continuation.take()
        }
        continuation?.resume(returning: outcome)
    }

    func fail(_ error: PostgresError) { self.finish(.done(.failure(error))) }
}
