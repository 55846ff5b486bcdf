import HTTPTypes
import Hummingbird
import Logging
import Model
import NIOCore
import Synchronization
import Telemetry

/// Answers every request of the public listener: who is it, may they, may they now, and then who answers.
final class Door: HTTPResponder {
    typealias Context = ConnectionContext

    private let settings: DoorSettings
    private let registry: ConnectionRegistry
    private let gatekeeper: Gatekeeper
    private let proxy: Proxy
    private let mint: CallerTokenMint
    private let own: OwnRoutes
    private let routes = RouteTable()
    private let logger: Logger
    private let metrics: GatewayMetrics
    private let tracer: TraceRecorder
    private let inFlight: InFlight

    init(
        settings: DoorSettings, registry: ConnectionRegistry, gatekeeper: Gatekeeper, proxy: Proxy,
        mint: CallerTokenMint, own: OwnRoutes, metrics: GatewayMetrics, inFlight: InFlight, tracer: TraceRecorder,
        logger: Logger
    ) {
        self.settings = settings
        self.registry = registry
        self.gatekeeper = gatekeeper
        self.proxy = proxy
        self.mint = mint
        self.own = own
        self.metrics = metrics
        self.tracer = tracer
        self.logger = logger
        self.inFlight = inFlight
    }

    /// What is known about a request so far; the access log and the answer's fields come from it.
    struct Visit: Sendable {
        let trace: EdgeTrace
        var record: AccessRecord
        var limit: (decision: GCRA.Decision, policy: GCRA, name: String)?
        var allow: [String]?
    }

    func respond(to request: Request, context: ConnectionContext) async throws -> Response {
        let exchange =
            self.registry.next(for: context.channel)
            ?? Exchange(channel: context.channel, startedAt: MonotonicClock.nanoseconds())
        let method = AccessRecord.safe(request.method.rawValue)
        let trace = EdgeTrace(
            parents: request.headers[values: .traceParent], states: request.headers[values: .traceState],
            method: method, tracer: self.tracer)
        var visit = Visit(
            trace: trace,
            record: AccessRecord(
                method: method, httpVersion: context.channel.isStream ? "2" : "1.1",
                peer: context.peer ?? "-", userAgent: AccessRecord.safe(request.headers[.userAgent]),
                traceID: trace.traceID, spanID: trace.spanID, startedAt: exchange.startedAt))
        let slot = self.inFlight.take()
        do throws(Problem) {
            guard let slot else {
                throw Problem(
                    .overloaded, detail: "The gateway is answering as many requests as it can.", retryAfter: 1)
            }
            let answer = try await self.answer(request, context: context, exchange: exchange, visit: &visit)
            return self.finish(answer, visit: visit, exchange: exchange, slot: slot)
        } catch {
            if request.headers.contains(.contentLength) || request.headers.contains(.transferEncoding) {
                // The body of a refused request is not read: it may be as long as it likes.
                exchange.closeAfterResponse()
            }
            return self.finish(error, visit: visit, exchange: exchange)
        }
    }

    private func answer(
        _ request: Request, context: ConnectionContext, exchange: Exchange, visit: inout Visit
    ) async throws(Problem) -> UpstreamAnswer {
        let (path, query) = try Target.split(request.head.path)
        let (route, parameters) = try self.route(request.method.rawValue, path: path, visit: &visit)
        visit.record.route = route.path
        let caller = try await self.admit(request, route: route, context: context, visit: &visit)
        let timeoutMs = try RequestDeadline.milliseconds(
            asked: request.headers[values: .requestTimeout], limitMs: self.settings.requestMs)
        try BodyPolicy.checkEncoding(fields: request.headers, route: route)
        let plan = try BodyPolicy.plan(fields: request.headers, limit: route.bodyLimit)
        if plan != .none, request.headers[.expect]?.lowercased() == "100-continue" { exchange.sendContinue() }
        visit.record.upstream = route.upstream.serviceName
        if route.upstream == .gateway {
            return try await self.own.answer(
                OwnRoutes.Call(
                    route: route, parameters: parameters, query: query, caller: caller, body: request.body, plan: plan,
                    exchange: exchange))
        }
        guard let caller else { throw Problem(.internalError, detail: "A service's route is open to everyone.") }
        let fields = try self.fieldsForService(request, caller: caller, peer: context.peer, trace: visit.trace)
        let shard = route.shardKeyValue(parameters: parameters, query: query).map(Shard.init(event:))
        return try await self.proxy.send(
            Proxy.Forward(
                route: route, method: request.method.rawValue, target: request.head.path ?? "/", shard: shard,
                fields: fields, plan: plan, deadline: exchange.startedAt + Int64(timeoutMs) * 1_000_000),
            body: request.body, exchange: exchange)
    }

    private func route(
        _ method: String, path: String, visit: inout Visit
    ) throws(Problem) -> (APIRoute, [String: String]) {
        switch self.routes.match(method: method, path: path) {
        case .route(let route, let parameters): return (route, parameters)
        case .none: throw Problem(.notFound, detail: "There is nothing at this path.")
        case .malformed: throw Problem(.invalidRequest, detail: "The path is not well formed.")
        case .otherMethods(let methods):
            visit.allow = methods
            throw Problem(.methodNotAllowed, detail: "This path takes \(methods.joined(separator: ", ")).")
        }
    }

