import Crypto
import Foundation
import HTTPTypes
import Hummingbird
import Model
import NIOCore
import NIOEmbedded
import NIOHTTPTypes
import NIOPosix
import Synchronization
import Telemetry
import Testing

@testable import ServiceRuntime

/// A connection whose requests that are not answered at once end up in `passed`.
private final class OpenChannel {
    let channel: EmbeddedChannel
    let watch = CallWatch(eventLoop: EmbeddedEventLoop())
    let metrics = MetricsRegistry()
    let token: String

    init(inFlightLimit: Int = 4, idleTimeout: TimeAmount = .seconds(60)) throws {
        let secret = Data(repeating: 0x61, count: 32)
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID())").path
        try secret.write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        let route = ReadyRoute(path: "/v1/events") { _, query, _ in
            guard query != "absent" else { return nil }
            return ReadyAnswer(
                status: .ok, headers: [.contentType: "text/plain"], body: ByteBuffer(string: "ready \(query)"))
        }
        let one = ReadyRoute(path: "/v1/events/{id}") { target, _, _ in
            ReadyAnswer(status: .ok, headers: [.contentType: "text/plain"], body: ByteBuffer(string: "one \(target)"))
        }
        let ready = ServiceRouter(
            tracer: TraceRecorder(), metrics: self.metrics, health: HealthMonitor(service: "s", version: "1"),
            secrets: try CallerTokenSecrets(path: path), inFlightLimit: inFlightLimit
        ).build(watch: self.watch, ready: [route, one]) { _ in }.ready
        self.token = try CallerToken(
            caller: "desk", scopes: [.read], expiresAtMs: WallClock.milliseconds() + 60_000
        ).signed(with: SymmetricKey(data: secret))
        self.channel = EmbeddedChannel(
            handler: ServiceConnectionHandler(ready: ready, watch: self.watch, idleTimeout: idleTimeout))
        try self.channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
    }

    func send(
        _ path: String, method: HTTPRequest.Method = .get, token: String? = nil, _ fields: [String: String] = [:],
        body: String? = nil
    ) throws {
        var request = HTTPRequest(method: method, scheme: "http", authority: "s", path: path)
        for (name, value) in fields { if let name = HTTPField.Name(name) { request.headerFields[name] = value } }
        if let name = CallerTokenMiddleware.header { request.headerFields[name] = token ?? self.token }
        try self.channel.writeInbound(HTTPRequestPart.head(request))
        if let body { try self.channel.writeInbound(HTTPRequestPart.body(ByteBuffer(string: body))) }
        try self.channel.writeInbound(HTTPRequestPart.end(nil))
    }

    /// What went on, a word for each part.
    func passed() throws -> [String] {
        var words: [String] = []
        while let part = try self.channel.readInbound(as: HTTPRequestPart.self) {
            switch part {
            case .head(let request): words.append(request.path ?? "-")
            case .body: words.append("body")
            case .end: words.append("end")
            }
        }
        return words
    }

    func answers() throws -> [(head: HTTPResponse, body: String)] {
        var answers: [(HTTPResponse, String)] = []
        while let part = try self.channel.readOutbound(as: HTTPResponsePart.self) {
            switch part {
            case .head(let head): answers.append((head, ""))
            case .body(let body): answers[answers.count - 1].1 += String(buffer: body)
            case .end: break
            }
        }
        return answers
    }

    /// The service answers the oldest request that went on.
    func answer() throws {
        try self.channel.writeOutbound(HTTPResponsePart.head(HTTPResponse(status: .accepted)))
        try self.channel.writeOutbound(HTTPResponsePart.end(nil))
    }
}

@Suite("Connections to a service")
struct ConnectionTests {
    @Test("what is at hand is answered on the event loop, with date and trace, and is counted")
    func ready() throws {
        let open = try OpenChannel()
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        try open.send("/v1/events?a=1", ["traceparent": trace])
        let answers = try open.answers()
        try #require(answers.count == 1)
        #expect(answers[0].head.status == .ok && answers[0].body == "ready a=1")
        #expect(answers[0].head.headerFields[.date]?.hasSuffix(" GMT") == true)
        let name = try #require(TraceMiddleware.parent)
        let parent = try #require(answers[0].head.headerFields[name])
        #expect(parent.hasPrefix("00-0af7651916cd43dd8448eb211c80319c-") && parent != trace)
        #expect(try open.passed().isEmpty)
        #expect(open.metrics.exposition().contains(#"route="/v1/events",status="200""#))
    }

    @Test("a route may end with a parameter, and is counted by its template")
    func parameter() throws {
        let open = try OpenChannel()
        try open.send("/v1/events/a%20b?x=1")
        #expect(try open.answers().map(\.body) == ["one /v1/events/a%20b?x=1"])
        #expect(open.metrics.exposition().contains(#"route="/v1/events/{id}",status="200""#))
        // No parameter, and more than one part.
        for path in ["/v1/events/", "/v1/events/a/changes"] {
            try open.send(path)
            #expect(try open.passed() == [path, "end"])
            try open.answer()
            _ = try open.answers()
        }
    }

