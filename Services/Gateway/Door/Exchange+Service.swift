import CoreMetrics
import Model
import NIOCore
import Telemetry

/// The way to a service and its answer.
extension Exchange {
    func callService(_ match: RouteMatch) {
        guard let crossing = HopByHop.crossing(self.head.fields) else {
            self.refuse(Problem(.headersTooLarge, detail: "Connection names too many fields."))
            return
        }
        self.crossing = crossing
        let work = match.route.workClass
        guard let permit = self.core.load.begin(match.route.upstream, work) else {
            let bound = self.core.load.figures(match.route.upstream, work).bound
            self.compared["service.inFlight"] = String(bound.inFlight)
            self.compared["service.limit"] = String(bound.limit)
            self.compared["service.share"] = String(work.share)
            self.refuse(
                Problem(
                    .overloaded, detail: "\(match.route.upstream.serviceName) is as busy as it can be.", retryAfter: 1))
            return
        }
        self.permit = permit
        // Only now: what is refused for want of a place neither takes the one trial of a replica that was left out nor adds to
        // what may be asked twice.
        let shard = match.route.shardKeyValue(parameters: match.parameters, query: match.query).map(Shard.init(event:))
        let known = self.core.directory.candidates(for: match.route.upstream, shard: shard)
        guard let first = known.first else {
            self.refuse(UpstreamFailure.noReplica.problem(of: match.route.upstream))
            return
        }
        // A lone replica may be asked twice: its idle connection may just have been closed.
        self.candidates = known.count > 1 || match.route.method != .get ? known : [first, first]
        self.connect()
    }

    private func connect() {
        self.phase = .connecting
        self.isReplicaJudged = false
        self.replica = self.candidates[min(self.attempt, self.candidates.count - 1)]
        self.record.replica = self.replica
        // The second attempt does not trust an idle connection again.
        if self.attempt == 0, let idle = self.loop.pool.takeIdle(self.replica) {
            self.use(idle)
            return
        }
        if !self.isBodyComplete { self.hold(true) }
        self.askedAt = MonotonicClock.nanoseconds()
        self.loop.pool.connect(self.replica).assumeIsolated().whenComplete { result in
            switch result {
            case .success(let connection):
                guard case .connecting = self.phase, self.upstream == nil else {
                    self.loop.pool.giveBack(connection)
                    return
                }
                self.use(connection)
            case .failure: self.serviceFailed(.notConnected)
            }
        }
    }

    private func use(_ connection: UpstreamConnection) {
        let now = MonotonicClock.nanoseconds()
        self.askedAt = now
        guard let lines = self.requestLines(on: connection, now: now) else {
            self.loop.pool.giveBack(connection)
            self.refuse(Problem(.internalError, detail: "The caller token cannot be signed."))
            return
        }
        self.upstream = connection
        self.phase = .awaitingAnswer
        connection.begin(self)
        var isChunked = false
        if case .stream(nil, _) = self.plan { isChunked = true }
        connection.send(
            head: lines, body: self.body, isChunked: isChunked,
            isWhole: self.isBodyComplete || self.plan == .none)
        self.loop.outbox.add(connection)
        // What may be sent a second time is kept.
        if case .stream = self.plan { self.body = nil }
        self.hold(!connection.isWritable)
    }

    /// The head of the request to the service; nil when the caller token cannot be signed.
    private func requestLines(on connection: UpstreamConnection, now: Int64) -> ByteBuffer? {
        guard let match, let caller else { return nil }
        // A request that had to be waited for must not go out with a token as old as itself.
        let nowMs = self.plan == .none ? self.startMs : WallClock.milliseconds()
        guard let token = try? self.core.mint.token(for: caller, nowMs: nowMs) else { return nil }
        let forwarded = self.loop.forwardedLines(peer: self.peer, host: self.head.authority)
        let length = self.body.readableBytes
        let room =
            self.head.target.utf8.count + self.head.fields.byteCount + forwarded.utf8.count + token.utf8.count + 384
        var lines = ByteBufferAllocator().buffer(capacity: room + length)
        lines.write(room: room) { writer in
            writer.write(match.route.method.rawValue)
            writer.write(" ")
            writer.write(self.head.target)
            writer.write(" HTTP/1.1\r\n")
            writer.write(connection.hostLine)
            self.head.fields.writeLines(self.crossing, into: &writer)
            writer.write(forwarded)
            writer.write("traceparent: 00-")
            self.writeTrace(&writer)
            if let state = self.trace.state { writer.writeField("tracestate", state) }
            writer.writeField("x-undercurrent-caller", token)
            writer.writeField("x-request-timeout-ms", Int(max(1, (self.deadline - now) / 1_000_000)))
            switch self.plan {
            case .none: if match.route.method != .get { writer.writeField("content-length", 0) }
            case .collect: writer.writeField("content-length", length)
            case .stream(let length?, _): writer.writeField("content-length", length)
            case .stream(nil, _): writer.writeField("transfer-encoding", "chunked")
            }
            writer.writeLineEnd()
        }
        return lines
    }

    // MARK: - What the service does

