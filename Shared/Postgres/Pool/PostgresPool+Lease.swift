import Synchronization

extension PostgresPool {
    /// Lets the machine decide and carries out what it says. Continuations are resumed after the lock is free.
    ///
    /// - Parameter mayAdvanceClock: false when nothing but an idle connection's age can make the next time due nearer: looking for
    ///   that time goes through all waiters and connections.
    func apply(
        mayAdvanceClock: Bool = true, _ decide: (inout PoolStateMachine, Duration) -> [PoolStateMachine.Action]
    ) {
        let now = self.now
        var resumptions: [(CheckedContinuation<Lease, any Error>, Result<Lease, any Error>)] = []
        var works: [Work] = []
        let (actions, counts, wakeAt) = self.state.withLock { state in
            let actions = decide(&state.machine, now)
            for action in actions { Self.carryOut(action, &state, &resumptions, &works) }
            let isDueNearer = mayAdvanceClock || state.machine.mayAdvance(state.wakeAt, now: now)
            let next = isDueNearer ? state.machine.nextTick(now: now) : nil
            var wakeAt: Duration?
            if let next, state.wakeAt.map({ next < $0 }) ?? true {
                state.wakeAt = next
                wakeAt = next
            }
            return (actions, state.machine.counts, wakeAt)
        }
        for action in actions { self.metrics.record(action) }
        self.metrics.record(counts)
        self.hub.noteWaiters(counts.waiters)
        for work in works { self.enqueue(work) }
        if let wakeAt { self.enqueue(.wake(at: wakeAt)) }
        for (continuation, result) in resumptions { continuation.resume(with: result) }
    }

    private static func carryOut(
        _ action: PoolStateMachine.Action, _ state: inout State,
        _ resumptions: inout [(CheckedContinuation<Lease, any Error>, Result<Lease, any Error>)], _ works: inout [Work]
    ) {
        switch action {
        case .open(let id): works.append(.open(id))
        case .close(let id):
            if let connection = state.connections.removeValue(forKey: id) { works.append(.close(connection)) }
        case .grant(let waiter, let id, _):
            guard let continuation = state.continuations.removeValue(forKey: waiter),
                let connection = state.connections[id]
            else { return }
            resumptions.append((continuation, .success((id, connection))))
        case .refuse(let waiter, let refusal):
            guard let continuation = state.continuations.removeValue(forKey: waiter) else { return }
            resumptions.append((continuation, .failure(Self.error(refusal, lastFailure: state.lastFailure))))
        }
    }

    private static func error(_ refusal: PoolStateMachine.Refusal, lastFailure: PostgresError?) -> PostgresError {
        switch refusal {
        case .queueFull: PostgresError(.overloaded, retryAfterHint: 1, detail: "the queue for a connection is full")
        case .timedOut: PostgresError(.overloaded, retryAfterHint: 1, detail: "no connection came free in time")
        case .unavailable(let retryAfter):
            // Wrong credentials stay wrong: say so instead of "unavailable".
            if let lastFailure, lastFailure.severity == .never {
                lastFailure
            } else {
                PostgresError(
                    .unavailable, retryAfterHint: max(1, retryAfter.inSeconds.rounded(.up)),
                    detail: lastFailure?.detail ?? "the server is away")
            }
        case .cancelled: PostgresError(.cancelled, detail: "while waiting for a connection")
        case .shutDown: PostgresError(.unavailable, detail: "the pool is shut down")
        }
    }

    /// A connection that idles, without queueing and without a change of the next time something is due.
    private func leaseFree() -> Lease? {
        guard !Task.isCancelled else { return nil }
        let (lease, counts) = self.state.withLock { state -> (Lease?, PoolStateMachine.Counts) in
            guard let id = state.machine.leaseIdle(), let connection = state.connections[id] else {
                return (nil, state.machine.counts)
            }
            return ((id, connection), state.machine.counts)
        }
        guard let lease else { return nil }
        self.metrics.recordFree(counts)
        return lease
    }

    /// Gets a connection that is open, as far as a look at its socket can tell.
    nonisolated(nonsending) func lease(deadline: ContinuousClock.Instant?) async throws -> Lease {
        var limit = ContinuousClock.now + self.configuration.pool.leaseTimeout
        if let earlier = PostgresDeadline.earliest(deadline) { limit = min(limit, earlier) }
        while true {
            let lease = if let free = self.leaseFree() { free } else { try await self.wait(until: limit) }
            // A server that restarted has closed all idle connections; each is found out here, without a round trip.
            guard lease.connection.hasPendingInput || !lease.connection.isUsable else { return lease }
            self.apply { machine, now in machine.release(lease.id, now: now, isUsable: false) }
        }
    }

    private nonisolated(nonsending) func wait(until limit: ContinuousClock.Instant) async throws -> Lease {
        try Task.checkCancellationAsPostgresError()
        let waiter = self.state.withLock { state in
            state.nextWaiter += 1
            return PoolStateMachine.WaiterID(number: state.nextWaiter)
        }
        let deadline = self.now + (limit - ContinuousClock.now)
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                self.state.withLock { $0.continuations[waiter] = continuation }
                self.apply { machine, now in machine.lease(waiter, now: now, deadline: deadline) }
                // The task may have been cancelled before the waiter was in the queue.
                if Task.isCancelled { self.apply { machine, _ in machine.cancel(waiter) } }
            }
        } onCancel: {
            self.apply { machine, _ in machine.cancel(waiter) }
        }
    }

    /// Takes a connection back; one that is left in a transaction is rolled back first.
    nonisolated(nonsending) func release(_ lease: Lease) async {
        if lease.connection.isInTransaction { await lease.connection.cleanUp() }
        let isUsable = lease.connection.isUsable
        self.apply(mayAdvanceClock: false) { machine, now in machine.release(lease.id, now: now, isUsable: isUsable) }
    }
}

extension Task where Success == Never, Failure == Never {
    static func checkCancellationAsPostgresError() throws(PostgresError) {
        guard Task.isCancelled else { return }
        throw PostgresError(.cancelled, detail: "before it began")
    }
}
