import Foundation
import Hummingbird
import Model
import Postgres
import ServiceRuntime

/// `GET /v1/events` and `GET /v1/events/{id}`.
struct EventRoutes: Sendable {
    struct Item: Encodable, Sendable {
        var id: String
        var domains: [String]
        var nodes: Int
        /// End of the window of its current graph; left out while it has none.
        var windowEnd: Timestamp?
        var graphId: String?
    }

    struct Detail: Encodable, Sendable {
        struct Evaluated: Encodable, Sendable {
            var domain: String
            var windowEnd: Timestamp
            var bucketMs: Int64
        }
        var id: String
        var domains: [String]
        var nodes: [NodeKey]
        /// Newest evaluation of the event's shard by domain.
        var lastEvaluated: [Evaluated]
        var graphId: String?
        var windowEnd: Timestamp?
        var layers: [LayerReport]
    }

    let pool: PostgresPool
    let bound: QueryBound

    func add(to router: Router<CallContext>) {
        router.get("/v1/events") { request, _ in try await self.list(request) }
        router.get("/v1/events/{id}") { _, context in try await self.event(context.name("id")) }
    }

    private func query(_ statement: PostgresStatement, _ parameters: [PostgresValue]) async throws -> PostgresRows {
        try await self.bound.bound { try await self.pool.query(statement, parameters) }
    }

    private func list(_ request: Request) async throws -> Response {
        let query = try QueryParameters(request, known: ["domain", "limit", "cursor"])
        let limit = try query.integer("limit", in: 1...1_000, default: 100)
        let after = try query.text("cursor").map { try KeysetCursor($0, list: "events", keyCount: 1).keys[0] }
        let rows = try await self.query(
            """
            SELECT n.event_id, array_agg(DISTINCT n.domain ORDER BY n.domain), count(*), g.window_end, g.graph_id
            FROM nodes n LEFT JOIN event_graphs g ON g.shard = n.shard AND g.event_id = n.event_id
            WHERE ($1::text IS NULL OR n.event_id COLLATE "C" > $1)
              AND ($2::text IS NULL OR EXISTS (
                  SELECT 1 FROM nodes d WHERE d.shard = n.shard AND d.event_id = n.event_id AND d.domain = $2))
            GROUP BY n.event_id, g.window_end, g.graph_id ORDER BY n.event_id COLLATE "C" LIMIT $3
            """,
            [
                .optional(after, PostgresValue.text), .optional(try query.name("domain"), PostgresValue.text),
                .int(limit + 1),
            ])
        var items = try rows.map { row in
            let (id, domains, nodes, end, graph) = try row.decode(
                (String, [String], Int, Timestamp?, String?).self)
            return Item(id: id, domains: domains, nodes: nodes, windowEnd: end, graphId: graph)
        }
        var page = ListPage(items: items)
        if items.count > limit {
            items.removeLast()
            page = ListPage(
                items: items, nextCursor: items.last.map { KeysetCursor(list: "events", keys: [$0.id]).text })
        }
        return try JSONAnswer.response(page)
    }

    private func event(_ id: String) async throws -> Response {
        let shard = Shard(event: id)
        let nodes = try await self.query(
            "SELECT domain, market, venue FROM nodes WHERE shard = $1 AND event_id = $2 LIMIT 10000",
            [.shard(shard), .text(id)]
        ).map { row in
            let (domain, market, venue) = try row.decode((String, String, String).self)
            return NodeKey(domain: domain, event: id, market: market, venue: venue)
        }.sorted()
        guard !nodes.isEmpty else { throw Problem(.notFound, detail: "this event is not known") }
        let domains = Set(nodes.map(\.domain)).sorted()
        let evaluated = try await self.query(
            """
            SELECT DISTINCT ON (domain) domain, window_end, bucket_ms FROM evaluations
            WHERE shard = $1 AND domain = ANY($2::text[]) ORDER BY domain, window_end DESC
            """, [.shard(shard), .textArray(domains)]
        ).map { row in
            let (domain, end, width) = try row.decode((String, Timestamp, Int64).self)
            return Detail.Evaluated(domain: domain, windowEnd: end, bucketMs: width)
        }
        let graph = try await self.query(
            "SELECT graph_id, window_end, layers FROM event_graphs WHERE shard = $1 AND event_id = $2",
            [.shard(shard), .text(id)]
        ).first.map { row in try row.decode((String, Timestamp, PostgresJSON<[LayerReport]>).self) }
        return try JSONAnswer.response(
            Detail(
                id: id, domains: domains, nodes: nodes, lastEvaluated: evaluated, graphId: graph?.0,
                windowEnd: graph?.1, layers: graph?.2.value ?? []))
    }
}
