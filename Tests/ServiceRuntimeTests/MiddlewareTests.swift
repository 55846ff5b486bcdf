import Crypto
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Model
import NIOCore
import Telemetry
import Testing

@testable import ServiceRuntime

/// A service with one route of each kind, behind the middlewares every service has.
private struct Door: Sendable {
    static let secret = SymmetricKey(data: Data(repeating: 0x61, count: 32))
    let client: any TestClientProtocol
    let metrics: MetricsRegistry

    static func open(inFlightLimit: Int = 10, _ body: @escaping @Sendable (Door) async throws -> Void) async throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID())").path
        try Data(repeating: 0x61, count: 32).write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        let health = HealthMonitor(service: "s", version: "1")
        health.markStarted()
        let metrics = MetricsRegistry()
        let router = ServiceRouter(
            tracer: TraceRecorder(sampler: RatioSampler(ratio: 1)), metrics: metrics, health: health,
            secrets: try CallerTokenSecrets(path: path), inFlightLimit: inFlightLimit
        ).build(watch: CallWatch(), Self.routes).router
        try await Application(router: router).test(.router) { client in
            try await body(Door(client: client, metrics: metrics))
        }
    }

    private static func routes(_ router: Router<CallContext>) {
        router.get("/v1/events") { _, context in
            let left = context.remaining.map { Int($0 / .milliseconds(1)) } ?? -1
            return "\(context.caller?.caller ?? "nobody") \(left)"
        }
        router.put("/v1/topology") { request, _ in "\(try await request.collectBody(limit: 16).readableBytes)" }
        router.post("/v1/propagation") { request, _ in
            try await request.decodeBody(DomainProfile.self, limit: 100_000).domain
        }
        router.get("/v1/domains") { _, _ in
            try await Task.sleep(for: .seconds(20))
            return "late"
        }
        router.get("/v1/anomalies/{id}") { _, context -> String in
            switch try context.name("id") {
            case "own": throw Inside(password: "hunter2")
            case "http": throw HTTPError(.internalServerError, message: "hunter2")
            case "cancelled": throw CancellationError()
            default: throw Problem(.unavailable, detail: "Later.", retryAfter: 1.2)
            }
        }
        router.get("/v1/undeclared") { _, _ in "open?" }
    }

    struct Inside: Error { let password: String }

    struct Answer: Sendable {
        var status: Int
        var headers: HTTPFields
        var text: String
        var problem: Problem?
        func header(_ name: String) -> String? { HTTPField.Name(name).flatMap { self.headers[$0] } }
    }

    func call(
        _ method: HTTPRequest.Method, _ uri: String, scopes: Set<Scope>? = Set(Scope.allCases),
        headers: [String: String] = [:], body: String? = nil
    ) async throws -> Answer {
        var fields = HTTPFields()
        for (name, value) in headers { if let name = HTTPField.Name(name) { fields[name] = value } }
        if let scopes, let name = HTTPField.Name(CallerToken.headerName) {
            let expiry = Int64(Date().timeIntervalSince1970 * 1_000) + 60_000
            fields[name] = try CallerToken(caller: "desk", scopes: scopes, expiresAtMs: expiry).signed(
                with: Self.secret)
        }
        return try await self.client.execute(
            uri: uri, method: method, headers: fields, body: body.map { ByteBuffer(string: $0) }
        ) { response in
            Answer(
                status: Int(response.status.code), headers: response.headers, text: String(buffer: response.body),
                problem: try? JSONDecoder().decode(Problem.self, from: Data(response.body.readableBytesView)))
        }
    }
}

@Suite("The way through the middlewares")
struct MiddlewareTests {
    @Test("a caller the gateway vouches for comes through, by name")
    func through() async throws {
        try await Door.open { (door: Door) async throws in
            let answer = try await door.call(.get, "/v1/events", scopes: [.read])
            #expect(answer.status == 200 && answer.text.hasPrefix("desk "))
        }
    }

    @Test(
        "without a token, or with a bad one, every path says 401",
        arguments: ["/v1/events", "/v1/nothing", "/v1/undeclared"])
    func unauthenticated(path: String) async throws {
        try await Door.open { (door: Door) async throws in
            let old = try CallerToken(caller: "x", scopes: [.read], expiresAtMs: 1).signed(with: Door.secret)
            let other = try CallerToken(caller: "x", scopes: [.read], expiresAtMs: .max)
                .signed(with: SymmetricKey(data: Data(repeating: 1, count: 32)))
            for header in [
                [:], ["X-Undercurrent-Caller": "a.b"], ["X-Undercurrent-Caller": old], ["X-Undercurrent-Caller": other],
            ] {
                let answer = try await door.call(.get, path, scopes: nil, headers: header)
                #expect(answer.status == 401 && answer.problem?.code == .unauthenticated)
                #expect(answer.header("WWW-Authenticate") == "Bearer")
            }
        }
    }

