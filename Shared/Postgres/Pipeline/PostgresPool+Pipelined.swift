extension PostgresPool {
    /// One short statement as a transaction of its own, on a connection shared with other callers: many of them are under way at
    /// once, each without waiting for the others' round trips.
    ///
    /// For statements that take milliseconds at most; a long one holds up those behind it, until one of them runs out of
    /// time: then it is stopped, undone, and run again on a connection of its own. Everything else (transactions, COPY,
    /// settings, LISTEN) belongs into ``withConnection(deadline:_:)``.
    ///
    /// Statements that say they are read-only may share a transaction, which spares both sides most of their work under
    /// load. What they write may be undone without a word, and an answer may come a little later, with those of its group.
    /// - Throws: as ``query(_:_:deadline:)``.
    @discardableResult
    public nonisolated(nonsending) func pipelined(
        _ statement: PostgresStatement, _ parameters: [PostgresValue] = [], deadline: ContinuousClock.Instant? = nil,
        isReadOnly: Bool = false
    ) async throws -> PostgresRows {
        try Task.checkCancellationAsPostgresError()
        let limit = PostgresDeadline.earliest(deadline)
        if let limit, limit <= ContinuousClock.now { throw PostgresError(.timeout, detail: "before it was sent") }
        let query = PostgresQuery(statement, parameters)
        func job(isReadOnly: Bool) -> PipelineJob {
            PipelineJob(query, deadline: limit, patience: self.configuration.pool.leaseTimeout, isReadOnly: isReadOnly)
        }
        var outcome = await self.outcome(of: job(isReadOnly: isReadOnly))
        // Another read in its group failed, or the connection broke before it was sent: now it goes for itself.
        if case .notRun = outcome { outcome = await self.outcome(of: job(isReadOnly: false)) }
        switch outcome {
        case .done(let result): return try result.get()
        case .runAlone: return try await self.query(statement, parameters, deadline: deadline)
        case .notRun: throw PostgresError(.connectionLost, detail: "the server's answer ended early")
        }
    }

    private nonisolated(nonsending) func outcome(of job: PipelineJob) async -> PipelineJob.Outcome {
        let hub = self.hub
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                job.expect(continuation)
                if hub.submit(job) { self.enqueue(.openLane) }
                // The task may have been cancelled before the job was in the queue.
                if Task.isCancelled { hub.cancel(job) }
            }
        } onCancel: {
            hub.cancel(job)
        }
    }

    /// Serves shared statements on one leased connection; part of ``run()``.
    func runLane() async {
        var deadline = self.hub.earliestDeadline
        while true {
            do {
                let lease = try await self.lease(deadline: deadline)
                await lease.connection.run(PipelineLane(connection: lease.connection), self.hub)
                await self.release(lease)
                guard self.hub.needsLane() else { return }
            } catch {
                let error = error as? PostgresError ?? PostgresError(.other, detail: "\(error)")
                guard self.hub.openFailed(error) else { return }
                // The pool may refuse at once as long as others fill it.
                do { try await Task.sleep(for: .milliseconds(5)) } catch { return }
            }
            deadline = self.hub.earliestDeadline
        }
    }
}

extension PostgresConnection {
    /// Gives this connection's thread to a lane until the lane ends.
    fileprivate func run(_ lane: PipelineLane, _ hub: PipelineHub) {
        lane.run(hub)
        self.noteStanding()
    }
}
