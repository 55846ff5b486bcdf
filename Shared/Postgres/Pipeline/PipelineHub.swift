import DequeModule
import Synchronization

/// Spreads callers' statements over the shared connections of a pool, and asks for another one when those are busy.
final class PipelineHub: Sendable {
    private struct State {
        var lanes: [PipelineLane] = []
        var opening = 0
        /// Statements for which no lane has room.
        var queue: Deque<PipelineJob> = []
        var isClosed = false
    }

    /// Statements under way on a lane before another lane is opened.
    private static let depth = 32
    private let state = Mutex(State())
    private let laneLimit: Int
    private let queueLimit: Int
    /// Whether somebody waits for a connection of his own.
    private let yieldWanted = Atomic<Bool>(false)
    /// The length of the queue, for a look without the lock.
    private let queued = Atomic<Int>(0)

    init(_ settings: PostgresConfiguration.Pool) {
        self.laneLimit = settings.maximum
        self.queueLimit = settings.waiterLimit
    }

    var isYieldWanted: Bool { self.yieldWanted.load(ordering: .relaxed) }
    var isClosed: Bool { self.access { $0.isClosed } }

    /// Told by the pool after each of its decisions.
    func noteWaiters(_ count: Int) {
        let isWanted = count > 0
        guard self.yieldWanted.exchange(isWanted, ordering: .relaxed) != isWanted, isWanted else { return }
        for lane in self.state.withLock({ $0.lanes }) { lane.wake() }
    }

    private func access<Result: Sendable>(_ body: (inout State) -> sending Result) -> Result {
        self.state.withLock { state in
            defer { self.queued.store(state.queue.count, ordering: .relaxed) }
            return body(&state)
        }
    }

    private enum Way { case lane(PipelineLane), queued, full, closed }

    /// Sends a statement, or queues it.
    /// - Returns: whether another lane should be opened.
    func submit(_ job: PipelineJob) -> Bool {
        while true {
            let (way, opens) = self.access { state in self.choose(&state, job) }
            switch way {
            case .lane(let lane):
                switch lane.send(job) {
                case .sent: return opens
                case .finished:
                    lane.load.subtract(1, ordering: .relaxed)
                    return opens
                case .closed:
                    lane.load.subtract(1, ordering: .relaxed)
                    self.remove(lane)
                    if opens { self.access { $0.opening -= 1 } }
                    continue
                }
            case .queued: break
            case .full: job.fail(PostgresError(.overloaded, retryAfterHint: 1, detail: "the queue is full"))
            case .closed: job.fail(PostgresError(.unavailable, detail: "the pool is shut down"))
            }
            return opens
        }
    }

    private func choose(_ state: inout State, _ job: PipelineJob) -> (Way, opens: Bool) {
        guard !state.isClosed else { return (.closed, false) }
        var best: PipelineLane?
        var least = Int.max
        for lane in state.lanes {
            let load = lane.load.load(ordering: .relaxed)
            if load < least { (best, least) = (lane, load) }
        }
        let opens = least >= Self.depth && state.lanes.count + state.opening < self.laneLimit && state.opening == 0
        if opens { state.opening += 1 }
        if let best, least < PipelineLane.window, state.queue.isEmpty {
            best.load.add(1, ordering: .relaxed)
            return (.lane(best), opens)
        }
        guard state.queue.count < self.queueLimit else {
            if opens { state.opening -= 1 }
            return (.full, false)
        }
        state.queue.append(job)
        return (.queued, opens)
    }

