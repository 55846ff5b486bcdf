import Hummingbird
import Model
import ServiceRuntime

/// `GET /v1/anomalies` and `GET /v1/anomalies/{id}`.
struct AnomalyRoutes: Sendable {
    static let limits = 1...500
    private static let list = "anomalies"
    let store: AnomalyStore
    let timeout: QueryBound
    let answers: AnswerCache

    /// What of these routes is at hand.
    var readyRoutes: [ReadyRoute] { ["/v1/anomalies", "/v1/anomalies/{id}"].map(self.answers.route) }

    func add(to router: Router<CallContext>) {
        router.get("/v1/anomalies") { request, _ in
            try await self.answers.json(request) { try await self.timeout.bound { try await self.list(request) } }
        }
        router.get("/v1/anomalies/{id}") { request, context in
            let id = try context.name("id")
            return try await self.answers.json(request) { try await self.timeout.bound { try await self.one(id: id) } }
        }
    }

    /// An anomaly with what follows from its fields.
    struct Item: Encodable, Sendable {
        let anomaly: Anomaly

        private enum Keys: String, CodingKey { case state }

        func encode(to encoder: any Encoder) throws {
            try self.anomaly.encode(to: encoder)
            var keyed = encoder.container(keyedBy: Keys.self)
            try keyed.encode(self.anomaly.closedAt == nil ? "open" : "closed", forKey: .state)
        }
    }

    private func list(_ request: Request) async throws -> ListPage<Item> {
        let query = try QueryParameters(
            request, known: ["event", "layer", "kind", "band", "since", "limit", "cursor"])
        let filter = AnomalyFilter(
            event: try query.name("event"), layer: try query.layer("layer"),
            kind: try query.choice("kind", FindingKind.self), severity: try query.choice("band", Severity.self),
            since: try query.time("since"))
        let limit = try query.integer("limit", in: Self.limits, default: 50)
        let end = try PageEnd(query, of: Self.list)
        // One more than asked for tells whether there is a next page.
        var anomalies = try await self.store.list(filter, after: end, limit: limit + 1)
        var cursor: String?
        if anomalies.count > limit {
            anomalies.removeLast(anomalies.count - limit)
            cursor = anomalies.last.map { PageEnd(time: $0.openedAt, id: $0.id).cursor(of: Self.list) }
        }
        return ListPage(items: anomalies.map(Item.init), nextCursor: cursor)
    }

    private func one(id: String) async throws -> Item {
        guard id.utf8.count == 32, id.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }),
            let anomaly = try await self.store.anomaly(id: id)
        else { throw Problem(.notFound, detail: "there is no anomaly with this id") }
        return Item(anomaly: anomaly)
    }
}
