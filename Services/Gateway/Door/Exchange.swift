import Model
import NIOCore
import ServiceRuntime
import Telemetry

/// One request and its answer, on the event loop of the client's connection: asks who it is, takes the body in, calls the
/// service and sends the answer. What it decides comes from values (``Gatekeeper``, ``RouteTable``, ``BodyPolicy``,
/// ``ResponsePolicy``); this class moves the bytes.
final class Exchange {
    /// Why an exchange must stop before it is answered.
    enum Interruption: Hashable, Sendable {
        case clientGone, deadlinePassed, bodyStalled, serviceGone
        case bodyTooLarge(limit: Int)
    }

    enum Phase {
        case identifying
        /// Reads the body before anything else happens.
        case collecting
        /// The gateway itself works on the answer.
        case own
        case connecting
        case awaitingAnswer
        /// A short answer is read whole.
        case collectingAnswer
        case streaming
        case over
    }

    let core: DoorCore
    let loop: LoopState
    let head: RequestHead
    private(set) var trace: EdgeTrace
    let peer: PeerText
    let credentials: CredentialMemory
    let startedAt: Int64
    /// Wall clock of the same moment, milliseconds since 1970.
    let startMs: Int64
    /// Where the loop keeps this exchange.
    var place: Int?
    var client: (any ClientSide)?
    var phase = Phase.identifying
    var record: AccessRecord
    var interruption: Interruption?
    var limit: GCRA.Decision?
    var allow: [String]?
    var deadline: Int64
    private var hasPlace = false
    /// What a refusal compared, for ``DecisionLog``.
    var compared: [String: String] = [:]
    var permit: LoadControl.Permit?
    /// When the request went to the service, or a connection to it was begun.
    var askedAt: Int64 = 0
    /// What ``LoadControl`` is told of the service's answer.
    var serviceOutcome: GradientLimit.Outcome?

    // The request.
    var match: RouteMatch?
    var caller: Caller?
    var plan = BodyPolicy.Plan.none
    var isBodyComplete: Bool
    /// Nothing of the body is missing, though it has not been read: the connection can go on after a refusal.
    var isBodyAtHand = false
    private var received = 0
    /// Collected, or waiting for a connection to the service.
    var body: ByteBuffer?
    private(set) var lastBodyAt: Int64
    private(set) var isHeld = false

    // The service.
    var crossing: [FieldBlock.Entry] = []
    var candidates: [String] = []
    var attempt = 0
    var replica = ""
    /// The directory was told what the request says about the replica.
    var isReplicaJudged = false
    var upstream: UpstreamConnection?
    var answer: AnswerHead?
    var answerBody: ByteBuffer?
    var isAnswerBegun = false

    init(
        head: RequestHead, peer: PeerText, credentials: CredentialMemory, client: any ClientSide, loop: LoopState
    ) {
        let core = loop.core
        let now = MonotonicClock.nanoseconds()
        self.core = core
        self.loop = loop
        self.head = head
        self.peer = peer
        self.credentials = credentials
        self.client = client
        self.startedAt = now
        self.lastBodyAt = now
        self.deadline = now + Int64(loop.requestMs) * 1_000_000
        self.isBodyComplete = head.framing == .none
        self.startMs = WallClock.milliseconds()
        self.trace = EdgeTrace(
            fields: head.fields,
            isTrusted: core.settings.traceTrust.trusts(peer: peer.address, hasCredential: false), startMs: self.startMs,
            recorder: core.tracer, random: &loop.random)
        self.record = AccessRecord(
            method: head.method, httpVersion: head.version.rawValue, peer: peer.address ?? "-",
            userAgent: head.fields.first(.userAgent), trace: self.trace.context, startedAt: now)
    }

    /// Runs until the answer is sent or something must be waited for.
    func start() {
        self.loop.add(self)
        do throws(Problem) {
            if self.head.method == "OPTIONS", self.answerPreflight() { return }
            let match = try self.findRouteOrCharge()
            try self.enter(match.route.workClass)
            guard match.route.scope != nil else {
                try self.core.gatekeeper.admitStranger(self.peer.limitKey)
                try self.take(nil)
                return
            }
            switch self.core.gatekeeper.identify(
                self.head.fields, memory: self.credentials, peer: self.peer, nowMs: self.startMs)
            {
            case .known(let caller): try self.take(caller)
            case .refused(let problem): throw problem
            case .ask(let question): self.ask(question)
            }
        } catch {
            self.refuse(error)
        }
    }