    /// Gives a lane what waits, as far as it has room, and refuses what has waited too long.
    func feed(_ lane: PipelineLane) {
        // A statement may come to the queue at this moment. A busy lane looks again after its next answer; an idle one has to be sure.
        if self.queued.load(ordering: .relaxed) == 0, lane.load.load(ordering: .relaxed) > 0 { return }
        while true {
            let (job, expired) = self.access { state -> (PipelineJob?, [PipelineJob]) in
                guard !state.queue.isEmpty else { return (nil, []) }
                let expired = Self.takeExpired(&state.queue)
                guard !state.isClosed, lane.load.load(ordering: .relaxed) < PipelineLane.window,
                    let job = state.queue.popFirst()
                else { return (nil, expired) }
                lane.load.add(1, ordering: .relaxed)
                return (job, expired)
            }
            for job in expired { Self.refuse(job) }
            guard let job else { return }
            switch lane.send(job) {
            case .sent: continue
            case .finished: lane.load.subtract(1, ordering: .relaxed)
            case .closed:
                lane.load.subtract(1, ordering: .relaxed)
                self.access { $0.queue.prepend(job) }
                return
            }
        }
    }

    private static func takeExpired(_ queue: inout Deque<PipelineJob>) -> [PipelineJob] {
        let now = ContinuousClock.now
        func isOver(_ job: PipelineJob) -> Bool { job.isStopRequested || job.waitsUntil <= now }
        // The queue is in order of arrival, and mostly so of deadlines: looking at its head is enough to keep it moving.
        var expired: [PipelineJob] = []
        while let first = queue.first, isOver(first) { expired.append(queue.removeFirst()) }
        return expired
    }

    private static func refuse(_ job: PipelineJob) {
        job.fail(
            job.isStopRequested
                ? PostgresError(.cancelled, detail: "while waiting for a connection")
                : PostgresError(.overloaded, retryAfterHint: 1, detail: "no connection came free in time"))
    }

    /// The caller was cancelled.
    func cancel(_ job: PipelineJob) {
        if let lane = job.requestStop() { return lane.wake() }
        let isQueued = self.access { state in
            guard let index = state.queue.firstIndex(where: { $0 === job }) else { return false }
            state.queue.remove(at: index)
            return true
        }
        if isQueued { Self.refuse(job) }
    }

    /// When the first of those who wait for a lane gives up.
    var earliestDeadline: ContinuousClock.Instant? {
        self.access { $0.queue.map(\.waitsUntil).min() }
    }

    func add(_ lane: PipelineLane) {
        self.access { state in
            state.opening -= 1
            if !state.isClosed { state.lanes.append(lane) }
        }
    }

    /// A connection was to be had, but broke before it could be shared.
    func addFailed() { self.access { $0.opening -= 1 } }

    func remove(_ lane: PipelineLane) {
        self.access { state in state.lanes.removeAll { $0 === lane } }
    }

    /// No connection was to be had for another lane.
    /// - Returns: whether to try again, for those whose time is not over.
    func openFailed(_ error: PostgresError) -> Bool {
        let (refused, again) = self.access { state -> ([PipelineJob], Bool) in
            state.opening -= 1
            // Other lanes serve the queue.
            guard state.lanes.isEmpty else { return ([], false) }
            let mayCome = error.code == .overloaded && !state.isClosed
            var refused: [PipelineJob] = []
            if mayCome {
                let now = ContinuousClock.now
                refused = state.queue.filter { $0.waitsUntil <= now || $0.isStopRequested }
                state.queue.removeAll { job in refused.contains { $0 === job } }
            } else {
                refused = Array(state.queue)
                state.queue = []
            }
            let again = !state.queue.isEmpty
            if again { state.opening += 1 }
            return (refused, again)
        }
        for job in refused { job.fail(error) }
        return again
    }

    /// A lane has ended. Whoever came too late for it needs another.
    /// - Returns: whether to open one.
    func needsLane() -> Bool {
        self.access { state in
            guard !state.queue.isEmpty, state.lanes.isEmpty, state.opening == 0, !state.isClosed else { return false }
            state.opening += 1
            return true
        }
    }

    /// Refuses everyone who waits; lanes end once they are drained.
    func close() {
        let (queue, lanes) = self.access { state in
            state.isClosed = true
            defer { state.queue = [] }
            return (state.queue, state.lanes)
        }
        for job in queue { job.fail(PostgresError(.unavailable, detail: "the pool is shut down")) }
        for lane in lanes { lane.wake() }
    }
}