    @Test("health is open to everyone")
    func health() async throws {
        try await Door.open { (door: Door) async throws in
            for path in ["/livez", "/readyz", "/health"] {
                #expect(try await door.call(.get, path, scopes: nil).status == 200)
            }
        }
    }

    @Test("a route asks for its scope, and one that is not declared is closed")
    func scopes() async throws {
        try await Door.open { (door: Door) async throws in
            let refused = try await door.call(.put, "/v1/topology", scopes: [.read, .ingest, .admin], body: "x")
            #expect(refused.status == 403 && refused.problem?.detail.contains("configure") == true)
            #expect(try await door.call(.put, "/v1/topology", scopes: [.configure], body: "x").text == "1")
            #expect(try await door.call(.get, "/v1/undeclared").status == 404)
        }
    }

    @Test(
        "every answer has a traceparent, every refusal is a problem with that trace's id",
        arguments: [
            ("GET", "/v1/events", 200, nil), ("GET", "/livez", 200, nil), ("GET", "/v1/nothing", 404, nil),
            ("DELETE", "/v1/topology", 405, "GET, PUT"), ("POST", "/livez", 405, "GET"),
            ("BREW", "/v1/events", 405, "GET"),
            ("GET", "/v1/anomalies/own", 500, nil), ("GET", "/v1/anomalies/late", 503, nil),
        ] as [(String, String, Int, String?)])
    func traced(method: String, path: String, status: Int, allow: String?) async throws {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        try await Door.open { (door: Door) async throws in
            let answer = try await door.call(
                try #require(HTTPRequest.Method(method)), path,
                headers: ["traceparent": "00-\(trace)-00f067aa0ba902b7-01"])
            #expect(answer.status == status)
            let parent = try #require(answer.header("traceparent").flatMap { TraceContext(parent: $0) })
            #expect(parent.traceID.description == trace && parent.spanID.description != "00f067aa0ba902b7")
            #expect(answer.header("Allow") == allow)
            guard status >= 400 else { return }
            #expect(answer.header("Content-Type") == "application/problem+json")
            #expect(answer.problem?.status == status && answer.problem?.traceId == trace)
        }
    }

    @Test("a broken traceparent starts a new trace")
    func newTrace() async throws {
        try await Door.open { (door: Door) async throws in
            let answer = try await door.call(.get, "/v1/events", headers: ["traceparent": "00-zz"])
            #expect(answer.header("traceparent").flatMap { TraceContext(parent: $0) } != nil)
        }
    }

    @Test(
        "a probe is sampled only when its caller says so, a request always",
        arguments: [("/livez", false), ("/readyz", false), ("/health", false), ("/v1/events", true)])
    func sampled(path: String, isSampled: Bool) async throws {
        let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        try await Door.open { (door: Door) async throws in
            for (headers, expected) in [([:], isSampled), (["traceparent": caller], true)] {
                let answer = try await door.call(.get, path, headers: headers)
                let trace = try #require(answer.header("traceparent").flatMap { TraceContext(parent: $0) })
                #expect(trace.isSampled == expected)
            }
        }
    }

    @Test("nothing of an inner error is shown", arguments: ["own", "http", "cancelled"])
    func inner(id: String) async throws {
        try await Door.open { (door: Door) async throws in
            let answer = try await door.call(.get, "/v1/anomalies/\(id)")
            #expect(answer.status == (id == "cancelled" ? 408 : 500))
            #expect(!answer.text.contains("hunter2") && !answer.text.contains("Inside") && answer.problem != nil)
        }
    }

    @Test("Retry-After is in whole seconds, rounded up")
    func retryAfter() async throws {
        try await Door.open { (door: Door) async throws in
            #expect(try await door.call(.get, "/v1/anomalies/later").header("Retry-After") == "2")
        }
    }

