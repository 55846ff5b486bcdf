import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Model
import NIOCore
import Postgres
import ServiceRuntime
import TestSupport
import Testing

@testable import GraphBuilder

/// The routes over a real PostgreSQL, without the other middlewares all services share (tested with ServiceRuntime).
struct Door: Sendable {
    let client: any TestClientProtocol
    let pool: PostgresPool
    let replica: Replica
    /// Routes whose answers are often at hand, by path.
    var ready: [String: ReadyRoute] = [:]

    struct Answer: Sendable {
        let status: Int
        let headers: HTTPFields
        let body: Data

        var json: [String: Any] { (try? JSONSerialization.jsonObject(with: self.body)) as? [String: Any] ?? [:] }
        var detail: String { self.json["detail"] as? String ?? "" }
        var items: [[String: Any]] { self.json["items"] as? [[String: Any]] ?? [] }
        func header(_ name: String) -> String? { HTTPField.Name(name).flatMap { self.headers[$0] } }
    }

    /// A database and one replica of its own, which holds all shards unless `holdsShards` is false.
    static func open(
        holdsShards: Bool = true, _ body: @escaping @Sendable (Door) async throws -> Void
    ) async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                let replica = Replica(pool, name: "one")
                if holdsShards { await replica.keeper.round() }
                let router = Router(context: CallContext.self)
                router.add(middleware: ProblemMiddleware())
                let graphs = GraphRoutes(
                    graphs: replica.graphs, cold: ColdGraphReader(pool: pool), keeper: replica.keeper,
                    engine: replica.engine, bound: QueryBound(limit: .seconds(20)))
                graphs.add(to: router)
                let events = EventRoutes(
                    pool: pool, bound: QueryBound(limit: .seconds(20)),
                    answers: AnswerCache(maximumAge: .seconds(3_600)))
                events.add(to: router)
                ChangeRoutes(pool: pool, bound: QueryBound(limit: .seconds(20))).add(to: router)
                DomainRoutes(pool: pool, engine: replica.engine, counts: ObservationCounts(pool: pool)).add(to: router)
                try await Application(router: router).test(.router) { client in
                    let ready = Dictionary(
                        uniqueKeysWithValues: (graphs.readyRoutes + events.readyRoutes).map { ($0.path, $0) })
                    try await body(Door(client: client, pool: pool, replica: replica, ready: ready))
                }
            }
        }
    }

    func call(
        _ method: HTTPRequest.Method, _ uri: String, _ body: String? = nil, headers: HTTPFields = [:]
    ) async throws -> Answer {
        var headers = headers
        if body != nil, headers[.contentType] == nil { headers[.contentType] = "application/json" }
        return try await self.client.execute(
            uri: uri, method: method, headers: headers, body: body.map { ByteBuffer(string: $0) }
        ) { response in
            Answer(
                status: Int(response.status.code), headers: response.headers,
                body: Data(response.body.readableBytesView))
        }
    }

    /// - Parameter route: the path of the route, when it has a parameter.
    func atHand(_ path: String, query: String, _ headers: HTTPFields = [:], route: String? = nil) -> ReadyAnswer? {
        self.ready[route ?? path]?.answer("\(path)?\(query)", Substring(query), headers)
    }

    func get(_ uri: String, headers: HTTPFields = [:]) async throws -> Answer {
        try await self.call(.get, uri, headers: headers)
    }
}

@Suite("Event and domain endpoints of graph-builder")
struct EndpointTests {
    private static func feed(_ door: Door, domain: String, events: [String], count: Int = 60) async throws {
        try await Feed.declare(
            DomainProfile(
                domain: domain, bucketMs: 60_000, presentBuckets: 30, baselineBuckets: 90, lagBuckets: 2,
                allowedLatenessMs: 120_000), in: door.pool)
        try await Feed.store(
            Feed.observations(domain: domain, events: events, markets: ["m", "n"], count: count), in: door.pool)
    }

    @Test("events are listed by name, page by page, with their domains and the end of their graph")
    func events() async throws {
        try await Door.open { door in
            // Sorted by bytes: capitals first, whatever the locale.
            try await Self.feed(door, domain: "d", events: ["alpha", "Zulu", "beta"])
            try await door.replica.work()
            try await Self.feed(door, domain: "late", events: ["alpha", "fresh"], count: 1)
            let first = try await door.get("/v1/events?limit=3")
            #expect(first.status == 200)
            #expect(first.items.map { $0["id"] as? String } == ["Zulu", "alpha", "beta"])
            #expect(first.items[1]["domains"] as? [String] == ["d", "late"])
            #expect(first.items.map { $0["nodes"] as? Int } == [2, 4, 2])
            #expect(first.items[0]["windowEnd"] as? String == "1970-01-01T00:57:00.000Z")
            #expect((first.items[0]["graphId"] as? String)?.count == 64)
            let cursor = try #require(first.json["nextCursor"] as? String)
            let second = try await door.get("/v1/events?limit=3&cursor=\(cursor)")
            #expect(second.items.map { $0["id"] as? String } == ["fresh"])
            #expect(second.items[0]["windowEnd"] == nil && second.items[0]["graphId"] == nil)
            #expect(second.json["nextCursor"] == nil)
            // A page that ends exactly with the list is the last.
            #expect(try await door.get("/v1/events?limit=4").json["nextCursor"] == nil)
            let late = try await door.get("/v1/events?domain=late")
            #expect(late.items.map { $0["id"] as? String } == ["alpha", "fresh"])
            // Found by one domain, shown with all of them.
            #expect(late.items.map { $0["nodes"] as? Int } == [4, 2])
            #expect(try await door.get("/v1/events?domain=nowhere").items.isEmpty)
        }
    }

