import Foundation

/// One kind of request and how often it comes.
struct LoadRoute: Sendable {
    let name: String
    /// Of 100 requests.
    let share: Int
    let make: @Sendable (_ index: Int) -> LoadRequest
}

struct LoadRequest: Sendable {
    var method = "GET"
    var path: String
    var fields: [(String, String)] = []
    var body: String?
}

/// An event with a graph, and the tag under which it was read last.
struct WarmEvent: Sendable {
    /// As it stands in a path or a query: names may hold anything.
    let id: String
    let tag: String

    init(name: String, tag: String) {
        self.id = name.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? name
        self.tag = tag
    }
}

/// Which request comes when: the same mix for everyone, in an order that a seed decides, at times that no answer changes.
struct LoadPlan: Sendable {
    /// What is written belongs to this domain.
    static let domain = "load"

    let ratePerSecond: Int
    let seconds: Int
    let routes: [LoadRoute]
    /// 100 indices of `routes`, shuffled.
    private let order: [Int]

    var count: Int { self.ratePerSecond * self.seconds }

    init(ratePerSecond: Int, seconds: Int, events: [WarmEvent], startMs: Int64) {
        self.ratePerSecond = ratePerSecond
        self.seconds = seconds
        @Sendable func event(_ index: Int) -> WarmEvent { events[index % events.count] }
        let routes = [
            LoadRoute(name: "graph, unchanged (304)", share: 40) { index in
                LoadRequest(
                    path: "/v1/correlation-graph?eventId=\(event(index).id)",
                    fields: [("if-none-match", event(index).tag)])
            },
            LoadRoute(name: "graph", share: 20) {
                LoadRequest(path: "/v1/correlation-graph?eventId=\(event($0).id)&limit=200")
            },
            LoadRoute(name: "event", share: 10) { LoadRequest(path: "/v1/events/\(event($0).id)") },
            LoadRoute(name: "anomalies", share: 10) {
                LoadRequest(path: "/v1/anomalies?event=\(event($0).id)&limit=20")
            },
            LoadRoute(name: "forecasts", share: 10) {
                LoadRequest(path: "/v1/forecasts?event=\(event($0).id)&limit=20")
            },
            LoadRoute(name: "ingest of 20", share: 10) {
                Self.ingest($0, startMs: startMs, ratePerSecond: ratePerSecond)
            },
        ]
        var order = routes.indices.flatMap { Array(repeating: $0, count: routes[$0].share) }
        var seed: UInt64 = 0x9E37_79B9_7F4A_7C15
        for last in stride(from: order.count - 1, to: 0, by: -1) {
            seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            order.swapAt(last, Int(seed >> 33) % (last + 1))
        }
        self.routes = routes
        self.order = order
    }

    func route(_ index: Int) -> Int { self.order[index % self.order.count] }

    /// Nanoseconds after the start.
    func dueNanoseconds(_ index: Int) -> Int64 { Int64(index) * 1_000_000_000 / Int64(self.ratePerSecond) }

    /// Twenty observations of twenty nodes at the time the request is due. Requests due in the same millisecond are about
    /// different nodes, so that none repeats what another said.
    private static func ingest(_ index: Int, startMs: Int64, ratePerSecond: Int) -> LoadRequest {
        let time = startMs + Int64(index) * 1_000 / Int64(ratePerSecond)
        let group = index % ((ratePerSecond + 999) / 1_000)
        let items = (0..<20).map { node in
            "{\"domain\":\"\(Self.domain)\",\"event\":\"load-\(node % 4)\",\"market\":\"m\(group)\","
                + "\"venue\":\"v\(node)\",\"time\":\(time),\"value\":\((index * 31 + node * 7) % 1_000)}"
        }
        return LoadRequest(
            method: "POST", path: "/v1/observations", fields: [("content-type", "application/json")],
            body: "[\(items.joined(separator: ","))]")
    }
}
