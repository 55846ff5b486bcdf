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
        self.remember(status: problem.status, code: problem.code.rawValue, detail: problem.detail)
        let body = ByteBuffer(bytes: ProblemBody.render(problem))
        self.record.bytesOut = body.readableBytes
        self.conclude { client in
            let room = 256 + Self.ownRoom
            var lines = client.beginHead(status: problem.status, room: room + body.readableBytes)
            lines.write(room: room) { writer in
                writer.write("content-type: application/problem+json\r\ncache-control: no-store\r\n")
                if let seconds = problem.retryAfter {
                    writer.writeField("retry-after", max(1, Int(seconds.rounded(.up))))
                }
                if problem.status == 401 { writer.writeField("www-authenticate", #"Bearer realm="undercurrent""#) }
                if let allow = self.allow { writer.writeField("allow", allow.joined(separator: ", ")) }
                self.writeOwnLines(&writer)
            }
            client.send(
                head: lines, status: problem.status, length: body.readableBytes, body: body, isWhole: true)
        }
    }

    /// Keeps why, for `GET /v1/decisions/{traceId}`.
    private func remember(status: Int, code: String, detail: String) {
        var compared = self.compared
        if let limit, !limit.isAdmitted {
            let policy = self.core.gatekeeper.callerPolicy
            compared["limit.burst"] = String(policy.burst)
            compared["limit.intervalMs"] = String(Double(policy.intervalNanoseconds) / 1e6)
            compared["limit.remaining"] = String(limit.remaining)
            compared["limit.retryAfterMs"] = String(Double(limit.retryAfterNanoseconds) / 1e6)
        }
        if code == Problem.Code.forbidden.rawValue, let caller, let scope = self.match?.route.scope {
            compared["scope.needed"] = scope.rawValue
            compared["scope.given"] = caller.scopes.map(\.rawValue).sorted().joined(separator: " ")
        }
        if code == Problem.Code.deadlineExceeded.rawValue {
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
                caller: self.record.caller, status: status, code: code, detail: detail, compared: compared),
            isStranger: self.caller == nil)
    }

    /// Keeps that a service did not do the work, with what it said.
    private func rememberShed(_ answer: AnswerHead, body: ByteBuffer?) {
        guard answer.status == 429 || answer.status == 503 || answer.status == 504 else { return }
        let said = body.flatMap { StrictJSON.parse(Array($0.readableBytesView))?.fields }
        // The text is a service's, but what it repeats may be a client's.
        let code = said?["code"]?.text.map { AccessRecord.safe(String($0.prefix(64))) } ?? "-"
        self.remember(
            status: answer.status, code: code,
            detail: String(said?["detail"]?.text?.prefix(512) ?? "The service refused."))
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
            var lines = client.beginHead(
                status: answer.status, room: 512 + Self.ownRoom + answer.body.readableBytes)
            for (name, value) in answer.fields { lines.writeString("\(name): \(value)\r\n") }
            lines.write(room: Self.ownRoom) { self.writeOwnLines(&$0) }
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
        self.rememberShed(answer, body: body)
        self.conclude { client in
            let lines = self.lines(of: answer, bodyRoom: body?.readableBytes ?? 0, for: client)
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
        self.rememberShed(answer, body: nil)
        self.isAnswerBegun = true
        client.send(
            head: self.lines(of: answer, bodyRoom: 0, for: client), status: answer.status, length: answer.length,
            body: nil,
            isWhole: false)
    }

    private func lines(of answer: AnswerHead, bodyRoom: Int, for client: any ClientSide) -> ByteBuffer {
        let room = answer.fields.byteCount + Self.ownRoom
        var lines = client.beginHead(status: answer.status, room: room + bodyRoom)
        // A service that names too many connection fields is not believed in any of them.
        let crossing = HopByHop.crossing(answer.fields) ?? []
        lines.write(room: room) { writer in
            answer.fields.writeLines(crossing, into: &writer)
            self.writeOwnLines(&writer)
        }
        return lines
    }

    /// About what ``writeOwnLines(_:)`` takes.
    static var ownRoom: Int { 384 }

    private func writeOwnLines(_ writer: inout ByteWriter) {
        self.loop.writeStandingLines(into: &writer)
        let cross = self.core.settings.crossOrigin
        if cross.isOn { writer.write(cross.lines(origin: self.head.fields.first(.origin))) }
        writer.write("traceparent: 00-")
        self.writeTrace(&writer)
        if let limit {
            writer.write(self.loop.policyLine)
            RateLimitFields.writeState(limit, named: "caller", into: &writer)
        }
    }

    /// The ids and flags of `traceparent` and the line end.
    func writeTrace(_ writer: inout ByteWriter) {
        let context = self.trace.context
        writer.write(hex: context.traceID.high)
        writer.write(hex: context.traceID.low)
        writer.write("-")
        writer.write(hex: context.spanID.rawValue)
        if context.isSampled { writer.write("-01\r\n") } else { writer.write("-00\r\n") }
    }

    // MARK: - Routes of the gateway itself

    func answerOwn(_ match: RouteMatch) {
        let call = OwnRoutes.Call(
            route: match.route, parameters: match.parameters, query: match.query, caller: self.caller,
            body: self.plan == .none ? nil : self.body ?? ByteBuffer())
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
