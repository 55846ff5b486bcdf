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

    private struct Pending: Sendable {
        var job: IngestJob
        var continuation: CheckedContinuation<Outcome?, Never>
    }

    private struct State {
        var queue: CommitQueue
        var pending: [CommitQueue.JobID: Pending] = [:]
        var nextID: CommitQueue.JobID = 0
        /// Moving average of what one group brings in.
        var rowsPerSecond = 50_000.0
    }

    private let state: Mutex<State>
    /// Commits jobs together; one outcome a job, in their order.
    private let commit: @Sendable ([IngestJob]) async -> [Outcome]

    init(limits: CommitQueue.Limits, commit: @escaping @Sendable ([IngestJob]) async -> [Outcome]) {
        self.state = Mutex(State(queue: CommitQueue(limits: limits)))
        self.commit = commit
    }

    /// Jobs and rows that wait now.
    var waiting: (jobs: Int, rows: Int) { self.state.withLock { ($0.queue.waitingJobs, $0.queue.waitingRows) } }

    /// Returns when the job's fate is settled. A caller that is cancelled meanwhile still waits: what has begun may be durable.
    /// - Throws: an `overloaded` problem with the time the queue takes to drain when too much waits; nothing was done then.
    func submit(_ job: IngestJob) async throws(Problem) -> Outcome {
        var refusal: Problem?
        let outcome = await withCheckedContinuation { (continuation: CheckedContinuation<Outcome?, Never>) in
            refusal = self.state.withLock { state in
                let id = state.nextID
                guard state.queue.add(id, rows: job.chunk.rows.count) else { return Self.refusal(state) }
                state.nextID += 1
                state.pending[id] = Pending(job: job, continuation: continuation)
                return nil
            }
            if refusal != nil { continuation.resume(returning: nil) }
            self.startGroups()
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
                for (pending, outcome) in zip(group, outcomes) { pending.continuation.resume(returning: outcome) }
                self.startGroups()
            }
        }
    }

    private func nextGroup() -> [Pending]? {
        self.state.withLock { state in
            state.queue.start()?.compactMap { state.pending.removeValue(forKey: $0) }
        }
    }
}