    /// A request that could not be read as far as its head: it has an answer and a line in the log like every other.
    func startRefused(_ problem: Problem) {
        self.loop.add(self)
        do throws(Problem) {
            try self.core.gatekeeper.admitStranger(self.peer.limitKey)
            self.refuse(problem)
        } catch {
            self.refuse(error)
        }
    }

    private func enter(_ work: WorkClass) throws(Problem) {
        if let excess = self.core.load.memoryExcess(work) {
            self.compared["memory.residentBytes"] = String(excess.resident)
            self.compared["memory.boundBytes"] = String(excess.bound)
            throw Problem(.memoryLimitExceeded, detail: "The gateway has no memory for this work now.", retryAfter: 2)
        }
        self.hasPlace = self.core.inFlight.enter(share: work.share)
        guard self.hasPlace else {
            self.compared["inFlight.count"] = String(self.core.inFlight.count)
            self.compared["inFlight.limit"] = String(self.core.inFlight.limit)
            self.compared["inFlight.share"] = String(work.share)
            throw Problem(
                .overloaded, detail: "The gateway is answering as many requests as it can.", retryAfter: 1)
        }
    }

    private func ask(_ question: Gatekeeper.Question) {
        self.hold(true)
        let bound = NIOLoopBound(self, eventLoop: self.loop.eventLoop)
        let gatekeeper = self.core.gatekeeper
        let peer = self.peer
        let nowMs = self.startMs
        let eventLoop = self.loop.eventLoop
        Task {
            let result: Result<Caller, Problem>
            do throws(Problem) {
                result = .success(try await gatekeeper.answer(question, peer: peer, nowMs: nowMs))
            } catch {
                result = .failure(error)
            }
            eventLoop.execute { bound.value.identified(result) }
        }
    }

    private func identified(_ result: Result<Caller, Problem>) {
        self.hold(false)
        guard case .identifying = self.phase else { return }
        do throws(Problem) {
            try self.take(result.get())
        } catch {
            self.refuse(error)
        }
    }

    /// Limit, scope and the rules of the head, in this order; then the body or the service.
    private func take(_ caller: Caller?) throws(Problem) {
        guard let match else { throw Problem(.internalError, detail: "A request lost its route.") }
        if let caller, let scope = match.route.scope {
            try self.spend(caller)
            guard caller.scopes.contains(scope) else {
                throw Problem(.forbidden, detail: "This needs a credential with the scope \(scope.rawValue).")
            }
        }
        let fields = self.head.fields
        if fields.has(.requestTimeout) {
            let timeoutMs = try RequestDeadline.milliseconds(
                asked: fields.values(.requestTimeout), limitMs: self.loop.requestMs)
            self.deadline = self.startedAt + Int64(timeoutMs) * 1_000_000
        }
        try BodyPolicy.checkEncoding(fields, route: match.route)
        self.plan = try BodyPolicy.plan(self.head.framing, limit: match.route.bodyLimit)
        if !self.isBodyComplete, fields.first(.expect)?.lowercased() == "100-continue" { self.client?.sendContinue() }
        self.record.upstream = match.route.upstream.serviceName
        switch self.plan {
        case .none: self.proceed()
        case .collect:
            self.phase = .collecting
            self.checkLength()
            if self.phase != .over, self.isBodyComplete { self.proceed() }
        case .stream:
            self.checkLength()
            if self.phase != .over { self.proceed() }
        }
    }

    /// Takes a token of the caller, who is known from now on.
    func spend(_ caller: Caller) throws(Problem) {
        self.caller = caller
        self.trust()
        self.record.caller = caller.name
        self.record.credential = caller.credential.rawValue
        self.record.keyID = caller.keyID ?? "-"
        let decision = self.core.gatekeeper.spend(caller)
        self.limit = decision
        guard decision.isAdmitted else {
            throw RateLimitFields.problem(
                decision, of: self.core.gatekeeper.callerPolicy, whose: "A caller",
                scope: self.core.gatekeeper.callers.scope)
        }
    }

    /// Continues the client's trace now that it is known who sends it.
    private func trust() {
        guard self.head.fields.has(.traceParent),
            self.core.settings.traceTrust.trusts(peer: self.peer.address, hasCredential: true)
        else { return }
        self.trace = EdgeTrace(
            fields: self.head.fields, isTrusted: true, startMs: self.startMs, recorder: self.core.tracer,
            random: &self.loop.random)
        self.record.trace = self.trace.context
    }

