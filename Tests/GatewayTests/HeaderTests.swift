import HTTPTypes
import Model
import Testing

@testable import Gateway

private func fields(_ pairs: [(String, String)]) throws -> HTTPFields {
    var fields = HTTPFields()
    for (name, value) in pairs { fields.append(HTTPField(name: try #require(HTTPField.Name(name)), value: value)) }
    return fields
}

@Suite("Header fields across the gateway")
struct HeaderTests {
    @Test(
        "a service never sees a client's connection fields, credentials, origin, trace or our own names",
        arguments: [
            "Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Proxy-Connection",
            "Proxy-Authorization", "Authorization", "X-API-Key", "Cookie", "Forwarded", "X-Forwarded-For",
            "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "traceparent", "tracestate", "Baggage",
            "X-Undercurrent-Caller", "x-undercurrent-anything", "X-Request-Timeout-Ms", "Content-Length", "Expect",
        ])
    func strippedTowardsService(name: String) throws {
        let given = try fields([(name, "value"), ("Accept", "application/json"), (name.uppercased(), "again")])
        let kept = try #require(HopByHop.towardsService(given))
        #expect(kept == (try fields([("Accept", "application/json")])))
    }

    @Test("fields named by Connection go too, and only they")
    func namedByConnection() throws {
        let given = try fields([
            ("Connection", "close, X-Private ,"), ("connection", "x-other"), ("X-Private", "1"), ("X-Other", "2"),
            ("X-Kept", "3"), ("Idempotency-Key", "k"),
        ])
        let kept = try #require(HopByHop.towardsService(given))
        #expect(kept == (try fields([("X-Kept", "3"), ("Idempotency-Key", "k")])))
    }

    @Test("Connection cannot remove what the gateway itself adds, and is bounded")
    func connectionIsBounded() throws {
        let many = (0..<40).map { "x-\($0)" }.joined(separator: ",")
        #expect(HopByHop.towardsService(try fields([("Connection", many)])) == nil)
    }

    @Test("a client never sees a service's connection fields, date, server or trace")
    func strippedTowardsClient() throws {
        let given = try fields([
            ("Connection", "X-Inner"), ("X-Inner", "1"), ("Transfer-Encoding", "chunked"), ("Server", "s"),
            ("Date", "d"), ("traceparent", "t"), ("X-Undercurrent-Replica", "r"), ("ETag", "\"e\""),
            ("Set-Cookie", "a=b"), ("Age", "3"), ("Content-Type", "application/json"),
        ])
        #expect(
            HopByHop.towardsClient(given)
                == (try fields([
                    ("ETag", "\"e\""), ("Set-Cookie", "a=b"), ("Age", "3"), ("Content-Type", "application/json"),
                ])))
    }

    @Test("stripping twice is stripping once, for any mixture of fields", arguments: 1...20)
    func idempotent(seed: Int) throws {
        let names =
            ["Accept", "Connection", "X-A", "X-B", "TE", "Cookie", "X-Undercurrent-Caller", "If-None-Match"]
            + Array(HopByHop.names)
        var random = SplitMix(seed: UInt64(seed))
        var given = HTTPFields()
        for _ in 0..<30 {
            let name = names[Int(random.below(UInt64(names.count)))]
            let value = name == "Connection" ? "x-a" : "v\(random.below(5))"
            given.append(HTTPField(name: try #require(HTTPField.Name(name)), value: value))
        }
        let once = try #require(HopByHop.towardsService(given))
        #expect(HopByHop.towardsService(once) == once)
        for field in once {
            #expect(!HopByHop.names.contains(field.name.canonicalName))
            #expect(!field.name.canonicalName.hasPrefix("x-undercurrent-"))
        }
    }

    @Test("where a request came from is told from the connection")
    func forwarded() {
        var fields = HTTPFields()
        ForwardedFields.set(on: &fields, peer: "192.0.2.1", host: "api.example.com:8443")
        #expect(fields[.forwarded] == "for=192.0.2.1;host=\"api.example.com:8443\";proto=https")
        #expect(fields[.forwardedFor] == "192.0.2.1")
        #expect(fields[.forwardedHost] == "api.example.com:8443")
        ForwardedFields.set(on: &fields, peer: "2001:db8::1", host: nil)
        #expect(fields[.forwarded] == "for=\"[2001:db8::1]\";proto=https")
    }

    @Test("a host that is no plain host is not repeated", arguments: ["a\"b", "a;for=x", "a b", "a,b", "", "a/b"])
    func forwardedHostIsPlain(host: String) {
        var fields = HTTPFields()
        ForwardedFields.set(on: &fields, peer: nil, host: host)
        #expect(fields[.forwarded] == "proto=https")
        #expect(fields[.forwardedHost] == nil)
    }
}

@Suite("Deadline and body rules")
struct RequestRuleTests {
    @Test("the client may ask for less than the gateway allows, not for more")
    func deadline() throws {
        #expect(try RequestDeadline.milliseconds(asked: [], limitMs: 30_000) == 30_000)
        #expect(try RequestDeadline.milliseconds(asked: ["250"], limitMs: 30_000) == 250)
        #expect(try RequestDeadline.milliseconds(asked: ["999999"], limitMs: 30_000) == 30_000)
    }

    @Test(
        "anything but one positive whole number is refused",
        arguments: [["0"], [""], ["-5"], ["1.5"], ["1e3"], ["10", "20"], ["99999999999999999999"], ["+7"], [" 7"]])
    func wrongDeadline(values: [String]) {
        #expect(throws: Problem.self) { try RequestDeadline.milliseconds(asked: values, limitMs: 30_000) }
    }

    @Test("a body is planned by its declared length and the route's limit")
    func bodyPlan() throws {
        let limit = 1 << 20
        #expect(try BodyPolicy.plan(fields: [:], limit: 0) == .none)
        #expect(try BodyPolicy.plan(fields: [.contentLength: "0"], limit: 0) == .none)
        #expect(try BodyPolicy.plan(fields: [.contentLength: "100"], limit: limit) == .collect(limit: 100))
        #expect(
            try BodyPolicy.plan(fields: [.contentLength: "100000"], limit: limit)
                == .stream(length: 100_000, limit: limit))
        #expect(
            try BodyPolicy.plan(fields: [.transferEncoding: "chunked"], limit: limit)
                == .stream(length: nil, limit: limit))
        #expect(try BodyPolicy.plan(fields: [:], limit: 1_000) == .collect(limit: 1_000))
        #expect(throws: BodyPolicy.tooLarge(limit)) {
            try BodyPolicy.plan(fields: [.contentLength: String(limit + 1)], limit: limit)
        }
        #expect(throws: BodyPolicy.tooLarge(0)) { try BodyPolicy.plan(fields: [.contentLength: "1"], limit: 0) }
    }

    @Test("a length declared twice, in two ways or not as a number is refused")
    func ambiguousLength() {
        let wrong: [HTTPFields] = [
            [.contentLength: "5", .transferEncoding: "chunked"], [.contentLength: "five"], [.contentLength: "-1"],
            [.contentLength: "+5"], [.contentLength: "5, 5"], [.contentLength: "9999999999999999999999"],
        ]
        for fields in wrong {
            #expect(throws: Problem.self) { try BodyPolicy.plan(fields: fields, limit: 100) }
        }
        var twice: HTTPFields = [.contentLength: "5"]
        twice.append(HTTPField(name: .contentLength, value: "6"))
        #expect(throws: Problem.self) { try BodyPolicy.plan(fields: twice, limit: 100) }
    }

    @Test("only ingest takes gzip, and only gzip")
    func encoding() throws {
        let ingest = try #require(APIRoute.all.first { $0.scope == .ingest })
        let topology = try #require(APIRoute.all.first { $0.path == "/v1/topology" && $0.method == .put })
        try BodyPolicy.checkEncoding(fields: [.contentEncoding: "gzip"], route: ingest)
        try BodyPolicy.checkEncoding(fields: [.contentEncoding: "identity"], route: topology)
        for (value, route) in [("br", ingest), ("gzip, gzip", ingest), ("gzip", topology)] {
            let error = #expect(throws: Problem.self) {
                try BodyPolicy.checkEncoding(fields: [.contentEncoding: value], route: route)
            }
            #expect(error?.status == 415)
        }
    }

    @Test("a service's problem passes; its bare errors and its refusal of our token do not")
    func verdicts() {
        func verdict(_ status: Int, _ type: String?) -> Int? {
            guard
                case .replace(let problem) = ResponsePolicy.verdict(
                    status: status, mediaType: type, upstream: .graphBuilder)
            else { return nil }
            return problem.status
        }
        #expect(verdict(200, "application/json") == nil)
        #expect(verdict(404, nil) == nil)
        #expect(verdict(503, "application/problem+json") == nil)
        #expect(verdict(500, nil) == 502)
        #expect(verdict(503, "text/html") == 502)
        #expect(verdict(401, "application/problem+json") == 502)
    }
}