    @Test(
        "what is not at hand, and whatever would be refused, goes the way of all requests",
        arguments: [
            ("/v1/events?absent", HTTPRequest.Method.get, [:]), ("/v1/domains", .get, [:]),
            ("/v1/events", .post, [:]), ("/v1/events", .get, ["X-Undercurrent-Caller": "made.up"]),
            ("/v1/events", .get, ["X-Request-Timeout-Ms": "0"]),
            ("/v1/events", .get, ["X-Request-Timeout-Ms": "soon"]), ("/v1/events", .get, ["Connection": "close"]),
        ] as [(String, HTTPRequest.Method, [String: String])])
    func passedOn(path: String, method: HTTPRequest.Method, fields: [String: String]) throws {
        let open = try OpenChannel()
        try open.send(path, method: method, token: fields["X-Undercurrent-Caller"], fields)
        #expect(try open.passed() == [path, "end"])
        #expect(try open.answers().isEmpty)
    }

    @Test("a request with a body goes on whole")
    func body() throws {
        let open = try OpenChannel()
        try open.send("/v1/events", body: "x")
        #expect(try open.passed() == ["/v1/events", "body", "end"])
    }

    @Test("no answer overtakes that of an earlier request")
    func order() throws {
        let open = try OpenChannel()
        try open.send("/v1/domains")
        try open.send("/v1/events?b")
        #expect(try open.passed() == ["/v1/domains", "end", "/v1/events?b", "end"])
        try open.answer()
        try open.send("/v1/events?c")
        #expect(try open.passed().count == 2)
        try open.answer()
        try open.answer()
        #expect(try open.answers().map(\.head.status) == [.accepted, .accepted, .accepted])
        try open.send("/v1/events?d")
        #expect(try open.answers().map(\.body) == ["ready d"])
    }

    @Test("without a place nothing is answered here, and a place is given back")
    func admission() throws {
        let open = try OpenChannel(inFlightLimit: 1)
        for _ in 0..<3 {
            try open.send("/v1/events?a")
            #expect(try open.answers().count == 1)
        }
    }

    @Test("a connection on which nothing happens is closed; one that waits for an answer is not")
    func idleness() throws {
        let open = try OpenChannel(idleTimeout: .seconds(10))
        open.channel.embeddedEventLoop.advanceTime(by: .seconds(9))
        try open.send("/v1/events?a")
        open.channel.embeddedEventLoop.advanceTime(by: .seconds(9))
        #expect(open.channel.isActive)
        try open.send("/v1/domains")
        open.channel.embeddedEventLoop.advanceTime(by: .seconds(60))
        #expect(open.channel.isActive)
        try open.answer()
        open.channel.embeddedEventLoop.advanceTime(by: .seconds(21))
        #expect(!open.channel.isActive && open.watch.connectionCount == 0)
    }

    @Test("a request that does not arrive whole does not keep its connection open")
    func stalled() throws {
        let open = try OpenChannel(idleTimeout: .seconds(10))
        try open.channel.writeInbound(
            HTTPRequestPart.head(HTTPRequest(method: .post, scheme: "http", authority: "s", path: "/v1/domains")))
        open.channel.embeddedEventLoop.advanceTime(by: .seconds(11))
        #expect(!open.channel.isActive)
    }

    @Test("a peer that hangs up ends the call of its connection, and no other")
    func hangUp() throws {
        let open = try OpenChannel()
        let ended = Mutex([String]())
        let id = ObjectIdentifier(open.channel)
        let own = open.watch.begin(deadline: nil, connection: id) { ended.withLock { $0.append("own") } }
        let other = open.watch.begin(deadline: nil, connection: nil) { ended.withLock { $0.append("other") } }
        open.channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
        #expect(ended.withLock { $0 } == ["own"] && open.watch.hasHungUp(id))
        // What begins afterwards has nobody to answer, either.
        open.watch.end(own)
        let late = open.watch.begin(deadline: nil, connection: id) { ended.withLock { $0.append("late") } }
        #expect(ended.withLock { $0 } == ["own", "late"])
        for id in [late, other] { open.watch.end(id) }
        #expect(open.watch.callCount == 0)
    }

    @Test("calls end at their deadline, and those that were answered before are left alone")
    func deadlines() throws {
        let loop = EmbeddedEventLoop()
        let watch = CallWatch(eventLoop: loop)
        let ended = Mutex([Int]())
        let now = ContinuousClock.now
        let ids = (0..<4).map { index in
            watch.begin(deadline: now + .milliseconds(10 * (index + 1)), connection: nil) {
                ended.withLock { $0.append(index) }
            }
        }
        watch.end(ids[0])
        watch.look(now: now + .milliseconds(25))
        #expect(ended.withLock { $0 } == [1])
        for id in ids { watch.end(id) }
        watch.look(now: now + .seconds(1))
        #expect(ended.withLock { $0 } == [1] && watch.callCount == 0)
    }

    @Test("work of a call that nobody waits for is cancelled in real time")
    func cancellation() async throws {
        let watch = CallWatch()
        let work = Task { try await Task.sleep(for: .seconds(60)) }
        let id = watch.begin(deadline: .now + .milliseconds(20), connection: nil) { work.cancel() }
        await #expect(throws: CancellationError.self) { try await work.value }
        watch.end(id)
    }
}
