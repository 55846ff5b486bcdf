import Engine
import Foundation
import HTTPTypes
import Model
import NIOCore
import Postgres
import ServiceRuntime
import TestSupport
import Testing

@testable import GraphBuilder

/// `GET /v1/correlation-graph` over a graph that is written by hand, out of memory and out of PostgreSQL.
@Suite("Graph endpoint of graph-builder")
struct GraphEndpointTests {
    static let event = "alpha"
    static var shard: Shard { Shard(event: self.event) }
    static let end = Timestamp(milliseconds: 7_200_000)

    static func node(_ venue: String, market: String = "m", event: String = GraphEndpointTests.event) -> NodeKey {
        NodeKey(domain: "d", event: event, market: market, venue: venue)
    }

    static func edge(_ source: NodeKey, _ target: NodeKey, score: Double, confidence: Double) -> Edge {
        Edge(
            source: source, target: target, layer: Layer(of: source, and: target), relation: .leadLag,
            estimator: .pearson, score: score, lagBuckets: 1, latencyMs: 61_250.5, lagSource: .baseline, overlap: 119,
            effectiveSize: 87.5, intervalLow: score - 0.05, intervalHigh: score + 0.04, pValue: 1e-9, qValue: 1e-8,
            confidence: confidence, expectedPropagation: -2.5, bucketMs: 60_000,
            windowStart: Timestamp(milliseconds: 0), windowEnd: Self.end,
            detectedAt: Timestamp(milliseconds: 3_600_000),
            explainedBy: confidence < 0.5 ? Self.node("c") : nil)
    }

    /// Two edges on L1, one on L2, one on L3; L4 is degraded.
    static var graph: CorrelationGraph {
        let (a, b, c) = (Self.node("a"), Self.node("b"), Self.node("c"))
        let report = { (layer: Layer, count: Int) in
            LayerReport(layer: layer, state: .ok, pairs: 9, accepted: count, rejected: 9 - count)
        }
        return CorrelationGraph(
            id: String(repeating: "ab", count: 32), event: Self.event, windowEnd: Self.end,
            layers: [
                report(.direct, 2), report(.crossMarket, 1), report(.crossEvent, 1),
                LayerReport(layer: .crossDomain, state: .degraded, reason: "waits for e"),
            ],
            edges: [
                Self.edge(a, b, score: 0.9, confidence: 0.95), Self.edge(b, c, score: -0.7, confidence: 0.4),
                Self.edge(a, Self.node("a", market: "n"), score: 0.8, confidence: 0.7),
                Self.edge(Self.node("a", event: "beta"), a, score: 0.85, confidence: 0.6),
            ])
    }

    /// Stores the graph as its owner does and, unless `publishes` is false, takes it into memory.
    @discardableResult
    private static func place(_ door: Door, publishes: Bool = true) async throws -> [Shard: Int64] {
        let nodes = Set(Self.graph.edges.flatMap { [$0.source, $0.target] }).sorted()
        try await Feed.store(
            nodes.map { Observation(node: $0, time: Timestamp(milliseconds: 0), value: 1) }, in: door.pool)
        var batch = EvaluationBatch()
        batch.graphs = [Self.event: Self.graph]
        let epochs = door.replica.keeper.trusted
        let revisions = try await EvaluationWriter(pool: door.pool, replica: "one").write(batch, epochs: epochs)
        if publishes { door.replica.graphs.publish([Self.graph], revisions: revisions) }
        return revisions
    }

    private static func scores(_ answer: Door.Answer) -> [Double] {
        (answer.json["edges"] as? [[String: Any]] ?? []).compactMap { $0["score"] as? Double }
    }

    private static let path = "/v1/correlation-graph?eventId=\(Self.event)"