    @Test("a body over the limit is 413, one at the limit is read, another encoding is 415")
    func bodies() async throws {
        try await Door.open { (door: Door) async throws in
            let full = String(repeating: "x", count: 16)
            #expect(try await door.call(.put, "/v1/topology", body: full).text == "16")
            for headers in [[:], ["Content-Length": "17"]] {
                let answer = try await door.call(.put, "/v1/topology", headers: headers, body: full + "x")
                #expect(answer.status == 413 && answer.problem?.code == .bodyTooLarge)
            }
            #expect(
                try await door.call(.put, "/v1/topology", headers: ["Content-Encoding": "br"], body: "x").status == 415)
            #expect(
                try await door.call(.put, "/v1/topology", headers: ["Content-Encoding": "gzip"], body: "x").status
                    == 400)
        }
    }

    @Test(
        "a JSON body that is not as it should be is 400 and names the field",
        arguments: [
            ("{", 400, "not valid JSON"), (#"{"lagBuckets":"x"}"#, 400, "lagBuckets has the wrong type"),
            (#"{"markets":{"a":{}}}"#, 400, "markets.a.kind is required"), (#"{"role":"x"}"#, 400, "role is not valid"),
            (String(repeating: "[", count: 65), 400, "nested"), (#"{"domain":"d"}"#, 200, ""),
        ])
    func json(body: String, status: Int, detail: String) async throws {
        try await Door.open { (door: Door) async throws in
            let answer = try await door.call(.post, "/v1/propagation", body: body)
            #expect(answer.status == status && (answer.problem?.detail.contains(detail) ?? true), "\(answer.text)")
            for type in ["text/csv", "application/json-seq", ";application/json", "application/ json"] {
                let media = try await door.call(.post, "/v1/propagation", headers: ["Content-Type": type], body: body)
                #expect(media.status == 415, "\(type)")
            }
            let spelled = ["Content-Type": "Application/JSON ;charset=utf-8"]
            #expect(try await door.call(.post, "/v1/propagation", headers: spelled, body: body).status == status)
        }
    }

    @Test("what the client made up comes back cut short")
    func echo() async throws {
        try await Door.open { (door: Door) async throws in
            let role = String(repeating: "x", count: 50_000)
            let answer = try await door.call(.post, "/v1/propagation", body: #"{"role":"\#(role)"}"#)
            #expect(answer.status == 400 && answer.text.utf8.count < 1_000)
        }
    }

    @Test("a request with time left is answered and knows how much; without the header it has the default")
    func timeLeft() async throws {
        try await Door.open { (door: Door) async throws in
            for (headers, most) in [(["X-Request-Timeout-Ms": "5000"], 5_000), ([:], 60_000)] {
                let answer = try await door.call(.get, "/v1/events", headers: headers)
                let left = try #require(answer.text.split(separator: " ").last.flatMap { Int($0) })
                #expect(answer.status == 200 && left <= most && left > most - 3_000)
            }
        }
    }

    @Test("work past its deadline is cancelled and answered with 504", arguments: ["0", "1", "60"])
    func deadline(milliseconds: String) async throws {
        try await Door.open { (door: Door) async throws in
            let start = ContinuousClock.now
            let answer = try await door.call(.get, "/v1/domains", headers: ["X-Request-Timeout-Ms": milliseconds])
            #expect(answer.status == 504 && answer.problem?.code == .deadlineExceeded)
            #expect(ContinuousClock.now - start < .seconds(10))
        }
    }

    @Test("an error before the deadline stays itself")
    func earlyError() async throws {
        try await Door.open { (door: Door) async throws in
            let answer = try await door.call(.get, "/v1/anomalies/later", headers: ["X-Request-Timeout-Ms": "5000"])
            #expect(answer.status == 503)
        }
    }

    @Test("a time that is none is 400", arguments: ["-1", "600001", "1.5", "soon", ""])
    func badTimeout(text: String) async throws {
        try await Door.open { (door: Door) async throws in
            #expect(try await door.call(.get, "/v1/events", headers: ["X-Request-Timeout-Ms": text]).status == 400)
        }
    }

    @Test(
        "beyond the limit of requests at work the next gets 503 with Retry-After, health does not, and places come free"
    )
    func admission() async throws {
        try await Door.open(inFlightLimit: 2) { (door: Door) async throws in
            try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<2 {
                    group.addTask {
                        // A probe of below may hold the place for a moment.
                        var status = 503
                        for _ in 0..<200 where status == 503 {
                            status = try await door.call(.get, "/v1/domains", headers: ["X-Request-Timeout-Ms": "3000"])
                                .status
                        }
                        return status
                    }
                }
                var answer = try await door.call(.get, "/v1/events")
                for _ in 0..<300 where answer.status == 200 {
                    try await Task.sleep(for: .milliseconds(5))
                    answer = try await door.call(.get, "/v1/events")
                }
                #expect(answer.status == 503 && answer.problem?.code == .overloaded)
                #expect(answer.header("Retry-After") == "1")
                #expect(try await door.call(.get, "/readyz").status == 200)
                for try await status in group { #expect(status == 504) }
            }
            for _ in 0..<5 { #expect(try await door.call(.get, "/v1/events").status == 200) }
            #expect(door.metrics.exposition().contains("\nhttp_server_requests_shed_total "))
        }
    }

    @Test("requests are counted by route template and status, and a method made up is OTHER")
    func counted() async throws {
        try await Door.open { (door: Door) async throws in
            _ = try await door.call(.get, "/v1/anomalies/later")
            _ = try await door.call(try #require(HTTPRequest.Method("BREW")), "/v1/events")
            let text = door.metrics.exposition()
            #expect(
                text.contains(#"http_server_requests_total{method="GET",route="/v1/anomalies/{id}",status="503"} 1"#))
            #expect(text.contains(#"method="OTHER""#) && !text.contains("BREW"))
            #expect(text.contains("\nhttp_server_requests_in_flight 0\n"))
        }
    }
}