    private func proceed() {
        guard let match else { return }
        if match.route.upstream == .gateway { self.answerOwn(match) } else { self.callService(match) }
    }

    // MARK: - The body

    func take(piece: ByteBuffer) {
        guard self.phase != .over else { return }
        self.received += piece.readableBytes
        self.lastBodyAt = MonotonicClock.nanoseconds()
        if let upstream, self.phase != .connecting {
            self.checkLength()
            guard self.phase != .over else { return }
            upstream.send(piece: piece)
            if !upstream.isWritable { self.hold(true) }
            return
        }
        self.body.take(piece)
        self.checkLength()
        if self.phase == .connecting { self.hold(true) }
    }

    private func checkLength() {
        let limit: Int
        switch self.plan {
        case .none: return
        case .collect(let most): limit = most
        case .stream(_, let most): limit = most
        }
        if self.received > limit { self.interrupt(.bodyTooLarge(limit: self.match?.route.bodyLimit ?? limit)) }
    }

    func bodyEnded() {
        guard self.phase != .over, !self.isBodyComplete else { return }
        self.isBodyComplete = true
        switch self.phase {
        case .collecting: self.proceed()
        case .awaitingAnswer, .collectingAnswer, .streaming: self.upstream?.endBody()
        default: break
        }
    }

    func hold(_ isHeld: Bool) {
        guard self.isHeld != isHeld else { return }
        self.isHeld = isHeld
        self.lastBodyAt = MonotonicClock.nanoseconds()
        self.client?.holdReading(isHeld)
    }

    // MARK: - The end

    func check(now: Int64) {
        if now >= self.deadline {
            self.interrupt(.deadlinePassed)
        } else if !self.isBodyComplete, !self.isHeld, !self.isAnswerBegun,
            now - self.lastBodyAt >= Int64(self.core.settings.bodyStallMs) * 1_000_000
        {
            self.interrupt(.bodyStalled)
        }
    }

    /// Stops the work; the first reason counts.
    func interrupt(_ reason: Interruption) {
        guard self.phase != .over, self.interruption == nil else { return }
        if reason == .deadlinePassed { self.serviceMissedDeadline() }
        if reason == .clientGone { self.clientLeftService() }
        self.interruption = reason
        self.record.interruption = "\(reason)"
        self.releaseService(isReusable: false)
        if self.isAnswerBegun {
            self.conclude { $0.cutOff() }
        } else if reason == .clientGone {
            // Nobody reads an answer; the log says what it would have been.
            self.record.status = 408
            self.record.code = Problem.Code.requestTimeout.rawValue
            self.conclude { _ in }
        } else {
            self.refuse(self.problem(of: reason))
        }
    }

    private func problem(of reason: Interruption) -> Problem {
        switch reason {
        case .deadlinePassed: UpstreamFailure.timedOut.problem(of: self.match?.route.upstream ?? .gateway)
        case .bodyTooLarge(let limit): BodyPolicy.tooLarge(limit)
        case .serviceGone: UpstreamFailure.broken.problem(of: self.match?.route.upstream ?? .gateway)
        case .bodyStalled, .clientGone: Problem(.requestTimeout, detail: "The body did not arrive in time.")
        }
    }

    /// Ends the exchange: what is left is told to the client's side, the log, the trace and the metrics.
    func conclude(_ last: (any ClientSide) -> Void) {
        guard self.phase != .over else { return }
        self.phase = .over
        self.loop.remove(self)
        if self.hasPlace { self.core.inFlight.leave() }
        self.releaseTrial()
        if let permit {
            self.core.load.end(permit, self.serviceOutcome ?? .unknown)
        }
        let now = MonotonicClock.nanoseconds()
        let record = self.record
        let audit = self.core.audit
        if let kind = Audited.kind(status: record.status, route: self.match?.route, level: audit.level) {
            audit.note(Audited.event(kind, record, peer: self.peer, timeMs: self.startMs))
        }
        self.loop.log(record, now: now)
        self.trace.end(record, duration: now - self.startedAt)
        let reached = record.upstream == "-" ? nil : self.match?.route.upstream
        let work = self.match?.route.workClass
        self.trace.exemplifying {
            self.core.metrics.record(record, upstream: reached, work: work, nanoseconds: now - self.startedAt)
        }
        guard let client else { return }
        self.client = nil
        last(client)
        client.exchangeIsOver(isReadable: self.isBodyComplete || self.isBodyAtHand)
    }
}