    @Test("an event has its nodes in order, its newest evaluation by domain, and the state of its layers")
    func event() async throws {
        try await Door.open { door in
            try await Self.feed(door, domain: "d", events: ["alpha", "beta"])
            let before = try await door.get("/v1/events/alpha")
            #expect(before.status == 200)
            #expect(before.json["graphId"] == nil && before.json["windowEnd"] == nil)
            #expect((before.json["layers"] as? [Any])?.isEmpty == true)
            #expect((before.json["lastEvaluated"] as? [Any])?.isEmpty == true)
            try await door.replica.work()
            let after = try await door.get("/v1/events/alpha")
            let nodes = try #require(after.json["nodes"] as? [[String: Any]])
            #expect(nodes.map { $0["market"] as? String } == ["m", "n"])
            #expect(nodes.allSatisfy { $0["event"] as? String == "alpha" })
            let evaluated = try #require(after.json["lastEvaluated"] as? [[String: Any]])
            #expect(evaluated.count == 1)
            #expect(evaluated[0]["domain"] as? String == "d")
            // 60 minutes, the newest still open, two of lateness.
            #expect(evaluated[0]["windowEnd"] as? String == "1970-01-01T00:57:00.000Z")
            #expect(evaluated[0]["bucketMs"] as? Int == 60_000)
            let layers = try #require(after.json["layers"] as? [[String: Any]])
            #expect(layers.map { $0["layer"] as? String } == ["L1", "L2", "L3", "L4"])
            #expect(
                after.json["graphId"] as? String == door.replica.graphs.entry("alpha")?.graph.id)
            #expect(try await door.get("/v1/events/nobody").status == 404)
        }
    }

    @Test("what was said of events a moment ago is at hand for who asks the same, in the same bytes")
    func eventsAtHand() async throws {
        try await Door.open { door in
            try await Self.feed(door, domain: "d", events: ["alpha"])
            let one = "/v1/events/{id}"
            #expect(door.atHand("/v1/events/alpha", query: "", route: one) == nil)
            for (path, route) in [("/v1/events", "/v1/events"), ("/v1/events/alpha", one)] {
                let first = try await door.get("\(path)?")
                let again = try #require(door.atHand(path, query: "", route: route))
                #expect(again.body.map { Data($0.readableBytesView) } == first.body)
                #expect(again.headers[.age] == "0" && first.header("age") == nil)
                #expect(door.atHand(path, query: "", [.cacheControl: "no-cache"], route: route) == nil)
            }
            _ = try await door.get("/v1/events/nobody?")
            #expect(door.atHand("/v1/events/nobody", query: "", route: one) == nil)
        }
    }

    @Test("an event's name is read from the path as it was written, percent signs and all")
    func oddNames() async throws {
        try await Door.open { door in
            let name = "a/b %41?ü"
            try await Self.feed(door, domain: "d", events: [name], count: 1)
            let path = try #require(name.addingPercentEncoding(withAllowedCharacters: .init(charactersIn: "ab")))
            let found = try await door.get("/v1/events/\(path)")
            #expect(found.status == 200 && found.json["id"] as? String == name, "\(found.json)")
        }
    }

    @Test(
        "a wrong parameter is refused by name",
        arguments: [
            ("/v1/events?limit=0", "limit"), ("/v1/events?limit=1001", "limit"), ("/v1/events?limit=ten", "limit"),
            ("/v1/events?cursor=x", "cursor"), ("/v1/events?domain=a%00b", "domain"), ("/v1/events?event=a", "event"),
            ("/v1/events?limit=1&limit=2", "limit"), ("/v1/events/a%0Ab", "id"), ("/v1/events/%FF", "id"),
            ("/v1/domains?limit=1", "limit"), ("/v1/domains/a%07", "id"),
            ("/v1/correlation-graph", "eventId"), ("/v1/correlation-graph?eventId=", "eventId"),
            ("/v1/correlation-graph?eventId=a%00", "eventId"), ("/v1/correlation-graph?eventId=a&layer=L5", "layer"),
            ("/v1/correlation-graph?eventId=a&minConfidence=1.1", "minConfidence"),
            ("/v1/correlation-graph?eventId=a&minConfidence=nan", "minConfidence"),
            ("/v1/correlation-graph?eventId=a&limit=0", "limit"),
            ("/v1/correlation-graph?eventId=a&limit=201", "limit"),
            ("/v1/correlation-graph?eventId=a&include=all", "include"),
            ("/api/correlation-graph?eventId=a&Layer=L1", "Layer"),
        ])
    func badParameters(uri: String, field: String) async throws {
        try await Door.open { door in
            let answer = try await door.get(uri)
            #expect(answer.status == 400 && answer.json["code"] as? String == "invalid-request", "\(answer.json)")
            #expect(answer.detail.contains(field), "\(answer.detail)")
        }
    }

    @Test("without data and declarations there are no domains, and one that is not known is 404")
    func noDomains() async throws {
        try await Door.open { door in
            let all = try await door.get("/v1/domains")
            #expect(all.status == 200 && all.items.isEmpty && all.json["items"] != nil)
            #expect(try await door.get("/v1/domains/d").status == 404)
        }
    }

    @Test("a declared profile is stored, shown with the domain's standing, and wins over the data from then on")
    func declaring() async throws {
        try await Door.open { door in
            let put = try await door.call(.put, "/v1/domains/d", #"{"bucketMs":60000,"presentBuckets":30}"#)
            #expect(put.status == 200)
            #expect(put.json["domain"] as? String == "d" && put.json["presentBuckets"] as? Int == 30)
            // What was left out has its default.
            #expect(put.json["baselineBuckets"] as? Int == 720 && put.json["transform"] as? String == "level")
            try await Feed.store(Feed.observations(domain: "d", events: ["alpha", "beta"], count: 60), in: door.pool)
            try await door.replica.work()
            let one = try await door.get("/v1/domains/d")
            #expect(one.status == 200)
            #expect(one.json["nodes"] as? Int == 2 && one.json["events"] as? Int == 2)
            #expect(one.json["observations"] as? Int == 120 && one.json["bucketMs"] as? Int == 60_000)
            #expect(one.json["newestObservation"] as? String == "1970-01-01T00:59:00.000Z")
            // Closed up to the newest observation less one bucket of lateness.
            #expect(one.json["lastEvaluated"] as? String == "1970-01-01T00:58:00.000Z")
            #expect(one.json["pendingBuckets"] as? Int == 0)
            // A day is the period by default, and 720 buckets hold half of one.
            #expect(one.json["removesPeriod"] as? Bool == false)
            let profile = try #require(one.json["profile"] as? [String: Any])
            #expect(profile["presentBuckets"] as? Int == 30)
            // Another declaration takes the place of the first.
            let other = try await door.call(
                .put, "/v1/domains/d", #"{"domain":"d","bucketMs":120000,"periodMs":86400000}"#)
            #expect(other.status == 200 && other.json["baselineBuckets"] as? Int == 1_440)
            try await door.replica.work()
            let again = try await door.get("/v1/domains/d")
            #expect(again.json["bucketMs"] as? Int == 120_000 && again.json["removesPeriod"] as? Bool == true)
            #expect((again.json["profile"] as? [String: Any])?["presentBuckets"] as? Int == 120)
            #expect(try await door.get("/v1/domains").items.count == 1)
        }
    }

    @Test(
        "a profile that cannot be is refused by field and nothing is stored",
        arguments: [
            (#"{"bucketMs":0}"#, 400, "bucketMs"), (#"{"presentBuckets":29}"#, 400, "presentBuckets"),
            (#"{"baselineBuckets":20001}"#, 400, "baselineBuckets"), (#"{"lagBuckets":65}"#, 400, "lagBuckets"),
            (#"{"periodMs":-1}"#, 400, "periodMs"), (#"{"allowedLatenessMs":-1}"#, 400, "allowedLatenessMs"),
            (#"{"markets":{"":{"kind":"load"}}}"#, 400, "markets"), (#"{"fill":"middle"}"#, 400, "fill"),
            (#"{"bucketMs":"60000"}"#, 400, "bucketMs"), (#"{"domain":"other"}"#, 400, "domain"),
            ("", 400, ""), ("{", 400, ""), ("[]", 400, ""), (String(repeating: "[", count: 10_000), 400, "nested"),
        ])
    func badProfiles(body: String, status: Int, field: String) async throws {
        try await Door.open { door in
            let answer = try await door.call(.put, "/v1/domains/d", body)
            #expect(answer.status == status, "\(answer.json)")
            #expect(field.isEmpty || answer.detail.contains(field), "\(answer.detail)")
            #expect(try await door.pool.query("SELECT 1 FROM domain_profiles").isEmpty)
        }
    }

    @Test("a profile of another media type is 415, one over the limit 413")
    func oddBodies() async throws {
        try await Door.open { door in
            let text = try await door.call(.put, "/v1/domains/d", "{}", headers: [.contentType: "text/plain"])
            #expect(text.status == 415)
            let padding = String(repeating: " ", count: DomainRoutes.bodyLimit)
            #expect(try await door.call(.put, "/v1/domains/d", "{\(padding)}").status == 413)
            #expect(try await door.call(.put, "/v1/domains/d", "{\(padding.dropLast(2))}").status == 200)
        }
    }
}