    @Test("out of memory and out of PostgreSQL the graph is the same bytes, under both names of the route")
    func warmAndCold() async throws {
        try await Door.open { door in
            try await Self.place(door, publishes: false)
            let cold = try await door.get(Self.path)
            #expect(cold.status == 200 && cold.header("X-Undercurrent-Source") == "cold", "\(cold.json)")
            door.replica.graphs.publish([Self.graph], revisions: [Self.shard: 1])
            let warm = try await door.get(Self.path)
            #expect(warm.status == 200 && warm.header("X-Undercurrent-Source") == "warm")
            #expect(warm.body == cold.body && warm.header("etag") == cold.header("etag"))
            let older = try await door.get("/api/correlation-graph?eventId=\(Self.event)")
            #expect(older.body == warm.body && older.header("etag") == warm.header("etag"))
            for answer in [cold, warm] {
                #expect(answer.header("X-Undercurrent-Revision") == "1")
                #expect(answer.header("age").flatMap(Int.init).map { (0..<60).contains($0) } == true)
                #expect(answer.header("content-type") == "application/json")
                #expect(answer.header("cache-control") == "no-cache")
                #expect(answer.header("content-length") == String(answer.body.count))
            }
            // A second time, out of the kept body.
            #expect(try await door.get(Self.path).body == warm.body)
        }
    }

    @Test("out of PostgreSQL only the edges that stand now are served, not their history")
    func history() async throws {
        try await Door.open { door in
            try await Self.place(door, publishes: false)
            var next = Self.graph
            next.windowEnd = Self.end.advanced(byMilliseconds: 60_000)
            next.edges.removeFirst()
            var batch = EvaluationBatch()
            batch.graphs = [Self.event: next]
            _ = try await EvaluationWriter(pool: door.pool, replica: "one").write(
                batch, epochs: door.replica.keeper.trusted)
            #expect(Self.scores(try await door.get(Self.path)) == [-0.7, 0.8, 0.85])
        }
    }

    @Test("a graph has its identity, the state of every layer, its edges whole and every node once")
    func document() async throws {
        try await Door.open { door in
            try await Self.place(door)
            let answer = try await door.get(Self.path)
            #expect(answer.json["id"] as? String == Self.graph.id)
            #expect(answer.json["event"] as? String == Self.event)
            #expect(answer.json["windowEnd"] as? String == "1970-01-01T02:00:00.000Z")
            // One degraded layer, and the whole is not complete.
            #expect(answer.json["complete"] as? Bool == false)
            let layers = try #require(answer.json["layers"] as? [[String: Any]])
            #expect(layers.map { $0["state"] as? String } == ["ok", "ok", "ok", "degraded"])
            #expect(layers[3]["reason"] as? String == "waits for e")
            #expect(layers.map { $0["accepted"] as? Int } == [2, 1, 1, 0])
            let edges = try #require(answer.json["edges"] as? [[String: Any]])
            #expect(Self.scores(answer) == [0.9, -0.7, 0.8, 0.85])
            #expect(edges[0]["latencyMs"] as? Double == 61_250.5 && edges[0]["lagBuckets"] as? Int == 1)
            #expect(edges[0]["confidenceBand"] as? String == "HIGH" && edges[0]["severity"] as? String == "CRITICAL")
            #expect(edges[1]["confidenceBand"] as? String == "LOW" && edges[1]["severity"] as? String == "MEDIUM")
            #expect((edges[1]["explainedBy"] as? [String: Any])?["venue"] as? String == "c")
            #expect(edges[0]["explainedBy"] == nil)
            #expect((answer.json["nodes"] as? [Any])?.count == 5)
            #expect(answer.json["rejected"] == nil)
            // Read by the type clients use, it is what was put in.
            struct Graph: Decodable { var edges: [Edge] }
            #expect(try JSONDecoder().decode(Graph.self, from: answer.body).edges == Self.graph.edges)
        }
    }

