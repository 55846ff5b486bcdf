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
        let shard = match.route.shardKeyValue(parameters: match.parameters, query: match.query).map(Shard.init(event:))
        let known = self.core.directory.candidates(for: match.route.upstream, shard: shard)
        guard let first = known.first else {
            self.refuse(UpstreamFailure.noReplica.problem(of: match.route.upstream))
            return
        }
        let work = match.route.workClass
        guard let permit = self.core.load.begin(match.route.upstream, work) else {
            let figures = self.core.load.figures(match.route.upstream, work)
            self.compared["service.inFlight"] = String(figures.inFlight)
            self.compared["service.limit"] = String(figures.limit)
            self.refuse(
                Problem(
                    .overloaded, detail: "\(match.route.upstream.serviceName) is as busy as it can be.", retryAfter: 1))
            return
        }
        self.permit = permit
        // A lone replica may be asked twice: its idle connection may just have been closed.
        self.candidates = known.count > 1 || match.route.method != .get ? known : [first, first]
        self.connect()
    }

    private func connect() {
        self.phase = .connecting
        self.replica = self.candidates[min(self.attempt, self.candidates.count - 1)]
        self.record.replica = self.replica
        // The second attempt does not trust an idle connection again.
        if self.attempt == 0, let idle = self.loop.pool.takeIdle(self.replica) {
            self.use(idle)
            return
        }
        if !self.isBodyComplete { self.hold(true) }
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
        guard let lines = self.requestLines(on: connection) else {
            self.loop.pool.giveBack(connection)
            self.refuse(Problem(.internalError, detail: "The caller token cannot be signed."))
            return
        }
        self.upstream = connection
        self.phase = .awaitingAnswer
        self.askedAt = MonotonicClock.nanoseconds()
        connection.begin(self)
        var isChunked = false
        if case .stream(nil, _) = self.plan { isChunked = true }
        connection.send(
            head: lines, body: self.body, isChunked: isChunked,
            isWhole: self.isBodyComplete || self.plan == .none)
        // What may be sent a second time is kept.
        if case .stream = self.plan { self.body = ByteBuffer() }
        self.hold(!connection.isWritable)
    }

    /// The head of the request to the service; nil when the caller token cannot be signed.
    private func requestLines(on connection: UpstreamConnection) -> ByteBuffer? {
        guard let match, let caller,
            let token = try? self.core.mint.token(for: caller, nowMs: WallClock.milliseconds())
        else { return nil }
        var lines = ByteBuffer()
        lines.reserveCapacity(1_024 + self.body.readableBytes)
        lines.writeString(match.route.method.rawValue)
        lines.writeStaticString(" ")
        lines.writeString(self.head.target)
        lines.writeStaticString(" HTTP/1.1\r\n")
        lines.writeString(connection.hostLine)
        for entry in self.crossing { self.head.fields.writeLine(entry, into: &lines) }
        lines.writeString(self.loop.forwardedLines(peer: self.peer, host: self.head.authority))
        lines.writeStaticString("traceparent: 00-")
        self.writeTrace(&lines)
        if let state = self.trace.state { lines.writeField("tracestate", state) }
        lines.writeField("x-undercurrent-caller", token)
        let remaining = max(1, (self.deadline - MonotonicClock.nanoseconds()) / 1_000_000)
        lines.writeField("x-request-timeout-ms", Int(remaining))
        switch self.plan {
        case .none: if match.route.method != .get { lines.writeField("content-length", 0) }
        case .collect: lines.writeField("content-length", self.body.readableBytes)
        case .stream(let length?, _): lines.writeField("content-length", length)
        case .stream(nil, _): lines.writeField("transfer-encoding", "chunked")
        }
        lines.writeStaticString("\r\n")
        return lines
    }

    // MARK: - What the service does

    func serviceAnswered(_ answer: AnswerHead) {
        guard case .awaitingAnswer = self.phase, let match else { return }
        self.serviceLatency = MonotonicClock.nanoseconds() - self.askedAt
        self.isServiceOverloaded = answer.status == 503 || answer.status == 504
        if answer.status >= 500, answer.status != 503 {
            self.core.directory.failed(self.replica)
        } else {
            self.core.directory.answered(self.replica)
        }
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

    func serviceSent(_ piece: ByteBuffer) {
        switch self.phase {
        case .collectingAnswer:
            if self.answerBody.readableBytes == 0 {
                self.answerBody = piece
            } else {
                self.answerBody.writeImmutableBuffer(piece)
            }
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
        self.core.directory.failed(self.replica)
        var isRepeatable = true
        if case .stream = self.plan { isRepeatable = isUntouched }
        guard self.attempt == 0, isRepeatable, self.candidates.count > 1,
            failure.allowsRetry(isRepeatable: match.route.method == .get), self.core.directory.mayRetry(upstream)
        else {
            self.refuse(failure.problem(of: upstream))
            return
        }
        self.attempt = 1
        self.answer = nil
        self.answerBody = ByteBuffer()
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
