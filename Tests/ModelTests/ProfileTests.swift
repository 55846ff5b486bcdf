import Foundation
import Model
import Testing

@Suite("Domain profiles")
struct ProfileTests {
    private func decoded(_ json: String) throws -> DomainProfile {
        try JSONDecoder().decode(DomainProfile.self, from: Data(json.utf8))
    }

    @Test("keys that are left out take their defaults")
    func defaults() throws {
        #expect(try self.decoded("{}") == DomainProfile(domain: ""))
        #expect(throws: DecodingError.self) { try self.decoded(#"{"domain":""}"#) }
        #expect(try self.decoded(#"{"domain":"d"}"#) == DomainProfile(domain: "d"))
        let profile = try self.decoded(
            #"{"domain":"d","bucketMs":500,"lagBuckets":3,"fill":"sum","markets":{"qps":{"kind":"load"}}}"#)
        #expect(
            profile
                == DomainProfile(
                    domain: "d", bucketMs: 500, lagBuckets: 3, fill: .sum, markets: ["qps": MarketFacts(kind: .load)]))
    }

    @Test(
        "a declared period gets a baseline that holds it twice, unless one is declared or none could",
        arguments: [
            (#"{"bucketMs":60000,"periodMs":86400000}"#, 2_880), (#"{"bucketMs":7000,"periodMs":7000000}"#, 2_000),
            (#"{"bucketMs":60000,"periodMs":3600000}"#, 720), (#"{"bucketMs":60000}"#, 720),
            (#"{"bucketMs":9000,"periodMs":86400000}"#, 19_200), (#"{"bucketMs":8640,"periodMs":86400000}"#, 20_000),
            (#"{"bucketMs":8639,"periodMs":86400000}"#, 720), (#"{"bucketMs":0,"periodMs":86400000}"#, 720),
            (#"{"bucketMs":60000,"periodMs":9223372036854775807}"#, 720), (#"{"periodMs":86400000}"#, 720),
            (#"{"bucketMs":60000,"periodMs":86400000,"baselineBuckets":90}"#, 90),
        ])
    func baselineOfAPeriod(json: String, baseline: Int) throws {
        #expect(try self.decoded(json).baselineBuckets == baseline)
    }

    @Test("a profile reads back what it wrote")
    func roundTrip() throws {
        let profile = DomainProfile(
            domain: "d", bucketMs: 1, presentBuckets: 30, baselineBuckets: 0, lagBuckets: 64, transform: .logReturn,
            fill: .mean, allowedLatenessMs: 0, periodMs: 0, role: .call,
            markets: ["m": MarketFacts(kind: .impact, bad: .down, isPercentOfSuccesses: true)])
        #expect(try self.decoded(String(decoding: JSONEncoder().encode(profile), as: UTF8.self)) == profile)
        try profile.validate()
    }

    @Test(
        "words that do not exist are refused",
        arguments: [#"{"fill":"median"}"#, #"{"transform":""}"#, #"{"role":"x"}"#, #"{"markets":{"a":{}}}"#, "[]"])
    func unknownWords(json: String) {
        #expect(throws: DecodingError.self) { try self.decoded(json) }
    }

    @Test(
        "the first value out of range is named",
        arguments: [
            ("domain", #"{"domain":"a\u0007"}"#), ("bucketMs", #"{"domain":"d","bucketMs":0}"#),
            ("bucketMs", #"{"domain":"d","bucketMs":86400001}"#),
            ("presentBuckets", #"{"domain":"d","presentBuckets":29}"#),
            ("presentBuckets", #"{"domain":"d","presentBuckets":2001}"#),
            ("baselineBuckets", #"{"domain":"d","baselineBuckets":-1}"#),
            ("baselineBuckets", #"{"domain":"d","baselineBuckets":20001}"#),
            ("lagBuckets", #"{"domain":"d","lagBuckets":65}"#),
            ("allowedLatenessMs", #"{"domain":"d","allowedLatenessMs":-1}"#),
            ("periodMs", #"{"domain":"d","periodMs":604800001}"#),
            ("markets", #"{"domain":"d","markets":{"":{"kind":"load"}}}"#),
        ])
    func ranges(field: String, json: String) throws {
        let profile = try self.decoded(json)
        let error = #expect(throws: ValidationError.self) { try profile.validate() }
        #expect(error?.field == field)
    }

    @Test("at most 1,000 markets are declared")
    func marketCount() throws {
        var profile = DomainProfile(domain: "d")
        for index in 0..<1_000 { profile.markets["m\(index)"] = MarketFacts(kind: .local) }
        try profile.validate()
        profile.markets["one more"] = MarketFacts(kind: .local)
        #expect(throws: ValidationError(field: "markets", rule: "must be at most 1,000")) { try profile.validate() }
    }

    @Test("declared facts come before built-in ones, and those before local")
    func facts() {
        let profile = DomainProfile(domain: "d", markets: ["latency": MarketFacts(kind: .load)])
        #expect(profile.facts(ofMarket: "latency").kind == .load)
        #expect(
            profile.facts(ofMarket: "availability")
                == MarketFacts(kind: .impact, bad: .down, isPercentOfSuccesses: true))
        #expect(profile.facts(ofMarket: "anything") == MarketFacts(kind: .local))
        #expect(DomainProfile.undeclared(domain: "sli").role == .indicator)
        #expect(DomainProfile.undeclared(domain: "shop").role == .component)
    }
}

@Suite("Severity and problems")
struct SeverityAndProblemTests {
    @Test(
        "severity is confidence and strength together, each bound exclusive",
        arguments: [
            (0.91, -0.71, Severity.critical, ConfidenceBand.high), (0.91, 0.7, .high, .high),
            (0.9, 0.9, .high, .medium),
            (0.61, 0.51, .high, .medium), (0.61, 0.5, .medium, .medium), (0.6, 0.9, .medium, .low),
            (0.31, 0.1, .medium, .low), (0.3, 1, .low, .low), (0, 0, .low, .low),
        ])
    func bands(confidence: Double, score: Double, severity: Severity, band: ConfidenceBand) {
        #expect(Severity(confidence: confidence, score: score) == severity)
        #expect(ConfidenceBand(confidence: confidence) == band)
    }

    @Test("every code of a problem has its one status and a title of its own")
    func statuses() {
        let expected: [Problem.Code: Int] = [
            .invalidRequest: 400, .malformedBody: 400, .unauthenticated: 401, .credentialExpired: 401, .forbidden: 403,
            .notFound: 404, .methodNotAllowed: 405, .requestTimeout: 408, .idempotencyInFlight: 409, .bodyTooLarge: 413,
            .unsupportedMediaType: 415, .idempotencyMismatch: 422, .rateLimited: 429, .headersTooLarge: 431,
            .internalError: 500, .upstreamFailed: 502, .unavailable: 503, .overloaded: 503, .memoryLimitExceeded: 503,
            .deadlineExceeded: 504,
        ]
        for code in Problem.Code.allCases { #expect(code.status == expected[code], "\(code.rawValue)") }
        #expect(Set(Problem.Code.allCases.map(\.title)).count == Problem.Code.allCases.count)
    }

    @Test("a problem carries type, title and status of its code, and leaves out what it has not")
    func members() throws {
        let problem = Problem(ValidationError(field: "event", rule: "must be short"))
        let data = try JSONEncoder().encode(problem)
        let members = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        #expect(Set(members.keys) == ["type", "title", "status", "detail", "code"])
        #expect(members["type"] as? String == "/problems/invalid-request")
        #expect(members["detail"] as? String == "event must be short")
        #expect(try JSONDecoder().decode(Problem.self, from: data) == problem)
    }

    @Test("every route has a method and path of its own, and reads carry no body")
    func routes() {
        #expect(Set(APIRoute.all.map { "\($0.method.rawValue) \($0.path)" }).count == APIRoute.all.count)
        for route in APIRoute.all {
            #expect((route.bodyLimit > 0) == [.post, .put].contains(route.method), "\(route.path)")
        }
    }
}