    @Test(
        "filters choose edges by layer, least confidence and number, alone and together",
        arguments: [
            ("&layer=L1", [0.9, -0.7], ["L1"]), ("&layer=l3", [0.85], ["L3"]), ("&layer=L4", [], ["L4"]),
            ("&minConfidence=0.6", [0.9, 0.8, 0.85], ["L1", "L2", "L3", "L4"]),
            ("&minConfidence=0.95", [0.9], ["L1", "L2", "L3", "L4"]),
            ("&minConfidence=1", [], ["L1", "L2", "L3", "L4"]),
            ("&limit=2", [0.9, -0.7], ["L1", "L2", "L3", "L4"]),
            ("&minConfidence=0.6&limit=2", [0.9, 0.8], ["L1", "L2", "L3", "L4"]),
            ("&layer=L1&minConfidence=0.5&limit=1", [0.9], ["L1"]),
        ])
    func filters(query: String, scores: [Double], layers: [String]) async throws {
        try await Door.open { door in
            try await Self.place(door)
            let answer = try await door.get(Self.path + query)
            #expect(answer.status == 200)
            #expect(Self.scores(answer) == scores)
            let found = answer.json["layers"] as? [[String: Any]] ?? []
            #expect(found.map { $0["layer"] as? String } == layers)
            // Nodes are those of the edges shown, and the id names the whole graph still.
            let venues = (answer.json["nodes"] as? [Any])?.count ?? -1
            #expect(scores.isEmpty ? venues == 0 : venues > scores.count / 2)
            #expect(answer.json["id"] as? String == Self.graph.id)
        }
    }

    @Test("an entity tag stands for graph and filter: the same gives 304 without a body, anything else the graph")
    func entityTags() async throws {
        try await Door.open { door in
            let revisions = try await Self.place(door)
            let plain = try await door.get(Self.path)
            let tag = try #require(plain.header("etag"))
            #expect(tag.hasPrefix("\"") && tag.hasSuffix("\""))
            // Spelled otherwise it is the same question.
            #expect(try await door.get(Self.path + "&limit=200&minConfidence=0").header("etag") == tag)
            var tags: Set<String> = [tag]
            for query in ["&layer=L1", "&layer=L2", "&limit=2", "&minConfidence=0.6"] {
                let other = try #require(try await door.get(Self.path + query).header("etag"))
                #expect(tags.insert(other).inserted)
                let mixed = try await door.get(Self.path + query, headers: [.ifNoneMatch: tag])
                #expect(mixed.status == 200 && !mixed.body.isEmpty)
            }
            for condition in [tag, "W/\(tag)", "*", "\"other\", \(tag)"] {
                let same = try await door.get(Self.path, headers: [.ifNoneMatch: condition])
                #expect(same.status == 304 && same.body.isEmpty, "\(condition)")
                #expect(same.header("etag") == tag && same.header("X-Undercurrent-Revision") != nil)
            }
            for condition in ["\"other\"", "\(tag.dropLast(2))\"", ""] {
                #expect(try await door.get(Self.path, headers: [.ifNoneMatch: condition]).status == 200)
            }
            // A new graph, a new tag.
            var next = Self.graph
            next.id = String(repeating: "cd", count: 32)
            door.replica.graphs.publish([next], revisions: revisions.mapValues { $0 + 1 })
            let changed = try await door.get(Self.path, headers: [.ifNoneMatch: tag])
            #expect(changed.status == 200 && changed.header("etag") != tag)
            #expect(changed.header("X-Undercurrent-Revision") == "2")
        }
    }

    @Test(
        "what is at hand is answered as the long way does it, and only that",
        arguments: [
            "eventId=alpha", "eventId=alpha&limit=1", "eventId=alpha&layer=L3&minConfidence=0.2",
            "eventId=alpha&include=rejected", "eventId=%61lpha",
        ], GraphRoutes.paths)
    func atHand(query: String, path: String) async throws {
        try await Door.open { door in
            try await Self.place(door)
            _ = try #require(door.ready[path])
            #expect(door.atHand(path, query: query) == nil)
            let long = try await door.get("\(path)?\(query)")
            let tag = try #require(long.header("etag"))
            for fields in [[:], [.ifNoneMatch: tag], [.ifNoneMatch: "\"other\""]] as [HTTPFields] {
                let long = try await door.get("\(path)?\(query)", headers: fields)
                let short = try #require(door.atHand(path, query: query, fields))
                #expect(short.status.code == long.status)
                #expect(short.body.map { Data($0.readableBytesView) } ?? Data() == long.body)
                var expected = long.headers
                expected[.date] = nil
                #expect(short.headers == expected)
            }
            for refused in ["", "eventId=", "eventId=alpha&limit=0", "eventId=beta", "eventId=alpha&eventId=alpha"] {
                #expect(door.atHand(path, query: refused) == nil)
            }
            // Neither what is behind the database for long, nor another's shard.
            door.replica.graphs.observe(databaseRevisions: [Self.shard: 1_000], now: .now - .seconds(3))
            #expect(door.atHand(path, query: query) == nil)
        }
    }

