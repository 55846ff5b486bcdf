import CLibpq
import DequeModule
import Foundation

/// How statements come onto the connection: at once from the caller's thread, or reads together from the connection's.
extension PipelineLane {
    enum Sending { case sent, closed, finished }

    /// Sends a statement from the caller's thread, or lets a read wait for those it will go with.
    func send(_ job: PipelineJob) -> Sending {
        self.lock.lock()
        defer { self.lock.unlock() }
        guard self.isOpen, let session = self.core.session, !session.isBroken else { return .closed }
        // An idle connection that has something to say was mostly closed by the server; its thread is about to find out.
        if self.flights.isEmpty, Session.hasPendingInput(PQsocket(session.pointer)) { return .closed }
        guard job.markSent(on: self) else {
            job.fail(PostgresError(.cancelled, detail: "before it was sent"))
            return .finished
        }
        if let deadline = job.deadline, let watchAt = self.watchAt, deadline < watchAt { self.watchAt = deadline }
        if job.isReadOnly, !self.flights.isEmpty {
            self.pending.append(job)
            return .sent
        }
        // What the socket does not take now, and a deadline, are the connection's thread's business.
        let isTaken = self.put(job, on: session, endsGroup: true) && PQflush(session.pointer) == 0
        if !isTaken || job.deadline != nil && self.flights.count == 1 { self.wake() }
        return .sent
    }

    /// Sends the reads that have come together. Called by the connection's thread with the lock held.
    func sendPending(_ session: Session) {
        guard self.flights.isEmpty else { return }
        while !self.pending.isEmpty, !session.isBroken {
            let job = self.pending.removeFirst()
            guard self.put(job, on: session, endsGroup: self.pending.isEmpty) else { return }
        }
    }

    /// - Returns: false when the connection broke; its thread then answers for the statement.
    private func put(_ job: PipelineJob, on session: Session, endsGroup: Bool) -> Bool {
        var flight = Flight(job: job, endsGroup: endsGroup)
        defer { self.flights.append(flight) }
        do throws(PostgresError) {
            if let name = self.core.statements.name(for: job.key) ?? self.preparing[job.key] {
                try job.parameters.send(statement: name, isName: true, on: session)
            } else if self.core.statements.limit == 0 {
                try job.parameters.send(statement: job.text, isName: false, on: session)
            } else {
                let name = self.core.statements.newName()
                let types = job.parameters.types
                guard PQsendPrepare(session.pointer, name, job.text, CInt(types.count), types) == 1 else {
                    throw session.lost("PQsendPrepare")
                }
                try job.parameters.send(statement: name, isName: true, on: session)
                flight.preparing = name
                flight.commandsLeft = 2
                self.preparing[job.key] = name
            }
            guard !endsGroup || PQpipelineSync(session.pointer) == 1 else { throw session.lost("PQpipelineSync") }
            return true
        } catch {
            session.giveUp()
            return false
        }
    }
}
