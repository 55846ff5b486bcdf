import AsyncHTTPClient
import Foundation
import HTTPTypes
import Logging
import Model
import NIOCore
import Telemetry
import Testing

@testable import Gateway

@Suite("The gateway over TLS", .serialized)
struct LiveTests {
    @Test("HTTP/1.1 and HTTP/2 both reach the service, with the caller, origin, trace and remaining time")
    func forwards() async throws {
        try await LiveGateway.with { live in
            let key = try await live.key()
            for http2 in [false, true] {
                let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
                let answer = try await live.send(
                    "GET", "/v1/events?limit=1", key: key,
                    headers: [
                        ("traceparent", parent), ("X-Undercurrent-Caller", "forged"), ("X-Forwarded-For", "9.9.9.9"),
                        ("Cookie", "a=b"), ("X-Request-Timeout-Ms", "5000"), ("If-None-Match", "\"x\""),
                    ], http2: http2)
                #expect(answer.status == 200)
                #expect(answer.version == (http2 ? "HTTP/2.0" : "HTTP/1.1"))
                #expect(answer.text == #"{"service":"builder","bytes":0}"#)
                #expect(answer["strict-transport-security"] == "max-age=31536000")
                #expect(answer["x-inner"] == nil)
                #expect(answer["ratelimit-policy"] == "\"caller\";q=1000;w=1")
                let given = try #require(answer["traceparent"])
                #expect(given.hasPrefix("00-4bf92f3577b34da6a3ce929d0e0e4736-"))
                #expect(given != parent)
                let seen = try #require(live.builder.seen.last)
                #expect(seen.target == "/v1/events?limit=1")
                #expect(seen.fields[values: .traceParent] == [given])
                #expect(seen.fields[.forwardedFor] == "127.0.0.1")
                #expect(seen.fields[.cookie] == nil)
                #expect(seen.fields[.apiKey] == nil)
                #expect(seen.fields[.ifNoneMatch] == "\"x\"")
                let remaining = try #require(seen.fields[.requestTimeout].flatMap { Int($0) })
                #expect((1...5_000).contains(remaining))
                let tokens = seen.fields[values: .undercurrentCaller]
                #expect(tokens.count == 1)
                let token = try #require(
                    CallerToken(
                        verifying: tokens[0], secret: LiveGateway.secret, nowMs: WallClock.milliseconds()))
                #expect(token.caller == "caller-\(key.id)")
                #expect(token.scopes == [.read, .ingest])
            }
            try await LiveFailureTests.eventually { live.log.access.count == 2 }
            let line = try #require(live.log.access.last)
            #expect(Set(line.keys).isSuperset(of: ["route", "status", "durationUs", "caller", "traceId", "upstream"]))
            #expect(!live.log.text.contains(key.secret))
        }
    }

    @Test("identity, scope, route, method, limits of length and type: each has its status and a problem")
    func refusals() async throws {
        try await LiveGateway.with { live in
            let key = try await live.key([.read])
            func problem(
                _ method: String, _ target: String, key: APIKeyText?, headers: [(String, String)] = [],
                body: HTTPClientRequest.Body? = nil
            ) async throws -> String {
                let answer = try await live.send(method, target, key: key, headers: headers, body: body)
                let problem = try #require(answer.problem)
                #expect(problem.status == answer.status)
                #expect(answer["content-type"] == "application/problem+json")
                #expect(problem.traceId?.utf8.count == 32)
                #expect(answer["traceparent"]?.contains(problem.traceId ?? "-") == true)
                return problem.code.rawValue
            }
            #expect(try await problem("GET", "/v1/events", key: nil) == "unauthenticated")
            #expect(try await problem("GET", "/v1/events", key: .random()) == "unauthenticated")
            #expect(
                try await problem("GET", "/v1/events", key: nil, headers: [("Authorization", "Bearer a.b.c")])
                    == "unauthenticated")
            #expect(
                try await problem("POST", "/v1/observations", key: key, body: .bytes(ByteBuffer(string: "[]")))
                    == "forbidden")
            #expect(try await problem("GET", "/v1/keys", key: key) == "forbidden")
            #expect(try await problem("GET", "/nowhere", key: key) == "not-found")
            #expect(try await problem("PATCH", "/v1/events", key: key) == "method-not-allowed")
            #expect(try await problem("GET", "/v1/events/%2e%2e", key: key) == "invalid-request")
            #expect(
                try await problem("GET", "/v1/events", key: key, headers: [("X-Request-Timeout-Ms", "soon")])
                    == "invalid-request")
            #expect(
                try await problem(
                    "POST", "/v1/propagation", key: key, headers: [("Content-Encoding", "gzip")],
                    body: .bytes(ByteBuffer(string: "x"))) == "unsupported-media-type")
            let large = ByteBuffer(repeating: 0x20, count: (64 << 10) + 1)
            #expect(try await problem("POST", "/v1/propagation", key: key, body: .bytes(large)) == "body-too-large")
            #expect(
                try await problem(
                    "POST", "/v1/propagation", key: key, body: .stream([large].async, length: .unknown))
                    == "body-too-large")
            let headers = (0..<20).map { ("X-Filler-\($0)", String(repeating: "a", count: 1_000)) }
            let overflow = try await live.send("GET", "/v1/events", key: key, headers: headers)
            #expect(overflow.problem?.code == .headersTooLarge)
            #expect(live.builder.seen.isEmpty)
            let allowed = try await live.send("PUT", "/v1/keys", key: key)
            #expect(allowed["allow"] == "GET, POST")
        }
    }

    @Test("a caller over its limit is told when to come back, and the wait it is told is true")
    func limited() async throws {
        try await LiveGateway.with {
            $0.door.callerPolicy = GCRA(burst: 3, refillPerSecond: 1)
        } _: { live in
            let key = try await live.key()
            for left in [2, 1, 0] {
                let answer = try await live.send("GET", "/v1/events", key: key)
                #expect(answer.status == 200)
                #expect(answer["ratelimit"]?.hasPrefix("\"caller\";r=\(left);") == true)
            }
            let refused = try await live.send("GET", "/v1/events", key: key)
            #expect(refused.status == 429)
            #expect(refused.problem?.scope == "per-instance")
            #expect(refused["retry-after"] == "1")
            let other = try await live.send("GET", "/v1/events", key: try await live.key())
            #expect(other.status == 200)
            try await Task.sleep(for: .seconds(1.1))
            #expect(try await live.send("GET", "/v1/events", key: key).status == 200)
        }
    }

    @Test("limits change while the gateway runs: tighter at once, wider without the old wait")
    func changedLimits() async throws {
        try await LiveGateway.with { _ in
        } _: { live in
            let key = try await live.key()
            #expect(try await live.send("GET", "/v1/events", key: key).status == 200)
            var limits = DoorSettings()
            limits.callerPolicy = GCRA(burst: 1, refillPerSecond: 0.01)
            limits.inFlightLimit = 7
            live.gateway.core.take(limits)
            _ = try await live.send("GET", "/v1/events", key: key)
            let refused = try await live.send("GET", "/v1/events", key: key)
            #expect(refused.status == 429 && refused["ratelimit-policy"] == #""caller";q=1;w=100"#)
            #expect(live.gateway.core.inFlight.limit == 7)
            live.gateway.core.take(DoorSettings())
            #expect(try await live.send("GET", "/v1/events", key: key).status == 200)
        }
    }

    @Test("strangers are limited by address, valid callers behind the same address are not")
    func strangers() async throws {
        try await LiveGateway.with {
            $0.door.peerPolicy = GCRA(burst: 5, refillPerSecond: 0.01)
        } _: { live in
            let key = try await live.key()
            #expect(try await live.send("GET", "/v1/events", key: key).status == 200)
            var statuses: [Int] = []
            for _ in 0..<8 { statuses.append(try await live.send("GET", "/v1/events", key: .random()).status) }
            #expect(statuses == [401, 401, 401, 401, 401, 429, 429, 429])
            #expect(try await live.send("GET", "/livez").status == 429)
            #expect(try await live.send("GET", "/v1/events", key: key).status == 200)
        }
    }

    @Test("large bodies stream both ways, also over HTTP/2")
    func streams() async throws {
        try await LiveGateway.with { live in
            let key = try await live.key()
            for http2 in [false, true] {
                let answer = try await live.send("GET", "/v1/events/large", key: key, http2: http2)
                #expect(answer.status == 200)
                #expect(answer.body.count == 48 << 20)
                let pieces = Array(repeating: ByteBuffer(repeating: 0x31, count: 256 << 10), count: 80)
                for length in [HTTPClientRequest.Body.Length.unknown, .known(Int64(80 * 256 << 10))] {
                    let sent = try await live.send(
                        "POST", "/v1/observations", key: key, headers: [("Content-Encoding", "gzip")],
                        body: .stream(pieces.async, length: length), http2: http2)
                    #expect(sent.text == #"{"service":"builder","bytes":\#(80 * 256 << 10)}"#)
                }
                let tooMuch = Array(repeating: ByteBuffer(repeating: 0x31, count: 1 << 20), count: 34)
                let refused = try await live.send(
                    "POST", "/v1/observations", key: key, body: .stream(tooMuch.async, length: .unknown), http2: http2)
                #expect(refused.problem?.code == .bodyTooLarge)
                #expect(try await live.send("GET", "/v1/events", key: key, http2: http2).status == 200)
            }
        }
    }
}

extension Array where Element: Sendable {
    /// The elements as an asynchronous sequence.
    var async: AsyncStream<Element> {
        AsyncStream { continuation in
            for element in self { continuation.yield(element) }
            continuation.finish()
        }
    }
}
