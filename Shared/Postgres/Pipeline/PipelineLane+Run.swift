import CLibpq
import DequeModule
import Foundation
import Glibc
import Synchronization

/// The connection's thread: reads answers, hands them out, stops what takes too long.
extension PipelineLane {
    /// How long an idle lane keeps its connection, and how long a busy one may keep it from callers who wait for one.
    private static let linger: Duration = .milliseconds(50)
    private static let term: Duration = .milliseconds(20)
    /// Time the server has to obey each cancel request to the same statement.
    private static let cancelGraces: [Duration] = [.milliseconds(300), .milliseconds(700), .seconds(1)]

    private typealias Answer = (job: PipelineJob, outcome: PipelineJob.Outcome)

    /// Serves until idle, asked to yield, or broken.
    func run(_ hub: PipelineHub) {
        guard self.enter() else {
            hub.addFailed()
            return
        }
        hub.add(self)
        var idleSince = ContinuousClock.now
        var isWoken = true
        var isEnding = false
        while true {
            hub.feed(self)
            let turn = self.turn(isWoken: isWoken)
            for answer in turn.answers { answer.job.finish(answer.outcome) }
            if !turn.answers.isEmpty { self.load.subtract(turn.answers.count, ordering: .relaxed) }
            if turn.isBroken { return self.fail(hub) }
            if turn.isDrained { break }
            let now = ContinuousClock.now
            if self.load.load(ordering: .relaxed) > 0 { idleSince = now }
            let isDismissed = now - self.openedAt > Self.term && hub.isYieldWanted
            if !isEnding, now - idleSince > Self.linger || isDismissed || hub.isClosed {
                self.refuseMore(hub)
                isEnding = true
                // Once more at once: there may be nothing to wait for.
                continue
            }
            isWoken = turn.wait()
        }
        self.leave()
    }

    private func enter() -> Bool {
        self.lock.lock()
        defer { self.lock.unlock() }
        guard let session = self.core.session, !session.isBroken else { return false }
        self.isOpen = PQenterPipelineMode(session.pointer) == 1
        return self.isOpen
    }

    private func refuseMore(_ hub: PipelineHub) {
        hub.remove(self)
        self.lock.lock()
        self.isOpen = false
        self.lock.unlock()
    }

    /// What came of one look at the connection.
    private struct Turn {
        var answers: [Answer] = []
        var isBroken = false
        /// Nothing is under way and nothing more may be sent.
        var isDrained = false
        /// Until something is due.
        var milliseconds: CInt = 0
        var socket = pollfd(fd: -1, events: 0, revents: 0)
        var signal: pollfd

        /// - Returns: whether somebody called ``PipelineLane/wake()``.
        consuming func wait() -> Bool {
            withUnsafeTemporaryAllocation(of: pollfd.self, capacity: 2) { descriptors in
                descriptors.initializeElement(at: 0, to: self.socket)
                descriptors.initializeElement(at: 1, to: self.signal)
                return poll(descriptors.baseAddress, 2, self.milliseconds) > 0 && descriptors[1].revents != 0
            }
        }
    }

    /// Takes what has arrived, sees to the head, and pushes what the socket did not take before.
    private func turn(isWoken: Bool) -> Turn {
        self.lock.lock()
        defer { self.lock.unlock() }
        var turn = Turn(signal: pollfd(fd: self.signal.descriptor, events: Int16(POLLIN), revents: 0))
        if isWoken {
            self.signal.drain()
            self.watchAt = nil
        }
        guard let session = self.core.session, !session.isBroken, PQconsumeInput(session.pointer) == 1 else {
            turn.isBroken = true
            return turn
        }
        while !self.flights.isEmpty, PQisBusy(session.pointer) == 0 {
            let isConcluded =
                if let result = PQgetResult(session.pointer) { self.take(result, session) } else { self.endCommand() }
            if isConcluded { turn.answers.append(self.concludeHead()) }
            if session.isBroken { break }
        }
        if !session.isBroken {
            self.dropPending(into: &turn.answers)
            self.sendPending(session)
            turn.milliseconds = self.watchHead(session)
        }
        let left = session.isBroken ? -1 : PQflush(session.pointer)
        turn.isBroken = left < 0
        turn.isDrained = !self.isOpen && self.flights.isEmpty && self.pending.isEmpty
        turn.socket = pollfd(
            fd: PQsocket(session.pointer), events: Int16(left > 0 ? POLLIN | POLLOUT : POLLIN), revents: 0)
        return turn
    }

    /// - Returns: whether the head is complete.
    private func take(_ result: OpaquePointer, _ session: Session) -> Bool {
        switch PQresultStatus(result) {
        case PGRES_PIPELINE_SYNC:
            PQclear(result)
            return true
        case PGRES_TUPLES_OK, PGRES_COMMAND_OK, PGRES_EMPTY_QUERY:
            let rows = PostgresRows(result: ResultHandle(result))
            if let name = self.flights[0].preparing {
                self.flights[0].preparing = nil
                self.preparing[self.flights[0].job.key] = nil
                if let old = self.core.statements.insert(self.flights[0].job.key, name: name) {
                    self.core.droppedStatements.append(old)
                }
            } else {
                self.flights[0].rows = rows
            }
        case PGRES_PIPELINE_ABORTED:
            self.forgetPreparation()
            PQclear(result)
        case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
            PQclear(result)
            session.giveUp()
        default:
            let operation = Session.Operation(ticket: 0, deadline: nil, stopReason: self.flights[0].stopReason)
            if self.flights[0].failure == nil { self.flights[0].failure = session.failure(result, operation) }
            self.forgetPreparation()
            PQclear(result)
        }
        return false
    }

