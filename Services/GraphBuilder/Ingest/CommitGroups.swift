import Model
import Synchronization

/// One chunk on its way into the database, its rows sorted.
struct IngestJob: Sendable {
    var chunk: IngestChunk
    var completion: IngestWriter.Completion?
}

/// Commits what many requests bring in common transactions: the shell around ``CommitQueue``, which decides who goes with whom.
final class CommitGroups: Sendable {
    typealias Outcome = Result<IngestWriter.Outcome, any Error>

    /// How long the database may take before a caller is told to come back. What has begun goes on; should it become durable
    /// after all, what is sent again counts as known, or gets the stored answer under its key.
    static let patience = Duration.seconds(10)

    private typealias Continuation = CheckedContinuation<Outcome?, Never>

    private struct Pending: Sendable {
        var id: CommitQueue.JobID
        var job: IngestJob
    }

    /// Somebody who waits for a job's fate.
    private struct Caller: Sendable {
        var continuation: Continuation
        var since: ContinuousClock.Instant
    }

    private struct State {
        var queue: CommitQueue
        /// Jobs that no group has taken yet.
        var pending: [CommitQueue.JobID: IngestJob] = [:]
        /// Callers of jobs that wait or are being committed.
        var callers: [CommitQueue.JobID: Caller] = [:]
        var nextID: CommitQueue.JobID = 0
        /// Moving average of what one group brings in.
        var rowsPerSecond = 50_000.0
        /// Whether the task runs that looks for callers who have waited too long.
        var isWatched = false
        /// Whether a task sleeps until a group that waits for company is due.
        var isTimed = false
    }

    private let state: Mutex<State>
    /// Commits jobs together; one outcome a job, in their order.
    private let commit: @Sendable ([IngestJob]) async -> [Outcome]

    private let patience: Duration

    init(
        limits: CommitQueue.Limits, patience: Duration = CommitGroups.patience,
        commit: @escaping @Sendable ([IngestJob]) async -> [Outcome]
    ) {
        self.state = Mutex(State(queue: CommitQueue(limits: limits)))
        self.patience = patience
        self.commit = commit
    }

    /// Jobs and rows that wait now.
    var waiting: (jobs: Int, rows: Int) { self.state.withLock { ($0.queue.waitingJobs, $0.queue.waitingRows) } }

    /// Returns when the job's fate is settled, or fails with 503 once ``patience`` is over. A caller that is cancelled meanwhile
    /// still waits: what has begun may be durable.
    /// - Throws: an `overloaded` problem with the time the queue takes to drain when too much waits; nothing was done then.
    func submit(_ job: IngestJob) async throws(Problem) -> Outcome {
        var refusal: Problem?
        let now = ContinuousClock.now
        let outcome = await withCheckedContinuation { (continuation: Continuation) in
            refusal = self.state.withLock { state in
                let id = state.nextID
                guard state.queue.add(id, rows: job.chunk.rows.count, now: now) else { return Self.refusal(state) }
                state.nextID += 1
                state.pending[id] = job
                state.callers[id] = Caller(continuation: continuation, since: now)
                return nil
            }
            if refusal != nil { continuation.resume(returning: nil) }
            self.startGroups()
            self.watch()
        }
        guard let outcome else { throw refusal ?? Problem(.overloaded, detail: "The queue is full.", retryAfter: 1) }
        return outcome
    }

    private static func refusal(_ state: State) -> Problem {
        let rate = max(1, state.rowsPerSecond * Double(state.queue.limits.running))
        return Problem(
            .overloaded, detail: "\(state.queue.waitingRows) observations wait for the database already.",
            retryAfter: max(1, (Double(state.queue.waitingRows) / rate).rounded(.up)))
    }

    private func startGroups() {
        while let group = self.nextGroup() {
            // Detached: neither the deadline nor the cancellation of whoever came last is the group's.
            Task.detached {
                let start = ContinuousClock.now
                let outcomes = await self.commit(group.map(\.job))
                let seconds = max(1e-6, (ContinuousClock.now - start) / .seconds(1))
                let rows = group.reduce(0) { $0 + $1.job.chunk.rows.count }
                self.state.withLock { state in
                    state.queue.finish()
                    state.rowsPerSecond = 0.8 * state.rowsPerSecond + 0.2 * Double(rows) / seconds
                }
                for (pending, outcome) in zip(group, outcomes) {
                    // Nobody when the caller was told to come back.
                    let caller = self.state.withLock { $0.callers.removeValue(forKey: pending.id) }
                    caller?.continuation.resume(returning: outcome)
                }
                self.startGroups()
            }
        }
        self.startLater()
    }

    /// Sees to it that a group that waits for company is looked at again.
    private func startLater() {
        let due = self.state.withLock { state -> ContinuousClock.Instant? in
            guard !state.isTimed, let due = state.queue.nextStart else { return nil }
            state.isTimed = true
            return due
        }
        guard let due else { return }
        Task.detached {
            try? await Task.sleep(until: due, clock: .continuous)
            self.state.withLock { $0.isTimed = false }
            self.startGroups()
        }
    }

    private func nextGroup() -> [Pending]? {
        self.state.withLock { state in
            state.queue.start(now: .now)?.compactMap { id in
                state.pending.removeValue(forKey: id).map { Pending(id: id, job: $0) }
            }
        }
    }

    /// Keeps one task going while anybody waits, which tells those who have waited too long.
    private func watch() {
        let isFirst = self.state.withLock { state in
            defer { state.isWatched = true }
            return !state.isWatched
        }
        guard isFirst else { return }
        // Ends by itself a moment after the last caller has gone.
        Task.detached {
            repeat { try? await Task.sleep(for: self.patience / 10) } while self.dismissLate()
        }
    }

    /// - Returns: whether anybody still waits.
    private func dismissLate(now: ContinuousClock.Instant = .now) -> Bool {
        let (late, goesOn) = self.state.withLock { state in
            let late = state.callers.filter { now - $0.value.since > self.patience }
            for id in late.keys {
                state.callers[id] = nil
                state.pending[id] = nil
            }
            if !late.isEmpty { state.queue.remove(Set(late.keys)) }
            state.isWatched = !state.callers.isEmpty
            return (late.values, state.isWatched)
        }
        for caller in late { caller.continuation.resume(returning: .failure(Self.standstill)) }
        return goesOn
    }

    static let standstill = Problem(
        .unavailable,
        detail: "The database does not answer; whether these observations are stored is not known. Send them again.",
        retryAfter: 5)
}
