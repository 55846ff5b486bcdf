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
    let answers: AnswerCache

    /// What of these routes is at hand.
    var readyRoutes: [ReadyRoute] { ["/v1/events", "/v1/events/{id}"].map(self.answers.route) }

    func add(to router: Router<CallContext>) {
        router.get("/v1/events") { request, _ in
            try await self.answers.json(request) { try await self.list(request) }
        }
        router.get("/v1/events/{id}") { request, context in
            let id = try context.name("id")
            return try await self.answers.json(request) { try await self.event(id) }
        }
    }

    private func query(_ statement: PostgresStatement, _ parameters: [PostgresValue]) async throws -> PostgresRows {
        try await self.bound.bound { try await self.pool.query(statement, parameters) }
    }

    /// From name to name by one look into an index each, so that a page costs what is on it, however many nodes there are.
    /// - Parameter condition: on nodes `n`, which an index begins with.
    private static func page(_ condition: String = "") -> PostgresStatement {
        PostgresStatement(
            composed: """
                WITH RECURSIVE page (shard, event_id, place) AS (
                    (SELECT n.shard, n.event_id, 1 FROM nodes n
                     WHERE \(condition) n.event_id COLLATE "C" > coalesce($1::text, '')
                     ORDER BY n.event_id COLLATE "C" LIMIT 1)
                    UNION ALL
                    SELECT following.shard, following.event_id, page.place + 1 FROM page CROSS JOIN LATERAL (
                        SELECT n.shard, n.event_id FROM nodes n
                        WHERE \(condition) n.event_id COLLATE "C" > page.event_id
                        ORDER BY n.event_id COLLATE "C" LIMIT 1) following
                    WHERE page.place < $2)
                SELECT page.event_id, members.domains, members.nodes, g.window_end, g.graph_id
                FROM page
                CROSS JOIN LATERAL (
                    SELECT array_agg(DISTINCT n.domain ORDER BY n.domain) AS domains, count(*) AS nodes FROM nodes n
                    WHERE n.event_id COLLATE "C" = page.event_id) members
                LEFT JOIN event_graphs g ON g.shard = page.shard AND g.event_id = page.event_id
                ORDER BY page.place
                """)
    }

    private static let everyPage = Self.page()
    private static let domainPage = Self.page("n.domain = $3 AND")

    private func list(_ request: Request) async throws -> ListPage<Item> {
        let query = try QueryParameters(request, known: ["domain", "limit", "cursor"])
        let limit = try query.integer("limit", in: 1...1_000, default: 100)
        let after = try query.text("cursor").map { try KeysetCursor($0, list: "events", keyCount: 1).keys[0] }
        var parameters: [PostgresValue] = [.optional(after, PostgresValue.text), .int(limit + 1)]
        let domain = try query.name("domain")
        if let domain { parameters.append(.text(domain)) }
        let rows = try await self.query(domain == nil ? Self.everyPage : Self.domainPage, parameters)
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
        return page
    }

    /// One row, so that one round trip says all: the nodes, the newest evaluation of each of their domains (one look into the
    /// index each, however long the history), the current graph.
    private static let detail: PostgresStatement = """
        SELECT n.domains, n.markets, n.venues, e.domains, e.ends, e.widths, g.graph_id, g.window_end, g.layers
        FROM (
            SELECT coalesce(array_agg(domain), '{}') AS domains, coalesce(array_agg(market), '{}') AS markets,
                coalesce(array_agg(venue), '{}') AS venues
            FROM (SELECT domain, market, venue FROM nodes WHERE shard = $1 AND event_id = $2 LIMIT 10000) limited) n
        CROSS JOIN LATERAL (
            SELECT coalesce(array_agg(d.domain ORDER BY d.domain), '{}') AS domains,
                coalesce(array_agg(newest.window_end ORDER BY d.domain), '{}') AS ends,
                coalesce(array_agg(newest.bucket_ms ORDER BY d.domain), '{}') AS widths
            FROM (SELECT DISTINCT unnest(n.domains) AS domain) d
            CROSS JOIN LATERAL (
                SELECT window_end, bucket_ms FROM evaluations WHERE shard = $1 AND domain = d.domain
                ORDER BY window_end DESC LIMIT 1) newest) e
        LEFT JOIN event_graphs g ON g.shard = $1 AND g.event_id = $2
        """

    private func event(_ id: String) async throws -> Detail {
        let rows = try await self.query(Self.detail, [.shard(Shard(event: id)), .text(id)])
        guard let row = rows.first else { throw PostgresError(.malformedRow, detail: "an event has no row") }
        let (domains, markets, venues, evaluatedDomains, ends, widths, graph, windowEnd, layers) = try row.decode(
            (
                [String], [String], [String], [String], [Timestamp], [Int64], String?, Timestamp?,
                PostgresJSON<[LayerReport]>?
            ).self)
        guard !domains.isEmpty else { throw Problem(.notFound, detail: "this event is not known") }
        let nodes = zip(domains, zip(markets, venues)).map { domain, place in
            NodeKey(domain: domain, event: id, market: place.0, venue: place.1)
        }
        let evaluated = zip(evaluatedDomains, zip(ends, widths)).map { domain, newest in
            Detail.Evaluated(domain: domain, windowEnd: newest.0, bucketMs: newest.1)
        }
        return Detail(
            id: id, domains: Set(domains).sorted(), nodes: nodes.sorted(), lastEvaluated: evaluated, graphId: graph,
            windowEnd: windowEnd, layers: layers?.value ?? [])
    }
}
