import AsyncHTTPClient
import Foundation
import Model
import NIOCore
import NIOHTTP1
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    /// Who gets in, how far, and what happens to requests that break off.
    @Suite("The door")
    struct DoorTests {
        @Test("no key and a made-up key are 401")
        func missingKey() async throws {
            let stack = try await Stack.shared()
            for key in [nil, "nonsense", "uc_0123456789abcdef_" + String(repeating: "A", count: 43)] {
                let reply = try await stack.call("GET", "/v1/domains", key: key)
                #expect(reply.status == 401 && reply.problem?.code == .unauthenticated, "\(reply.status) \(reply.text)")
                #expect(reply.header("traceparent") != nil)
            }
        }

        /// Seen to fail: without looking at the time a key expires.
        @Test("an expired key is 401 and says so")
        func expiredKey() async throws {
            let stack = try await Stack.shared()
            let key = try await stack.key(scopes: "read", ["--expires-days", "1"])
            let id = try #require(key.split(separator: "_").dropFirst().first)
            let database = try await PostgresConnection.connect(
                try PostgresConfiguration(connectionString: stack.databaseURL))
            // A day passes.
            try await database.query(
                "UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE id = $1", [.text(String(id))])
            await database.close()
            try await stack.eventually("the key has expired", seconds: 20) {
                let reply = try await stack.call("GET", "/v1/domains", key: key)
                return reply.status == 401 && reply.problem?.code == .credentialExpired
            }
        }

        @Test("a key without the scope is 403")
        func wrongScope() async throws {
            let stack = try await Stack.shared()
            let reader = try await stack.key(scopes: "read")
            let line = Data(Stack.line(event: "e", time: ProcessTests.origin, value: 1).utf8)
            let write = try await stack.call(
                "POST", "/v1/observations", key: reader, headers: [("Content-Type", "application/x-ndjson")], body: line
            )
            #expect(write.status == 403 && write.problem?.code == .forbidden, "\(write.text)")
            let declare = try await stack.call(
                "PUT", "/v1/domains/test", key: reader, headers: [("Content-Type", "application/json")],
                body: Data("{}".utf8))
            #expect(declare.status == 403)
            #expect(try await stack.call("GET", "/v1/keys", key: reader).status == 403)
        }

        @Test(
            "an answer of a moment ago is given again and says so, through TLS and gateway, to callers with the scope",
            arguments: ["/v1/events?limit=7", "/v1/anomalies?limit=7", "/v1/forecasts?limit=7"])
        func keptAnswers(path: String) async throws {
            let stack = try await Stack.shared()
            let reader = try await stack.key(scopes: "read")
            let writer = try await stack.key(scopes: "ingest")
            // Whatever is kept is older than a second or makes the next one say its age.
            try await stack.eventually("a kept answer", seconds: 20) {
                let reply = try await stack.call("GET", path, key: reader, headers: [("Cache-Control", "max-age=1")])
                #expect(reply.status == 200)
                return reply.header("age") == "0"
            }
            let fresh = try await stack.call("GET", path, key: reader)
            #expect(fresh.status == 200 && fresh.header("age") == nil)
            #expect(try await stack.call("GET", path, key: writer).status == 403)
            let kept = try await stack.call("GET", path, key: writer, headers: [("Cache-Control", "max-age=1")])
            #expect(kept.status == 403)
        }

        @Test("a client cannot bring its own caller token through the gateway")
        func smuggledToken() async throws {
            let stack = try await Stack.shared()
            let reply = try await stack.call(
                "GET", "/v1/domains", key: nil, headers: [("X-Undercurrent-Caller", "e30.AAAA")])
            #expect(reply.status == 401)
        }

        @Test("over the limit is 429, and after the time it names the next request passes")
        func overTheLimit() async throws {
            let stack = try await Stack.shared()
            let (http, metrics) = (try FreePort.find(), try FreePort.find())
            let program = try RunningProgram(
                "gateway", ["serve"],
                settings: stack.settings(
                    "gateway",
                    [
                        "HTTP_PORT": "\(http)", "METRICS_PORT": "\(metrics)", "RATE_LIMITER_TOKENS": "5",
                        "RATE_LIMITER_REFILL_RATE": "0.2",
                    ]), log: stack.folder + "/limited-gateway.log")
            defer { program.signal(SIGTERM) }
            let url = "https://localhost:\(http)"
            try await stack.eventually("the second gateway is ready") {
                try await stack.call("GET", url + "/readyz", key: nil).status == 200
            }
            let key = try await stack.key(scopes: "read", ["--expires-days", "2"])
            func ask() async throws -> Reply { try await stack.call("GET", url + "/v1/domains", key: key) }
            var refusal: Reply?
            for _ in 0..<20 where refusal == nil {
                let reply = try await ask()
                if reply.status == 429 { refusal = reply } else { #expect(reply.status == 200) }
            }
            let refused = try #require(refusal)
            let begin = ContinuousClock.now
            #expect(refused.problem?.code == .rateLimited)
            let exact = try #require(refused.problem?.retryAfter)
            let whole = try #require(refused.header("retry-after").flatMap(Int.init))
            // One token comes back every 5 s; some of them passed with the requests before.
            #expect(exact > 0 && exact <= 5)
            #expect(whole == Int(exact.rounded(.up)))
            // Much less is not enough, and a refusal costs nothing: the time does not move away.
            for _ in 0..<3 {
                try await Task.sleep(for: .seconds(exact / 15))
                #expect(try await ask().status == 429)
            }
            try await Task.sleep(until: begin + .seconds(exact), clock: .continuous)
            #expect(try await ask().status == 200)
            #expect(try await ask().status == 429)
        }

        @Test(
            "an unknown event, anomaly and path are 404",
            arguments: [
                "/v1/events/nobody-knows-this", "/v1/correlation-graph?eventId=nobody-knows-this", "/v1/anomalies/0000",
                "/v1/nothing",
            ])
        func unknown(path: String) async throws {
            let reply = try await Stack.shared().get(path)
            #expect(reply.status == 404 && reply.problem?.code == .notFound, "\(reply.status) \(reply.text)")
        }

        @Test(
            "a wrong method is 405 and the answer names the right ones",
            arguments: [
                ("DELETE", "/v1/domains", "GET"), ("GET", "/v1/observations", "POST"),
                ("POST", "/v1/events/any", "GET"), ("PATCH", "/v1/domains/any", "GET, PUT"),
                ("GET", "/v1/root-causes", "POST"), ("DELETE", "/v1/topology", "GET, PUT"),
                ("POST", "/health", "GET"),
            ])
        func wrongMethod(method: String, path: String, allowed: String) async throws {
            let stack = try await Stack.shared()
            let reply = try await stack.call(method, path, key: try await stack.key(scopes: Stack.allScopes))
            #expect(reply.status == 405 && reply.problem?.code == .methodNotAllowed, "\(reply.status) \(reply.text)")
            #expect(Self.methods(reply) == Self.methods(allowed))
        }

        private static func methods(_ reply: Reply) -> Set<String> { self.methods(reply.header("allow") ?? "") }

        private static func methods(_ text: String) -> Set<String> {
            Set(text.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) })
        }

        @Test("wrong parameters and bodies are 400")
        func wrongQuestions() async throws {
            let stack = try await Stack.shared()
            for path in [
                "/v1/correlation-graph", "/v1/anomalies?limit=-1", "/v1/anomalies?kind=none", "/v1/forecasts?cursor=!",
            ] {
                let reply = try await stack.get(path)
                #expect(reply.status == 400 && reply.problem != nil, "\(path): \(reply.status) \(reply.text)")
            }
            for body in ["", "{", "[]", "{\"source\":{}}", String(repeating: "[", count: 20_000)] {
                let reply = try await stack.post("/v1/propagation", body)
                #expect(reply.status == 400 && reply.problem != nil, "\(reply.status) \(reply.text.prefix(200))")
            }
        }

        private struct BrokenOff: Error {}

        @Test("a half-sent body and a client that goes away lose nothing and harm nobody")
        func brokenOff() async throws {
            let stack = try await Stack.shared()
            let key = try await stack.key(scopes: Stack.allScopes)
            let event = ProcessTests.event("half")
            for _ in 0..<5 {
                var request = HTTPClientRequest(url: stack.url + "/v1/observations")
                request.method = .POST
                request.headers.add(name: "X-API-Key", value: key)
                request.headers.add(name: "Content-Type", value: "application/x-ndjson")
                let half = Stack.line(event: event, time: ProcessTests.origin, value: 1) + "\n"
                let body = AsyncThrowingStream<ByteBuffer, any Error> { continuation in
                    continuation.yield(ByteBuffer(string: half))
                    continuation.finish(throwing: BrokenOff())
                }
                request.body = .stream(body, length: .known(Int64(10_000)))
                await #expect(throws: (any Error).self) {
                    _ = try await stack.http.execute(request, timeout: .seconds(10))
                }
            }
            // Clients that leave before the answer.
            for _ in 0..<5 {
                let task = Task {
                    try await stack.observe(
                        (0..<2_000).map { Stack.line(event: "gone", time: ProcessTests.origin + Int64($0), value: 1) })
                }
                try await Task.sleep(for: .milliseconds(30))
                task.cancel()
                _ = await task.result
            }
            let good = Stack.line(event: ProcessTests.event(), time: ProcessTests.origin, value: 1)
            #expect(try await stack.observe([good]).status == 200)
            // Nothing of a body that never came whole is there.
            #expect(try await stack.get("/v1/events/\(event)").status == 404)
            for name in Stack.serviceNames { #expect(try stack.program(name).exitCode() == nil) }
        }
    }
}