    /// Identity, scope and limit, in this order; fills in what the log and the limit fields say.
    private func admit(
        _ request: Request, route: APIRoute, context: ConnectionContext, visit: inout Visit
    ) async throws(Problem) -> Caller? {
        guard let scope = route.scope else {
            try self.gatekeeper.admitStranger(PeerKey.of(context.peer))
            return nil
        }
        let caller = try await self.gatekeeper.identify(
            request.headers, peer: PeerKey.of(context.peer))
        visit.record.caller = caller.name
        visit.record.credential = caller.credential.rawValue
        visit.record.keyID = caller.keyID ?? "-"
        let decision = self.gatekeeper.spend(caller)
        visit.limit = (decision, self.gatekeeper.callerPolicy, "caller")
        guard decision.isAdmitted else {
            throw RateLimitFields.problem(decision, of: self.gatekeeper.callerPolicy, whose: "A caller")
        }
        guard caller.scopes.contains(scope) else {
            throw Problem(.forbidden, detail: "This needs a credential with the scope \(scope.rawValue).")
        }
        return caller
    }

    private func fieldsForService(
        _ request: Request, caller: Caller, peer: String?, trace: EdgeTrace
    ) throws(Problem) -> HTTPFields {
        guard var fields = HopByHop.towardsService(request.headers) else {
            throw Problem(.headersTooLarge, detail: "Connection names too many fields.")
        }
        ForwardedFields.set(on: &fields, peer: peer, host: request.head.authority)
        fields[.traceParent] = trace.traceParent
        if let state = trace.state { fields[.traceState] = state }
        do {
            fields[.undercurrentCaller] = try self.mint.token(for: caller, nowMs: WallClock.milliseconds())
        } catch {
            throw Problem(.internalError, detail: "The caller token cannot be signed.")
        }
        return fields
    }

    // MARK: - The way back

    private func finish(_ answer: UpstreamAnswer, visit: Visit, exchange: Exchange, slot: InFlight.Slot) -> Response {
        var visit = visit
        visit.record.status = answer.status
        visit.record.replica = answer.replica
        var fields = answer.fields
        self.addFields(to: &fields, visit: visit, exchange: exchange)
        let status = HTTPResponse.Status(code: answer.status)
        switch answer.body {
        case .none:
            self.conclude(visit, exchange: exchange, bytes: 0)
            var response = Response(status: status, headers: fields)
            if !ResponsePolicy.hasBody(status: answer.status) { response.headers[.contentLength] = nil }
            return response
        case .whole(let buffer):
            self.conclude(visit, exchange: exchange, bytes: buffer.readableBytes)
            return Response(status: status, headers: fields, body: ResponseBody(byteBuffer: buffer))
        case .stream(let body, let length):
            let stream = AnswerStream(body)
            let final = visit
            let responseBody = ResponseBody(contentLength: length) { writer in
                var bytes = 0
                exchange.onInterruption { stream.stop() }
                defer {
                    exchange.onInterruption(nil)
                    self.conclude(final, exchange: exchange, bytes: bytes)
                    withExtendedLifetime(slot) {}
                }
                while let piece = try await stream.next() {
                    let size = piece.readableBytes
                    try await writer.write(piece)
                    bytes += size
                }
                try await writer.finish(nil)
            }
            return Response(status: status, headers: fields, body: responseBody)
        }
    }

    private func finish(_ problem: Problem, visit: Visit, exchange: Exchange) -> Response {
        var visit = visit
        var problem = problem
        problem.traceId = visit.trace.traceID
        visit.record.status = problem.status
        visit.record.code = problem.code.rawValue
        var fields = HTTPFields()
        fields[.contentType] = ProblemBody.mediaType
        fields[.cacheControl] = "no-store"
        if let seconds = problem.retryAfter { fields[.retryAfter] = String(max(1, Int(seconds.rounded(.up)))) }
        if problem.status == 401 { fields[.wwwAuthenticate] = #"Bearer realm="undercurrent""# }
        if let allow = visit.allow { fields[.allow] = allow.joined(separator: ", ") }
        self.addFields(to: &fields, visit: visit, exchange: exchange)
        let body = ByteBuffer(bytes: ProblemBody.render(problem))
        self.conclude(visit, exchange: exchange, bytes: body.readableBytes)
        return Response(
            status: HTTPResponse.Status(code: problem.status), headers: fields, body: ResponseBody(byteBuffer: body))
    }

    private func addFields(to fields: inout HTTPFields, visit: Visit, exchange: Exchange) {
        fields[.strictTransportSecurity] = "max-age=\(self.settings.hstsSeconds)"
        fields[.xContentTypeOptions] = "nosniff"
        fields[.traceParent] = visit.trace.traceParent
        if let limit = visit.limit {
            RateLimitFields.set(limit.decision, of: limit.policy, named: limit.name, on: &fields)
        }
        // HTTP/2 has no such field; its stream simply ends.
        if exchange.mustClose, visit.record.httpVersion == "1.1" { fields[.connection] = "close" }
    }

    private func conclude(_ visit: Visit, exchange: Exchange, bytes: Int) {
        var record = visit.record
        record.bytesOut = bytes
        if let interruption = exchange.interruption { record.interruption = "\(interruption)" }
        let now = MonotonicClock.nanoseconds()
        record.write(to: self.logger, now: now)
        visit.trace.end(record)
        self.metrics.record(record, nanoseconds: now - record.startedAt)
    }
}