    @Test("memory that has been behind the database for long is not believed, nor that of a shard not held")
    func untrusted() async throws {
        try await Door.open { door in
            let revisions = try await Self.place(door)
            let newer = revisions.mapValues { $0 + 1 }
            door.replica.graphs.observe(databaseRevisions: newer, now: .now)
            #expect(try await door.get(Self.path).header("X-Undercurrent-Source") == "warm")
            door.replica.graphs.publish([Self.graph], revisions: revisions)
            door.replica.graphs.observe(databaseRevisions: newer, now: .now - .seconds(60))
            #expect(try await door.get(Self.path).header("X-Undercurrent-Source") == "cold")
            // Caught up.
            door.replica.graphs.publish([Self.graph], revisions: newer)
            #expect(try await door.get(Self.path).header("X-Undercurrent-Source") == "warm")
            let epochs = door.replica.keeper.trusted
            door.replica.keeper.drop([Self.shard], epochs: epochs)
            let lost = try await door.get(Self.path)
            #expect(lost.status == 200 && lost.header("X-Undercurrent-Source") == "cold")
        }
    }

    @Test("an event nobody knows and one that has no graph yet are 404")
    func unknown() async throws {
        try await Door.open { door in
            try await Feed.store(
                [Observation(node: Self.node("a"), time: Timestamp(milliseconds: 0), value: 1)], in: door.pool)
            for event in ["nobody", Self.event] {
                let answer = try await door.get("/v1/correlation-graph?eventId=\(event)")
                #expect(answer.status == 404 && answer.json["code"] as? String == "not-found")
            }
        }
    }

    @Test("rejected pairs come on demand, each with its reason, as many as the layers count")
    func rejected() async throws {
        try await Door.open { door in
            try await Feed.declare(EvaluationEngineTests.profile, in: door.pool)
            var observations = Feed.observations(domain: "d", events: [Self.event, "beta"], count: 60)
            // A node that does not change, and one that has nothing to do with the others.
            for step in 0..<60 {
                let time = Timestamp(milliseconds: Int64(step) * 60_000)
                observations.append(Observation(node: Self.node("flat"), time: time, value: 5))
                observations.append(
                    Observation(node: Self.node("own"), time: time, value: Feed.noise(UInt64(step) &* 977 &+ 5)))
            }
            try await Feed.store(observations, in: door.pool)
            try await door.replica.work()
            let plain = try await door.get(Self.path)
            #expect(plain.json["rejected"] == nil)
            let full = try await door.get(Self.path + "&include=rejected")
            #expect(full.status == 200 && full.header("etag") != plain.header("etag"))
            let pairs = try #require(full.json["rejected"] as? [[String: Any]])
            let layers = try #require(full.json["layers"] as? [[String: Any]])
            let counted = ["rejected", "short", "constant"].map { key in
                layers.reduce(0) { $0 + ($1[key] as? Int ?? 0) }
            }
            #expect(pairs.count == counted.reduce(0, +) && counted[0] > 0 && counted[2] > 0, "\(counted)")
            let reasons = Set(pairs.compactMap { $0["reason"] as? String })
            #expect(reasons.contains("constant") && reasons.contains("belowThreshold"), "\(reasons)")
            for pair in pairs where pair["reason"] as? String == "constant" { #expect(pair["score"] == nil) }
            let one = try await door.get(Self.path + "&include=rejected&layer=L1")
            let direct = try #require(one.json["rejected"] as? [[String: Any]])
            #expect(!direct.isEmpty && direct.count < pairs.count)
            #expect(direct.allSatisfy { $0["layer"] as? String == "L1" })
            let few = try await door.get(Self.path + "&include=rejected&limit=1")
            #expect((few.json["rejected"] as? [Any])?.count == 1)
        }
    }

    @Test("who has not made the evaluation says nothing of rejected pairs, rather than that there are none")
    func rejectedCold() async throws {
        try await Door.open { door in
            try await Self.place(door, publishes: false)
            let plain = try await door.get(Self.path)
            let cold = try await door.get(Self.path + "&include=rejected")
            #expect(cold.status == 200 && cold.header("X-Undercurrent-Source") == "cold")
            #expect(cold.json["rejected"] == nil)
            // So it is the plain answer, and its tag is not that of an answer with rejected pairs.
            #expect(cold.body == plain.body && cold.header("etag") == plain.header("etag"))
        }
    }
}

@Suite("Kept bodies")
struct GraphStoreTests {
    private static func key(_ number: Int) -> GraphStore.BodyKey {
        .init(graph: "\(number)", revision: 1, filter: GraphFilter())
    }

