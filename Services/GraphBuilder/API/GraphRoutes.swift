import Engine
import Foundation
import HTTPTypes
import Hummingbird
import Model
import NIOCore
import Postgres
import ServiceRuntime

/// `GET /v1/correlation-graph?eventId=` and its older name `/api/correlation-graph`.
struct GraphRoutes: Sendable {
    /// Whether the answer came out of the owner's memory (`warm`) or of the database (`cold`).
    static let sourceHeader = HTTPField.Name("X-Undercurrent-Source")
    static let revisionHeader = HTTPField.Name("X-Undercurrent-Revision")

    let graphs: GraphStore
    let cold: ColdGraphReader
    let keeper: LeaseKeeper
    let engine: EvaluationEngine
    let queryTimeout: Duration

    func add(to router: Router<CallContext>) {
        for path in ["/v1/correlation-graph", "/api/correlation-graph"] {
            router.get(RouterPath(path)) { request, _ in try await self.graph(request) }
        }
    }

    private func graph(_ request: Request) async throws -> Response {
        let query = try QueryParameters(
            request, known: ["eventId", "layer", "minConfidence", "limit", "include"])
        guard let event = try query.name("eventId") else {
            throw Problem(.invalidRequest, detail: "eventId is required")
        }
        let include = try query.given("include")
        guard include == nil || include == "rejected" else {
            throw Problem(.invalidRequest, detail: "include must be rejected or absent")
        }
        var filter = GraphFilter(
            layer: try query.layer("layer"), minConfidence: try query.number("minConfidence", in: 0...1) ?? 0,
            limit: try query.integer("limit", in: 1...200, default: 200), includesRejected: include != nil)
        guard let found = try await self.current(event) else {
            throw Problem(.notFound, detail: "there is no graph of this event")
        }
        // Only the evaluation in memory knows them. An answer without them is the plain one and has its tag: a tag stands for
        // the same bytes on every replica.
        if !found.isWarm { filter.includesRejected = false }
        let key = GraphStore.BodyKey(graph: found.graph.id, revision: found.revision, filter: filter)
        let known = self.graphs.body(key)
        let tag = known?.entityTag ?? GraphIdentity.entityTag(id: found.graph.id, filter: filter)
        var headers: HTTPFields = [.eTag: tag, .age: String(Int(found.ageSeconds)), .cacheControl: "no-cache"]
        if let name = Self.sourceHeader { headers[name] = found.isWarm ? "warm" : "cold" }
        if let name = Self.revisionHeader { headers[name] = String(found.revision) }
        if Self.matches(request.headers[values: .ifNoneMatch], tag) {
            return Response(status: .notModified, headers: headers)
        }
        headers[.contentType] = "application/json"
        let body: Data
        if let known {
            body = known.data
        } else {
            let rejected = filter.includesRejected ? await self.engine.rejected(event) : nil
            body = try GraphDocument(found.graph, filter: filter, rejected: rejected).encoded()
            self.graphs.keep(GraphStore.Body(entityTag: tag, data: body), for: key)
        }
        headers[.contentLength] = String(body.count)
        return Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
    }

    private struct Found {
        var graph: CorrelationGraph
        var revision: Int64
        var ageSeconds: Double
        var isWarm: Bool
    }

    /// Out of memory when this replica is the trusted owner, else out of the database.
    private func current(_ event: String) async throws -> Found? {
        if self.keeper.isTrusted(Shard(event: event)), let entry = self.graphs.entry(event) {
            let age = (ContinuousClock.now - entry.publishedAt) / .seconds(1)
            return Found(graph: entry.graph, revision: entry.revision, ageSeconds: age, isWarm: true)
        }
        let limit = ContinuousClock.now + self.queryTimeout
        let deadline = min(PostgresDeadline.current ?? limit, limit)
        let stored = try await PostgresDeadline.$current.withValue(deadline) { try await self.cold.graph(event) }
        return stored.map {
            Found(graph: $0.graph, revision: $0.revision, ageSeconds: $0.ageSeconds, isWarm: false)
        }
    }

    /// RFC 9110, 13.1.2: `*`, or any of the listed tags, compared weakly.
    static func matches(_ fields: [String], _ tag: String) -> Bool {
        fields.flatMap { $0.split(separator: ",") }.contains { text in
            var candidate = text.trimmingCharacters(in: .whitespaces)
            if candidate.hasPrefix("W/") { candidate.removeFirst(2) }
            return candidate == "*" || candidate == tag
        }
    }
}
