import HTTPTypes
import Model
import NIOCore
import Testing

@testable import Gateway

private func fields(_ pairs: [(String, String)], table: FieldTable = HopByHop.requestTable) -> FieldBlock {
    var fields = FieldBlock(table: table)
    for (name, value) in pairs { fields.append(name, value) }
    return fields
}

/// What crosses, as lines.
private func crossing(_ fields: FieldBlock) -> String? {
    HopByHop.crossing(fields).map { entries in
        var buffer = ByteBuffer()
        buffer.write(room: fields.byteCount) { fields.writeLines(entries, into: &$0) }
        return String(buffer: buffer)
    }
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
    func strippedTowardsService(name: String) {
        let given = fields([(name, "value"), ("Accept", "application/json"), (name.uppercased(), "again")])
        #expect(crossing(given) == "Accept: application/json\r\n")
    }

    @Test("fields named by Connection go too, and only they")
    func namedByConnection() {
        let given = fields([
            ("Connection", "close, X-Private ,"), ("connection", "x-other"), ("X-Private", "1"), ("X-Other", "2"),
            ("X-Kept", "3"), ("Idempotency-Key", "k"),
        ])
        #expect(crossing(given) == "X-Kept: 3\r\nIdempotency-Key: k\r\n")
    }

    @Test("Connection cannot remove what the gateway itself adds, and is bounded")
    func connectionIsBounded() {
        let many = (0..<40).map { "x-\($0)" }.joined(separator: ",")
        #expect(crossing(fields([("Connection", many)])) == nil)
    }

    @Test("a client never sees a service's connection fields, date, server or trace")
    func strippedTowardsClient() {
        let given = fields(
            [
                ("Connection", "X-Inner"), ("X-Inner", "1"), ("Transfer-Encoding", "chunked"), ("Server", "s"),
                ("Date", "d"), ("traceparent", "t"), ("X-Undercurrent-Replica", "r"), ("ETag", "\"e\""),
                ("Set-Cookie", "a=b"), ("Age", "3"), ("Content-Type", "application/json"),
            ], table: HopByHop.answerTable)
        #expect(
            crossing(given) == "ETag: \"e\"\r\nSet-Cookie: a=b\r\nAge: 3\r\nContent-Type: application/json\r\n")
    }

    @Test("what is withheld does not depend on the case of a name or on its neighbours", arguments: 1...20)
    func anyMixture(seed: Int) throws {
        let names =
            ["Accept", "Connection", "X-A", "X-B", "TE", "Cookie", "X-Undercurrent-Caller", "If-None-Match"]
            + Array(HopByHop.names)
        var random = SplitMix(seed: UInt64(seed))
        var given: [(String, String)] = []
        for _ in 0..<30 {
            var name = names[Int(random.below(UInt64(names.count)))]
            let value = name == "Connection" ? "x-a" : "v\(random.below(5))"
            if random.below(2) == 0 { name = name.uppercased() }
            given.append((name, value))
        }
        let namesXA = given.contains { $0.0.lowercased() == "connection" && $0.1 == "x-a" }
        let expected = given.filter { name, _ in
            ["accept", "x-b", "if-none-match"].contains(name.lowercased())
                || (name.lowercased() == "x-a" && !namesXA)
        }
        #expect(crossing(fields(given)) == expected.map { "\($0.0): \($0.1)\r\n" }.joined())
    }

    @Test("where a request came from is told from the connection")
    func forwarded() {
        #expect(
            ForwardedFields.lines(peer: "192.0.2.1", host: "api.example.com:8443") == """
                forwarded: for=192.0.2.1;host="api.example.com:8443";proto=https\r
                x-forwarded-proto: https\r
                x-forwarded-for: 192.0.2.1\r
                x-forwarded-host: api.example.com:8443\r

                """)
        #expect(
            ForwardedFields.lines(peer: "2001:db8::1", host: nil).hasPrefix(
                "forwarded: for=\"[2001:db8::1]\";proto=https\r\n"))
    }

    @Test("a host that is no plain host is not repeated", arguments: ["a\"b", "a;for=x", "a b", "a,b", "", "a/b"])
    func forwardedHostIsPlain(host: String) {
        #expect(
            ForwardedFields.lines(peer: nil, host: host) == "forwarded: proto=https\r\nx-forwarded-proto: https\r\n")
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
        #expect(try BodyPolicy.plan(.none, limit: 0) == .none)
        #expect(try BodyPolicy.plan(.length(100), limit: limit) == .collect(limit: 100))
        #expect(try BodyPolicy.plan(.length(100_000), limit: limit) == .stream(length: 100_000, limit: limit))
        #expect(try BodyPolicy.plan(.chunked, limit: limit) == .stream(length: nil, limit: limit))
        #expect(try BodyPolicy.plan(.open, limit: 1_000) == .collect(limit: 1_000))
        #expect(try BodyPolicy.plan(.open, limit: 0) == .collect(limit: 0))
        #expect(throws: BodyPolicy.tooLarge(limit)) { try BodyPolicy.plan(.length(limit + 1), limit: limit) }
        #expect(throws: BodyPolicy.tooLarge(0)) { try BodyPolicy.plan(.length(1), limit: 0) }
        #expect(throws: BodyPolicy.tooLarge(0)) { try BodyPolicy.plan(.chunked, limit: 0) }
    }

    @Test("only ingest takes gzip, and only gzip")
    func encoding() throws {
        let ingest = try #require(APIRoute.all.first { $0.scope == .ingest })
        let topology = try #require(APIRoute.all.first { $0.path == "/v1/topology" && $0.method == .put })
        try BodyPolicy.checkEncoding(fields([("Content-Encoding", "gzip")]), route: ingest)
        try BodyPolicy.checkEncoding(fields([("content-encoding", "identity")]), route: topology)
        for (value, route) in [("br", ingest), ("gzip, gzip", ingest), ("gzip", topology)] {
            let error = #expect(throws: Problem.self) {
                try BodyPolicy.checkEncoding(fields([("content-encoding", value)]), route: route)
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
