import Engine
import Hummingbird
import Model
import ServiceRuntime

/// `GET` and `PUT /v1/topology`: declared call graphs.
struct TopologyRoutes: Sendable {
    static let bodyLimit = 4 << 20
    let store: TopologyStore
    let timeout: QueryBound

    func add(to router: Router<CallContext>) {
        router.get("/v1/topology") { request, _ in try await self.timeout.bound { try await self.get(request) } }
        router.put("/v1/topology") { request, _ in try await self.put(request) }
    }

    /// What is declared, checked and without repetitions.
    struct Declaration: Decodable, Sendable {
        let name: String
        let calls: [CallEdge]
        /// Calls that were given more than once.
        let duplicates: Int

        private enum Keys: String, CodingKey { case name, edges }

        init(from decoder: any Decoder) throws {
            let keyed = try decoder.container(keyedBy: Keys.self)
            self.name = try keyed.decode(String.self, forKey: .name)
            let edges = try keyed.decode([CallEdge].self, forKey: .edges)
            try Name.validate(self.name, field: "name")
            guard edges.count <= TopologyStore.callLimit else {
                throw ValidationError(field: "edges", rule: "must be at most \(TopologyStore.callLimit)")
            }
            for (index, edge) in edges.enumerated() {
                try Name.validate(edge.caller, field: "edges.\(index).caller")
                try Name.validate(edge.callee, field: "edges.\(index).callee")
                guard edge.caller != edge.callee else {
                    throw ValidationError(field: "edges.\(index)", rule: "must not be a call to itself")
                }
            }
            self.calls = Set(edges).sorted()
            self.duplicates = edges.count - self.calls.count
        }
    }

    struct Stored: Encodable, Sendable {
        let name: String
        let edges: Int
        let duplicates: Int
    }

    struct Topology: Encodable, Sendable {
        let name: String
        let edges: [CallEdge]
    }

    struct Listed: Encodable, Sendable {
        let name: String
        let edges: Int
    }

    private func put(_ request: Request) async throws -> Response {
        let declaration = try await request.decodeBody(Declaration.self, limit: Self.bodyLimit)
        try await self.store.replace(declaration.name, with: declaration.calls)
        return try Response.json(
            Stored(name: declaration.name, edges: declaration.calls.count, duplicates: declaration.duplicates))
    }

    /// With `name` its edges, without one the names there are.
    private func get(_ request: Request) async throws -> Response {
        guard let name = try QueryParameters(request, known: ["name"]).name("name") else {
            let names = try await self.store.names().map { Listed(name: $0.name, edges: $0.calls) }
            return try Response.json(ListPage(items: names))
        }
        let calls = try await self.store.calls(of: name)
        guard !calls.isEmpty else { throw Problem(.notFound, detail: "there is no topology with this name") }
        return try Response.json(Topology(name: name, edges: calls))
    }
}
