import Model
import NIOCore
import Telemetry

/// The way back: what the client gets.
extension Exchange {
    func refuse(_ problem: Problem) {
        guard self.phase != .over else { return }
        var problem = problem
        problem.traceId = self.trace.traceID
        self.record.status = problem.status
        self.record.code = problem.code.rawValue
        self.remember(problem)
        let body = ByteBuffer(bytes: ProblemBody.render(problem))
        self.record.bytesOut = body.readableBytes
        self.conclude { client in
            var lines = client.beginHead(status: problem.status)
            lines.writeStaticString("content-type: application/problem+json\r\ncache-control: no-store\r\n")
            if let seconds = problem.retryAfter {
                lines.writeField("retry-after", max(1, Int(seconds.rounded(.up))))
            }
            if problem.status == 401 { lines.writeField("www-authenticate", #"Bearer realm="undercurrent""#) }
            if let allow = self.allow { lines.writeField("allow", allow.joined(separator: ", ")) }
            self.writeOwnLines(&lines)
            client.send(
                head: lines, status: problem.status, length: body.readableBytes, body: body, isWhole: true)
        }
    }

    /// Keeps why, for `GET /v1/decisions/{traceId}`.
    private func remember(_ problem: Problem) {
        var compared = self.compared
        if let limit, !limit.isAdmitted {
            let policy = self.core.gatekeeper.callerPolicy
            compared["limit.burst"] = String(policy.burst)
            compared["limit.intervalMs"] = String(Double(policy.intervalNanoseconds) / 1e6)
            compared["limit.remaining"] = String(limit.remaining)
            compared["limit.retryAfterMs"] = String(Double(limit.retryAfterNanoseconds) / 1e6)
        }
        if problem.code == .forbidden, let caller, let scope = self.match?.route.scope {
            compared["scope.needed"] = scope.rawValue
            compared["scope.given"] = caller.scopes.map(\.rawValue).sorted().joined(separator: " ")
        }
        if problem.code == .deadlineExceeded {
            compared["deadline.ms"] = String((self.deadline - self.startedAt) / 1_000_000)
            compared["elapsed.ms"] = String((MonotonicClock.nanoseconds() - self.startedAt) / 1_000_000)
        }
        if case .bodyTooLarge(let limit) = self.interruption { compared["body.limitBytes"] = String(limit) }
        if !self.replica.isEmpty { compared["service.replica"] = self.replica }
        if self.attempt > 0 { compared["service.attempts"] = String(self.attempt + 1) }
        self.core.decisions.add(
            Decision(
                traceId: self.trace.traceID, time: Timestamp(milliseconds: self.startMs),
                method: AccessRecord.safe(self.record.method), route: self.record.route, peer: self.record.peer,
                caller: self.record.caller, status: problem.status, code: problem.code.rawValue,
                detail: problem.detail, compared: compared), isStranger: self.caller == nil)
    }

    /// Answers the question of a browser whether a page may ask; false: that is no such question, or none is answered.
    func answerPreflight() -> Bool {
        let cross = self.core.settings.crossOrigin
        guard cross.isOn, let origin = self.head.fields.first(.origin), cross.origins.contains(origin),
            let (path, _) = try? Target.split(self.head.target)
        else { return false }
        let methods: [String]
        switch self.core.routes.match(method: self.head.method, path: path) {
        case .otherMethods(let known): methods = known
        default: return false
        }
        guard self.core.gatekeeper.hasRoomForStranger(self.peer.limitKey) else { return false }
        self.send(
            OwnAnswer(status: 204, fields: CrossOrigin.preflightLines(methods: methods), body: ByteBuffer()))
        return true
    }

    /// Sends an answer of the gateway itself.
    func send(_ answer: OwnAnswer) {
        guard self.phase != .over else { return }
        self.record.status = answer.status
        self.record.bytesOut = answer.body.readableBytes
        self.conclude { client in
            var lines = client.beginHead(status: answer.status)
            for (name, value) in answer.fields { lines.writeString("\(name): \(value)\r\n") }
            self.writeOwnLines(&lines)
            let hasBody = ResponsePolicy.hasBody(status: answer.status)
            client.send(
                head: lines, status: answer.status, length: hasBody ? answer.body.readableBytes : nil,
                body: hasBody ? answer.body : nil, isWhole: true)
        }
    }

    /// Sends a service's answer that has come in whole.
    func sendWhole(_ answer: AnswerHead, body: ByteBuffer?) {
        self.record.status = answer.status
        self.record.bytesOut = body?.readableBytes ?? 0
        self.conclude { client in
            let lines = self.lines(of: answer, for: client)
            let hasBody = ResponsePolicy.hasBody(status: answer.status)
            client.send(
                head: lines, status: answer.status, length: hasBody ? body?.readableBytes ?? 0 : nil, body: body,
                isWhole: true)
        }
    }

    /// Sends the head of a service's answer whose body follows in pieces.
    func sendHead(_ answer: AnswerHead) {
        guard let client else { return }
        self.record.status = answer.status
        self.isAnswerBegun = true
        client.send(
            head: self.lines(of: answer, for: client), status: answer.status, length: answer.length, body: nil,
            isWhole: false)
    }

    private func lines(of answer: AnswerHead, for client: any ClientSide) -> ByteBuffer {
        var lines = client.beginHead(status: answer.status)
        // A service that names too many connection fields is not believed in any of them.
        for entry in HopByHop.crossing(answer.fields) ?? [] { answer.fields.writeLine(entry, into: &lines) }
        self.writeOwnLines(&lines)
        return lines
    }

    private func writeOwnLines(_ lines: inout ByteBuffer) {
        lines.writeString(self.loop.dateLine(nowMs: WallClock.milliseconds()))
        lines.writeString(self.core.standingLines)
        let cross = self.core.settings.crossOrigin
        if cross.isOn { lines.writeString(cross.lines(origin: self.head.fields.first(.origin))) }
        lines.writeStaticString("traceparent: 00-")
        self.writeTrace(&lines)
        if let limit {
            lines.writeString(self.core.policyLine)
            RateLimitFields.writeState(limit, named: "caller", into: &lines)
        }
    }

    /// The ids and flags of `traceparent` and the line end.
    func writeTrace(_ lines: inout ByteBuffer) {
        let context = self.trace.context
        lines.writeHex(context.traceID.high)
        lines.writeHex(context.traceID.low)
        lines.writeStaticString("-")
        lines.writeHex(context.spanID.rawValue)
        if context.isSampled { lines.writeStaticString("-01\r\n") } else { lines.writeStaticString("-00\r\n") }
    }

    // MARK: - Routes of the gateway itself

    func answerOwn(_ match: RouteMatch) {
        let call = OwnRoutes.Call(
            route: match.route, parameters: match.parameters, query: match.query, caller: self.caller,
            body: self.plan == .none ? nil : self.body)
        if let result = self.core.own.immediateAnswer(call) {
            self.finish(result)
            return
        }
        self.phase = .own
        let bound = NIOLoopBound(self, eventLoop: self.loop.eventLoop)
        let own = self.core.own
        let eventLoop = self.loop.eventLoop
        Task {
            let result: Result<OwnAnswer, Problem>
            do throws(Problem) {
                result = .success(try await own.answer(call))
            } catch {
                result = .failure(error)
            }
            eventLoop.execute { bound.value.finish(result) }
        }
    }

    private func finish(_ result: Result<OwnAnswer, Problem>) {
        switch result {
        case .success(let answer): self.send(answer)
        case .failure(let problem): self.refuse(problem)
        }
    }
}