    /// The server did not prepare what the head asked for.
    private func forgetPreparation() {
        guard self.flights[0].preparing != nil else { return }
        self.flights[0].preparing = nil
        self.preparing[self.flights[0].job.key] = nil
    }

    /// - Returns: whether the head is complete: the last of a group only at the synchronisation point.
    private func endCommand() -> Bool {
        self.flights[0].commandsLeft -= 1
        return self.flights[0].commandsLeft == 0 && !self.flights[0].endsGroup
    }

    private func concludeHead() -> Answer {
        let flight = self.flights.removeFirst()
        self.headCancels = 0
        if self.cancelAgainAt != nil {
            self.cancelAgainAt = nil
            self.watchAt = nil
        }
        // A statement that opened a transaction would take its successors into it.
        if let session = self.core.session, PQtransactionStatus(session.pointer) == PQTRANS_INTRANS { session.giveUp() }
        guard let failure = flight.failure else {
            // Without rows: skipped by the server because a read before it in its group failed.
            return (flight.job, flight.rows.map { .done(.success($0)) } ?? .notRun)
        }
        let judged = self.core.judge(failure, of: flight.job.key)
        let isVictim = failure.sqlState == "57014" && flight.stopReason == nil && !self.cancels.isEmpty
        if judged.code == .staleStatement || isVictim || flight.isEvicted && failure.sqlState == "57014" {
            return (flight.job, .runAlone)
        }
        return (flight.job, .done(.failure(judged)))
    }

    /// Refuses reads that wait here and have no time left, or nobody who wants them.
    private func dropPending(into answers: inout [Answer]) {
        guard !self.pending.isEmpty, self.watchAt.map({ $0 <= ContinuousClock.now }) ?? true else { return }
        let now = ContinuousClock.now
        self.pending.removeAll { job in
            guard job.isStopRequested || job.deadline.map({ $0 <= now }) ?? false else { return false }
            let code: PostgresError.Code = job.isStopRequested ? .cancelled : .timeout
            answers.append((job, .done(.failure(PostgresError(code, detail: "before it was sent")))))
            return true
        }
    }

    /// Stops the head when its time is over, or when somebody behind it cannot wait.
    /// - Returns: milliseconds until something is due.
    private func watchHead(_ session: Session) -> CInt {
        guard !self.flights.isEmpty else { return CInt(Self.linger.wholeMilliseconds) }
        let now = ContinuousClock.now
        // Everything under way is looked at only when something can be due: mostly answers come long before.
        if let watchAt = self.watchAt, now < watchAt { return Session.milliseconds(until: watchAt) }
        if let again = self.cancelAgainAt {
            if again <= now { self.cancelHead(session, now) }
        } else {
            for (index, flight) in self.flights.enumerated() {
                let isLate = flight.job.deadline.map { $0 <= now } ?? false
                guard isLate || flight.job.isStopRequested else { continue }
                if index == 0 {
                    self.flights[0].stopReason = isLate ? .timeout : .cancelled
                } else {
                    self.flights[0].isEvicted = true
                }
                self.cancelHead(session, now)
                break
            }
        }
        var due = self.cancelAgainAt ?? now + Self.linger
        for flight in self.flights {
            if let deadline = flight.job.deadline, deadline > now { due = min(due, deadline) }
        }
        for job in self.pending {
            if let deadline = job.deadline, deadline > now { due = min(due, deadline) }
        }
        self.watchAt = due
        return Session.milliseconds(until: due)
    }

    private func cancelHead(_ session: Session, _ now: ContinuousClock.Instant) {
        guard self.headCancels < Self.cancelGraces.count, let cancel = CancelRequest(of: session.pointer) else {
            return session.giveUp()
        }
        self.cancelAgainAt = now + Self.cancelGraces[self.headCancels]
        self.headCancels += 1
        // Those that are through need no more watching; the last one stays as a sign that a signal may still come.
        if self.cancels.count >= 8 { self.cancels.removeAll { $0.wait(milliseconds: 0) } }
        self.cancels.append(cancel)
    }

    /// Makes the connection ready for exclusive use.
    private func leave() {
        self.lock.lock()
        defer { self.lock.unlock() }
        guard let session = self.core.session, !session.isBroken else { return }
        guard PQexitPipelineMode(session.pointer) == 1 else { return session.giveUp() }
        var operation = Session.Operation(ticket: 0, deadline: nil, heedsCancellation: false, cancels: self.cancels)
        session.settleCancel(&operation)
        if session.isBroken { self.core.session = nil }
    }

    /// The connection broke: nobody knows what became of the statements under way.
    private func fail(_ hub: PipelineHub) {
        hub.remove(self)
        self.lock.lock()
        self.isOpen = false
        let lost =
            self.core.session?.lost("pipeline") ?? PostgresError(.connectionLost, detail: "the connection is closed")
        let (flights, pending) = (self.flights, self.pending)
        self.flights = []
        self.pending = []
        self.core.session = nil
        self.lock.unlock()
        for flight in flights { flight.job.fail(flight.failure ?? lost) }
        for job in pending { job.finish(.notRun) }
    }
}
