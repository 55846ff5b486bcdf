import Logging
import Model
import Synchronization
import Testing

@testable import Gateway

@Suite("Routing")
struct RoutingTests {
    let table = RouteTable()

    @Test("every route of the table is found by a path of its shape", arguments: APIRoute.all)
    func findsAll(route: APIRoute) {
        let path = route.path.split(separator: "/", omittingEmptySubsequences: false)
            .map { $0.hasPrefix("{") ? "some%20id" : String($0) }.joined(separator: "/")
        guard case .route(let found, let parameters) = self.table.match(method: route.method.rawValue, path: path)
        else {
            Issue.record("no match for \(path)")
            return
        }
        #expect(found == route)
        #expect(parameters.values.allSatisfy { $0 == "some id" })
    }

    @Test("another method is told which ones there are")
    func otherMethods() {
        #expect(self.table.match(method: "PATCH", path: "/v1/keys") == .otherMethods(["GET", "POST"]))
        #expect(self.table.match(method: "HEAD", path: "/v1/events/a") == .otherMethods(["GET"]))
    }

    @Test(
        "paths outside the table lead nowhere",
        arguments: ["/", "/v1", "/v1/events/", "/v1//events", "/v1/events/a/b", "/v2/events", "/metrics", "/V1/events"])
    func unknown(path: String) {
        #expect(self.table.match(method: "GET", path: path) == .none)
    }

    @Test(
        "paths that readers could disagree about are refused",
        arguments: [
            "/v1/events/..", "/v1/events/%2e%2E", "/v1/./events", "/v1/events/%zz", "/v1/events/%f", "/v1/events/%ff",
            "/v1/events/a b", "/v1\\events", "v1/events", "/v1/events/é", "*",
        ])
    func malformed(path: String) {
        #expect(self.table.match(method: "GET", path: path) == .malformed)
    }

    @Test("the shard key is read from the segment or the query, decoded")
    func shardKey() throws {
        let graph = try #require(APIRoute.all.first { $0.path == "/v1/correlation-graph" })
        #expect(graph.shardKeyValue(parameters: [:], query: "layer=1&eventId=NBA%2D1&eventId=x") == "NBA-1")
        #expect(graph.shardKeyValue(parameters: [:], query: "eventId=a+b") == "a b")
        #expect(graph.shardKeyValue(parameters: [:], query: "eventid=a") == nil)
        #expect(graph.shardKeyValue(parameters: [:], query: nil) == nil)
        let event = try #require(APIRoute.all.first { $0.path == "/v1/events/{id}" })
        #expect(event.shardKeyValue(parameters: ["id": "E"], query: nil) == "E")
    }

    @Test("the owner comes first, then the others in turn, never more than two, shunned ones last")
    func candidates() {
        let shard = Shard(rawValue: 3)
        let map = ShardMap(
            owners: [shard: "http://b"], replicas: [.graphBuilder: ["http://a", "http://b", "http://c"]])
        func pick(_ shard: Shard?, turn: Int = 0, shunned: Set<String> = []) -> [String] {
            map.candidates(
                for: .graphBuilder, shard: shard, fallback: ["http://static"], turn: turn,
                isShunned: { shunned.contains($0) })
        }
        #expect(pick(shard) == ["http://b", "http://a"])
        #expect(pick(shard, turn: 2) == ["http://b", "http://c"])
        #expect(pick(Shard(rawValue: 4), turn: 1) == ["http://b", "http://c"])
        #expect(pick(nil, turn: 3) == ["http://a", "http://b"])
        #expect(pick(shard, shunned: ["http://b"]) == ["http://a", "http://c"])
        #expect(pick(shard, shunned: ["http://a", "http://b", "http://c"]) == ["http://b", "http://a"])
        let counts = (0..<300).reduce(into: [String: Int]()) { $0[pick(nil, turn: $1)[0], default: 0] += 1 }
        #expect(counts == ["http://a": 100, "http://b": 100, "http://c": 100])
    }

    @Test("without a live replica the configured addresses are used; without those there is none")
    func fallback() {
        let map = ShardMap()
        #expect(
            map.candidates(
                for: .anomalyPropagation, shard: nil, fallback: ["http://s"], turn: 7,
                isShunned: { _ in false }) == ["http://s"])
        #expect(
            map.candidates(for: .graphBuilder, shard: nil, fallback: [], turn: 7, isShunned: { _ in false }).isEmpty)
    }

    @Test(
        "addresses of replicas become base URLs",
        arguments: [
            ("127.0.0.1:8081", "http://127.0.0.1:8081"), ("http://a:1/", "http://a:1"), ("https://h:1", "https://h:1"),
            ("[::1]:80", "http://[::1]:80"), ("", nil), ("a b", nil), ("a@b", nil), ("h/path", nil),
        ])
    func baseURL(address: String, expected: String?) {
        #expect(ShardMap.baseURL(address) == expected)
    }

    @Test("a name stands for all of its addresses, again and again; one that cannot be looked up keeps those it had")
    func names() async throws {
        let name = try #require(ServiceName("dns+http://builders.internal:8081"))
        #expect(name.host == "builders.internal" && name.port == 8_081)
        for bad in [
            "http://a:1", "dns+http://a", "dns+https://a:1", "dns+http://a:0", "dns+http://[::1]:1", "dns+http://:1",
            "dns+",
            "dns+http://a:1/x", "dns+http://a:70000",
        ] { #expect(ServiceName(bad) == nil, "\(bad)") }
        let directory = ServiceDirectory(
            pool: nil, fallback: [.graphBuilder: ["http://fixed:1"]], logger: Logger(label: "test"))
        let answers = Mutex<[[String]?]>([
            ["http://10.0.0.1:8081", "http://10.0.0.2:8081"], nil, ["http://10.0.0.3:8081"],
        ])
        let discovery = NameDiscovery(
            names: [.graphBuilder: [name]], directory: directory, logger: Logger(label: "test")
        ) { _ in answers.withLock { $0.removeFirst() } }
        #expect(directory.addresses(of: .graphBuilder) == ["http://fixed:1"])
        var known = await discovery.round([:])
        #expect(
            directory.addresses(of: .graphBuilder) == [
                "http://fixed:1", "http://10.0.0.1:8081", "http://10.0.0.2:8081",
            ])
        let tried = Set((0..<12).flatMap { _ in directory.candidates(for: .graphBuilder, shard: nil) })
        #expect(tried.count == 3)
        known = await discovery.round(known)
        #expect(directory.addresses(of: .graphBuilder).count == 3)
        known = await discovery.round(known)
        #expect(directory.addresses(of: .graphBuilder) == ["http://fixed:1", "http://10.0.0.3:8081"])
        // Replicas that have registered go before.
        directory.take(ShardMap(replicas: [.graphBuilder: ["http://live:1"]]))
        #expect(directory.addresses(of: .graphBuilder) == ["http://live:1"])
    }

    @Test("the system's resolver answers for this machine, and not for a name that cannot be")
    func systemResolver() throws {
        let here = try #require(ServiceName("dns+http://localhost:9")?.lookUp())
        #expect(here.contains("http://127.0.0.1:9") || here.contains("http://[::1]:9"))
        #expect(Set(here).count == here.count)
        #expect(try #require(ServiceName("dns+http://nowhere.invalid:9")).lookUp() == nil)
    }
}