    func serviceAnswered(_ answer: AnswerHead) {
        guard case .awaitingAnswer = self.phase, let match else { return }
        self.judge(status: answer.status)
        let verdict = ResponsePolicy.verdict(
            status: answer.status, mediaType: answer.fields.first(.contentType), upstream: match.route.upstream)
        if case .replace(let problem) = verdict {
            self.releaseService(isReusable: false)
            self.refuse(problem)
            return
        }
        if let length = answer.length, length <= ResponsePolicy.collectLimit {
            self.answer = answer
            self.phase = .collectingAnswer
            return
        }
        self.phase = .streaming
        self.sendHead(answer)
    }

    /// Since when nothing but the service is waited for.
    private var waitingSince: Int64 { max(self.askedAt, self.plan == .none ? .min : self.lastBodyAt) }

    /// The body is there, or the service does not take more of it.
    private var isServiceAwaited: Bool { self.isBodyComplete || self.isHeld }

    /// Whether a missed deadline is the service's doing: neither the client's wish for a shorter one nor a body that came slowly
    /// left it less than half of the time that a request may take.
    private var hadFairTime: Bool {
        self.isServiceAwaited
            && (self.deadline - self.waitingSince) * 2 >= Int64(self.loop.requestMs) * 1_000_000
    }

    private func noteReplica(hasFailed: Bool) {
        self.isReplicaJudged = true
        if hasFailed {
            self.core.directory.failed(self.replica, sentAt: self.askedAt)
        } else {
            self.core.directory.answered(self.replica, sentAt: self.askedAt)
        }
    }

    /// A request that was the trial of a replica and came to no verdict leaves the trial to the next.
    func releaseTrial() {
        guard !self.replica.isEmpty, !self.isReplicaJudged else { return }
        self.core.directory.saidNothing(self.replica, sentAt: self.askedAt)
    }

    /// Tells directory and load control what the head of the answer says about the replica.
    private func judge(status: Int) {
        let elapsed = MonotonicClock.nanoseconds() - self.waitingSince
        switch status {
        case 503:
            self.noteReplica(hasFailed: false)
            self.serviceOutcome = .refused
        case 504 where !self.hadFairTime:
            self.serviceOutcome = .abandoned(afterNanoseconds: elapsed)
        case 500...:
            self.noteReplica(hasFailed: true)
            self.serviceOutcome = status == 504 ? .refused : .answered(nanoseconds: elapsed)
        default:
            self.noteReplica(hasFailed: false)
            self.serviceOutcome = .answered(nanoseconds: elapsed)
        }
    }

    /// The deadline has passed. A replica that has not answered by then has failed, unless it had too little time for it.
    func serviceMissedDeadline() {
        guard case .awaitingAnswer = self.phase else { return }
        if self.hadFairTime {
            self.noteReplica(hasFailed: true)
            self.serviceOutcome = .refused
        } else if self.isServiceAwaited {
            self.serviceOutcome = .abandoned(afterNanoseconds: MonotonicClock.nanoseconds() - self.waitingSince)
        }
    }

    /// The client is gone before the service answered: how long it had waited says what a deadline of its own would have said.
    func clientLeftService() {
        guard case .awaitingAnswer = self.phase, self.isServiceAwaited else { return }
        self.serviceOutcome = .abandoned(afterNanoseconds: MonotonicClock.nanoseconds() - self.waitingSince)
    }

    func serviceSent(_ piece: ByteBuffer) {
        switch self.phase {
        case .collectingAnswer:
            self.answerBody.take(piece)
        case .streaming:
            guard let client else { return }
            self.record.bytesOut += piece.readableBytes
            client.send(piece: piece)
            if !client.isWritable { self.upstream?.holdReading(true) }
        default: break
        }
    }

    func serviceFinished() {
        let phase = self.phase
        self.releaseService(isReusable: self.isBodyComplete)
        if case .collectingAnswer = phase, let answer {
            self.sendWhole(answer, body: answer.length == 0 ? nil : self.answerBody)
        } else if case .streaming = phase {
            self.conclude { $0.finish() }
        }
    }

    func serviceFailed(_ failure: UpstreamFailure) {
        guard self.phase != .over, let match else { return }
        let upstream = match.route.upstream
        let isUntouched = self.upstream == nil
        self.releaseService(isReusable: false)
        if self.isAnswerBegun {
            self.interrupt(.serviceGone)
            return
        }
        self.noteReplica(hasFailed: true)
        var isRepeatable = true
        if case .stream = self.plan { isRepeatable = isUntouched }
        guard self.attempt == 0, isRepeatable, self.candidates.count > 1,
            failure.allowsRetry(isRepeatable: match.route.method == .get), self.core.directory.mayRetry(upstream)
        else {
            self.refuse(failure.problem(of: upstream))
            return
        }
        self.attempt = 1
        self.serviceOutcome = nil
        self.answer = nil
        self.answerBody = nil
        self.core.metrics.retries.increment()
        self.connect()
    }

    func serviceWritability(_ isWritable: Bool) {
        if self.phase != .over { self.hold(!isWritable) }
    }

    func clientWritability(_ isWritable: Bool) {
        if case .streaming = self.phase { self.upstream?.holdReading(!isWritable) }
    }

    func releaseService(isReusable: Bool) {
        guard let connection = self.upstream else { return }
        self.upstream = nil
        connection.release()
        if isReusable { self.loop.pool.giveBack(connection) } else { connection.close() }
    }
}
