import Engine
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Model
import NIOCore
import Postgres
import ServiceRuntime
import Testing

@testable import AnomalyPropagation

/// The routes over a real PostgreSQL, without the other middlewares all services share (tested with ServiceRuntime).
struct Door: Sendable {
    let client: any TestClientProtocol

    static func open(
        memory: MemoryMonitor? = nil, _ body: @escaping @Sendable (Fixture, Door) async throws -> Void
    ) async throws {
        try await Fixture.with { fixture in
            let router = Router(context: CallContext.self)
            router.add(middleware: ProblemMiddleware())
            AnomalyPropagation.routes(
                pool: fixture.pool,
                bounds: AnomalyPropagation.QueryBounds(
                    interactive: QueryBound(limit: .seconds(20)), batch: QueryBound(limit: .seconds(20)),
                    rootCauses: QueryBound(limit: .seconds(60))), rootCauseConcurrency: 2, edgeAge: .zero,
                answers: AnswerCache(maximumAge: .zero), memory: memory
            ).add(router)
            try await Application(router: router).test(.router) { client in
                try await body(fixture, Door(client: client))
            }
        }
    }

    func call(
        _ method: HTTPRequest.Method, _ uri: String, _ body: String? = nil
    ) async throws -> (status: Int, json: [String: Any]) {
        try await self.client.execute(
            uri: uri, method: method, headers: body == nil ? [:] : [.contentType: "application/json"],
            body: body.map { ByteBuffer(string: $0) }
        ) { response in
            let object = try? JSONSerialization.jsonObject(with: Data(response.body.readableBytesView))
            return (Int(response.status.code), object as? [String: Any] ?? [:])
        }
    }

    func get(_ uri: String) async throws -> (status: Int, json: [String: Any]) { try await self.call(.get, uri) }
    func post(_ uri: String, _ body: String) async throws -> (status: Int, json: [String: Any]) {
        try await self.call(.post, uri, body)
    }
}

@Suite("Endpoints of anomaly-propagation")
struct EndpointTests {
    @Test("anomalies are listed with their state, page by page, and found by id")
    func anomalies() async throws {
        try await Door.open { fixture, door in
            try await fixture.add([Fixture.node("front")])
            let ids = ["0", "1", "2"].map { String(repeating: $0, count: 32) }
            let all = ids.enumerated().map { index, id in
                StorageTests.anomaly(
                    id, minute: 5 + Int64(index), closedAt: index == 0 ? Fixture.minute(20) : nil)
            }
            _ = try await fixture.pool.withConnection { try await $0.pipeline([AnomalyStore.merge(all)]) }
            let first = try await door.get("/v1/anomalies?limit=2")
            #expect(first.status == 200)
            let items = try #require(first.json["items"] as? [[String: Any]])
            #expect(items.map { $0["id"] as? String } == [ids[2], ids[1]])
            #expect(items[0]["state"] as? String == "open")
            #expect(items[0]["openedAt"] as? String == "2025-01-01T00:07:00.000Z")
            let cursor = try #require(first.json["nextCursor"] as? String)
            let second = try await door.get("/v1/anomalies?limit=2&cursor=\(cursor)")
            let rest = try #require(second.json["items"] as? [[String: Any]])
            #expect(rest.map { $0["id"] as? String } == [ids[0]])
            #expect(rest[0]["state"] as? String == "closed")
            #expect(second.json["nextCursor"] == nil)
            let one = try await door.get("/v1/anomalies/\(ids[1])")
            #expect(one.json["id"] as? String == ids[1])
            let none = try await door.get("/v1/anomalies/\(String(repeating: "f", count: 32))")
            #expect(none.status == 404)
        }
    }

    @Test(
        "a wrong filter is refused by name",
        arguments: [
            ("/v1/anomalies?limit=0", "limit"), ("/v1/anomalies?limit=501", "limit"),
            ("/v1/anomalies?layer=L9", "layer"),
            ("/v1/anomalies?kind=odd", "kind"), ("/v1/anomalies?band=LOUD", "band"),
            ("/v1/anomalies?since=noon", "since"),
            ("/v1/anomalies?cursor=%00", "cursor"), ("/v1/anomalies?evnt=a", "evnt"),
            ("/v1/anomalies?event=a%00b", "event"), ("/v1/forecasts?scored=maybe", "scored"),
            ("/v1/forecasts?limit=x", "limit"), ("/v1/topology?nam=x", "nam"),
        ])
    func badFilters(uri: String, field: String) async throws {
        try await Door.open { _, door in
            let answer = try await door.get(uri)
            #expect(answer.status == 400)
            #expect((answer.json["detail"] as? String)?.contains(field) == true)
        }
    }