    @Test("the oldest bodies go when there is no room, a body too large for the store is not kept")
    func bounds() {
        let each = 220 + GraphStore.overhead
        let store = GraphStore(bodyLimit: 4 * each + 100)
        store.keep(.init(entityTag: "", bytes: ByteBuffer(repeating: 0, count: each + 26)), for: Self.key(0))
        #expect(store.body(Self.key(0)) == nil)
        let body = GraphStore.Body(entityTag: "", bytes: ByteBuffer(repeating: 0, count: 220))
        for number in 1...5 { store.keep(body, for: Self.key(number)) }
        #expect(store.body(Self.key(1)) == nil)
        #expect((2...5).allSatisfy { store.body(Self.key($0)) != nil })
        #expect(store.bodyByteCount == 4 * each)
        // What is there already counts once.
        store.keep(body, for: Self.key(5))
        #expect(store.bodyByteCount == 4 * each)
    }

    @Test("a tag is kept without its body, and the body joins it")
    func tags() {
        let store = GraphStore(bodyLimit: 1 << 20)
        store.keep(.init(entityTag: "t"), for: Self.key(1))
        #expect(store.body(Self.key(1))?.entityTag == "t" && store.body(Self.key(1))?.bytes == nil)
        store.keep(.init(entityTag: "t", bytes: ByteBuffer(string: "body")), for: Self.key(1))
        store.keep(.init(entityTag: "t"), for: Self.key(1))
        #expect(store.body(Self.key(1))?.bytes == ByteBuffer(string: "body"))
        #expect(store.bodyByteCount == 4 + GraphStore.overhead)
        for number in 2...10_000 { store.keep(.init(entityTag: "t"), for: Self.key(number)) }
        #expect(store.bodyByteCount <= 1 << 20 && store.body(Self.key(1)) == nil)
    }

    @Test("a graph is believed for two seconds after the database is known to be ahead, and never of a lost shard")
    func tolerance() {
        let store = GraphStore()
        let graph = GraphEndpointTests.graph
        let shard = GraphEndpointTests.shard
        let start = ContinuousClock.now
        store.publish([graph], revisions: [shard: 5], now: start)
        store.observe(databaseRevisions: [shard: 6], now: start)
        // Hearing it again does not start the time anew.
        store.observe(databaseRevisions: [shard: 6], now: start + .milliseconds(1_900))
        #expect(store.entry(graph.event, now: start + .milliseconds(2_000)) != nil)
        #expect(store.entry(graph.event, now: start + .milliseconds(2_001)) == nil)
        store.observe(databaseRevisions: [shard: 5], now: start + .seconds(3))
        #expect(store.entry(graph.event, now: start + .seconds(9)) != nil)
        store.remove([shard])
        #expect(store.entry(graph.event, now: start) == nil && store.eventCount == 0)
    }
}