    @Test("a path is given hop by hop, with one standard deviation of the source as the shock")
    func path() async throws {
        try await Door.open { fixture, door in
            let (a, b, c) = (Fixture.node("a"), Fixture.node("b"), Fixture.node("c"))
            try await fixture.add(edges: [
                Fixture.edge(a, b, score: 0.9, lagBuckets: 1, beta: 2),
                Fixture.edge(b, c, score: -0.8, lagBuckets: 2, beta: -3),
            ])
            try await fixture.add(
                (0..<120).map { Observation(node: a, time: Fixture.minute($0), value: $0 % 2 == 0 ? 1 : 3) })
            let answer = try await door.post(
                "/v1/propagation", #"{"source":\#(Self.json(a)),"target":\#(Self.json(c))}"#)
            #expect(answer.status == 200)
            let shock = try #require(answer.json["shock"] as? [String: Any])
            #expect(shock["basis"] as? String == "standardDeviation")
            #expect(abs((shock["value"] as? Double ?? 0) - 1) < 0.02)
            let path = try #require(answer.json["path"] as? [String: Any])
            #expect(path["beta"] as? Double == -6)
            #expect(path["latencyMs"] as? Double == 180_000)
            let hops = try #require(path["hops"] as? [[String: Any]])
            #expect(hops.map { $0["cumulativeLatencyMs"] as? Double } == [60_000, 180_000])
            #expect(hops.map { $0["lagBuckets"] as? Int } == [1, 2])
            #expect(hops.map { $0["r"] as? Double } == [0.9, -0.8])

            let reached = try await door.post(
                "/v1/propagation", #"{"source":\#(Self.json(a)),"shock":2,"minImpact":0.5}"#)
            let paths = try #require(reached.json["reached"] as? [[String: Any]])
            #expect(paths.count == 2)
            #expect(paths.map { $0["impact"] as? Double } == [4, -12])
        }
    }

    @Test("no path is an answer with a reason; an unknown node is 404; bad questions are 400")
    func noPath() async throws {
        try await Door.open { fixture, door in
            let (a, b) = (Fixture.node("a"), Fixture.node("b"))
            try await fixture.add(edges: [Fixture.edge(a, b)])
            try await fixture.add([Fixture.node("alone")])
            let back = try await door.post("/v1/propagation", #"{"source":\#(Self.json(b)),"target":\#(Self.json(a))}"#)
            #expect(back.status == 200)
            #expect(back.json["path"] == nil)
            #expect((back.json["reason"] as? String)?.contains("leads away") == true)
            let alone = try await door.post("/v1/propagation", #"{"source":\#(Self.json(Fixture.node("alone")))}"#)
            #expect((alone.json["reached"] as? [Any])?.isEmpty == true)
            #expect((alone.json["reason"] as? String)?.contains("no accepted edge") == true)
            let unknown = try await door.post("/v1/propagation", #"{"source":\#(Self.json(Fixture.node("nobody")))}"#)
            #expect(unknown.status == 404)
            for (extra, field) in [
                (#","depth":0"#, "depth"), (#","depth":9"#, "depth"), (#","shock":0"#, "shock"),
                (#","minImpact":2"#, "minImpact"), (#","target":\#(Self.json(a))"#, "target"),
                (#","limit":0"#, "limit"),
            ] {
                let bad = try await door.post("/v1/propagation", #"{"source":\#(Self.json(a))\#(extra)}"#)
                #expect(bad.status == 400)
                #expect((bad.json["detail"] as? String)?.contains(field) == true)
            }
            #expect(try await door.post("/v1/propagation", "{").status == 400)
            #expect(try await door.post("/v1/propagation", "{}").status == 400)
            #expect(
                try await door.post(
                    "/v1/propagation", #"{"source":{"domain":"","event":"a","market":"m","venue":"v"}}"#
                )
                .status == 400)
            let deep = String(repeating: "[", count: 10_000)
            #expect(try await door.post("/v1/propagation", deep).status == 400)
        }
    }

    @Test("edges that are superseded are gone from the next answer")
    func refresh() async throws {
        try await Door.open { fixture, door in
            let (a, b) = (Fixture.node("a"), Fixture.node("b"))
            try await fixture.add(edges: [Fixture.edge(a, b)])
            let question = #"{"source":\#(Self.json(a)),"shock":1}"#
            #expect((try await door.post("/v1/propagation", question).json["reached"] as? [Any])?.count == 1)
            try await fixture.pool.query("UPDATE multi_layer_correlations SET superseded_at = now()")
            try await fixture.pool.query("UPDATE shard_leases SET revision = revision + 1")
            #expect((try await door.post("/v1/propagation", question).json["reached"] as? [Any])?.isEmpty == true)
        }
    }

    @Test("the callee that is slow is ranked first, from raw observations, with calls declared by name")
    func rootCause() async throws {
        try await Door.open { fixture, door in
            try await fixture.add(Self.shop())
            let put = try await door.call(
                .put, "/v1/topology",
                #"{"name":"shop","edges":[{"caller":"front","callee":"cart"},{"caller":"cart","callee":"redis"},{"caller":"front","callee":"cart"}]}"#
            )
            #expect(put.json["edges"] as? Int == 2)
            #expect(put.json["duplicates"] as? Int == 1)
            let window = #""from":"2025-01-01T02:00:30Z","to":"2025-01-01T02:05:30Z""#
            let answer = try await door.post(
                "/v1/root-causes", #"{\#(window),"domains":["service"],"topology":"shop","bucketMs":60000}"#)
            #expect(answer.status == 200)
            let ranking = try #require(answer.json["ranking"] as? [[String: Any]])
            #expect(ranking.first?["event"] as? String == "redis")
            #expect((answer.json["top3"] as? [String])?.count == 3)
            #expect(answer.json["callGraph"] as? String == "declared")
            #expect((answer.json["gate"] as? [String: Any])?["standsOut"] as? Bool == true)
            #expect((ranking.first?["reason"] as? String)?.contains("latency") == true)
            #expect(answer.json["nodes"] as? Int == 3)
            // Without a topology the answer says what it cannot know.
            let blind = try await door.post("/v1/root-causes", #"{\#(window)}"#)
            #expect(blind.json["callGraph"] as? String == "none")
            #expect((blind.json["notes"] as? [String])?.contains { $0.contains("No call graph") } == true)
            let target = try await door.post(
                "/v1/root-causes",
                #"{\#(window),"baselineFrom":"2025-01-01T00:00:00Z","baselineTo":"2025-01-01T01:30:00Z","target":{"event":"front","market":"latency","venue":"p99"}}"#
            )
            #expect(target.status == 200)
            #expect(((target.json["baseline"] as? [String: Any])?["buckets"] as? Int ?? 0) == 90)
        }
    }

    @Test(
        "a root-cause question beyond its limits is refused by name",
        arguments: [
            (#"{"from":"2025-01-01T02:00:00Z"}"#, 400, "to"),
            (#"{"from":"2025-01-01T02:00:00Z","to":"2025-01-01T02:00:00Z"}"#, 400, "to"),
            (#"{"from":"2025-01-01T02:00:00Z","to":"2025-01-03T02:00:00Z"}"#, 400, "24 hours"),
            (#"{"from":0,"to":1000,"baselineMinutes":0}"#, 400, "baselineMinutes"),
            (#"{"from":0,"to":1000,"baselineFrom":0}"#, 400, "baselineFrom"),
            (#"{"from":0,"to":1000,"baselineMinutes":5,"baselineFrom":0,"baselineTo":5}"#, 400, "baselineMinutes"),
            (#"{"from":0,"to":1000,"domains":[]}"#, 400, "domains"),
            (#"{"from":0,"to":1000,"bucketMs":1}"#, 400, "bucketMs"),
            (#"{"from":0,"to":1000,"domains":["nowhere"]}"#, 404, "domains"),
            (#"{"from":0,"to":1000,"topology":"nothing"}"#, 404, "topology"),
            (#"{"from":"noon","to":1000}"#, 400, "from"),
            (#"{"from":0,"to":86400000,"baselineMinutes":44640,"bucketMs":1000}"#, 400, "values"),
        ])
    func badRootCauses(body: String, status: Int, word: String) async throws {
        try await Door.open { fixture, door in
            try await fixture.add(["a", "b", "c"].map { Fixture.node($0) })
            let answer = try await door.post("/v1/root-causes", body)
            #expect(answer.status == status)
            #expect((answer.json["detail"] as? String)?.contains(word) == true, "\(answer.json)")
        }
    }

    @Test("a topology with a call to itself, a bad name or too many calls is refused")
    func badTopologies() async throws {
        try await Door.open { _, door in
            let long = String(repeating: "x", count: 129)
            for (body, word) in [
                (#"{"name":"a","edges":[{"caller":"x","callee":"x"}]}"#, "itself"),
                (#"{"name":"","edges":[]}"#, "name"), (#"{"name":"a"}"#, "edges"),
                (#"{"name":"a","edges":[{"caller":"\#(long)","callee":"y"}]}"#, "caller"),
            ] {
                let answer = try await door.call(.put, "/v1/topology", body)
                #expect(answer.status == 400)
                #expect((answer.json["detail"] as? String)?.contains(word) == true)
            }
            let many = (0...TopologyStore.callLimit).map { #"{"caller":"a","callee":"\#($0)"}"# }.joined(separator: ",")
            let tooMany = try await door.call(.put, "/v1/topology", #"{"name":"a","edges":[\#(many)]}"#)
            #expect(tooMany.status == 400)
            #expect((tooMany.json["detail"] as? String)?.contains("100000") == true)
            #expect(try await door.get("/v1/topology?name=a").status == 404)
        }
    }

    @Test("forecasts come with the coverage and hit rate of all that match")
    func forecasts() async throws {
        try await Door.open { fixture, door in
            let (source, target) = (Fixture.node("front"), Fixture.node("back"))
            try await fixture.add([source, target])
            let all = (0..<5).map { index in
                Forecast(
                    event: "front", source: source, target: target, movedAt: Fixture.minute(Int64(index) * 10),
                    horizonAt: Fixture.minute(Int64(index) * 10 + 2), latencyMs: 60_000, move: 1, sourceSd: 1, beta: 2,
                    halfWidth: 1, confidence: 0.9)
            }
            let outcomes = [2.5, 9, 1.5, -2]
            let scored = zip(all, outcomes).map {
                ScoredForecast(forecast: $0, score: ForecastScore($0, outcome: $1, baseRate: 0.25))
            }
            _ = try await fixture.pool.withConnection {
                try await $0.pipeline([ForecastStore.insert(all), ForecastStore.score(scored)])
            }
            // Two shards have moved on, one position is saved and one was never.
            try await fixture.pool.query("UPDATE shard_leases SET revision = 7 WHERE shard IN (3, 5)")
            _ = try await fixture.pool.withConnection {
                try await $0.pipeline([ReaderPositionStore.save([.init(shard: Shard.all[3], revision: 4, state: [])])])
            }
            let answer = try await door.get("/v1/forecasts?event=front&limit=2")
            #expect((answer.json["items"] as? [Any])?.count == 2)
            #expect(answer.json["nextCursor"] is String)
            let summary = try #require(answer.json["summary"] as? [String: Any])
            #expect(summary["forecasts"] as? Int == 5)
            #expect(summary["scored"] as? Int == 4)
            #expect(summary["unreadRevisions"] as? Int == 7 - 4 + 7)
            let coverage = try #require(summary["coverage"] as? [String: Any])
            #expect(coverage["value"] as? Double == 0.5)
            #expect(coverage["n"] as? Int == 4)
            #expect((coverage["low"] as? Double ?? 1) < 0.2)
            #expect((summary["signHitRate"] as? [String: Any])?["value"] as? Double == 0.75)
            #expect(summary["baseRate"] as? Double == 0.25)
            let open = try await door.get("/v1/forecasts?scored=false")
            let items = try #require(open.json["items"] as? [[String: Any]])
            #expect(items.count == 1)
            #expect(items[0]["scored"] as? Bool == false)
            #expect(items[0]["outcome"] == nil)
            #expect((items[0]["interval"] as? [String: Any])?["low"] as? Double == 1)
        }
    }

    private static func json(_ node: NodeKey) -> String {
        #"{"domain":"\#(node.domain)","event":"\#(node.event)","market":"\#(node.market)","venue":"\#(node.venue)"}"#
    }

    /// front -> cart -> redis, all slow from 02:00 on.
    private static func shop() -> [Observation] {
        ["front", "cart", "redis"].flatMap { event in
            (0..<126).map { minute in
                Observation(
                    node: Fixture.node(event), time: Fixture.minute(minute),
                    value: (minute > 120 ? 40 : 10) + Double(minute % 3))
            }
        }
    }
}
