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
    /// Whether the answer came out of the owner's memory (`warm`), of the database (`cold`), or of memory that nothing newer could
    /// be had for (`stale`).
    static let sourceHeader = HTTPField.Name("X-Undercurrent-Source")
    static let revisionHeader = HTTPField.Name("X-Undercurrent-Revision")

    let graphs: GraphStore
    let cold: ColdGraphReader
    let keeper: LeaseKeeper
    let engine: EvaluationEngine
    let bound: QueryBound
    /// Whether an old graph is better than none while the database is away.
    var servesStale: @Sendable () -> Bool = { true }
    /// nil: memory is not looked at.
    var memory: MemoryWatch?
    var staleAnswers: StaleAnswers?

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
            if let memory, memory.isShedding {
                throw Problem(
                    .memoryLimitExceeded, detail: "No graph is built at present: memory is at its ceiling.",
                    retryAfter: 5)
            }
            throw Problem(.notFound, detail: "there is no graph of this event")
        }
        if found.source == .stale { return try self.stale(found, filter) }
        // Only the evaluation in memory knows them. An answer without them is the plain one and has its tag: a tag stands for
        // the same bytes on every replica.
        if found.source != .warm { filter.includesRejected = false }
        let key = GraphStore.BodyKey(graph: found.graph.id, revision: found.revision, filter: filter)
        let known = self.graphs.body(key)
        let tag = known?.entityTag ?? GraphIdentity.entityTag(id: found.graph.id, filter: filter)
        var headers: HTTPFields = [.eTag: tag, .age: String(Int(found.ageSeconds)), .cacheControl: "no-cache"]
        if let name = Self.sourceHeader { headers[name] = found.source.rawValue }
        if let name = Self.revisionHeader { headers[name] = String(found.revision) }
        if Self.matches(request.headers[values: .ifNoneMatch], tag) {
            return Response(status: .notModified, headers: headers)
        }
        headers[.contentType] = "application/json"
        let body: Data
        if let known {
            body = known.data
        } else {
            if filter.includesRejected, let memory, memory.isShedding {
                throw Problem(
                    .memoryLimitExceeded, detail: "Rejected pairs are not computed: memory is at its ceiling.",
                    retryAfter: 5)
            }
            let rejected = filter.includesRejected ? await self.engine.rejected(event) : nil
            body = try GraphDocument(found.graph, filter: filter, rejected: rejected).encoded()
            // Near the ceiling the cache stays empty.
            if self.memory?.reason == nil { self.graphs.keep(GraphStore.Body(entityTag: tag, data: body), for: key) }
        }
        headers[.contentLength] = String(body.count)
        return Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
    }

    private enum Source: String { case warm, cold, stale }

    private struct Found {
        var graph: CorrelationGraph
        var revision: Int64
        var ageSeconds: Double
        var source: Source
    }

    /// What memory still has while the database is away: every layer says that it is old. It has no tag, for it stands for no
    /// state of the database.
    private func stale(_ found: Found, _ filter: GraphFilter) throws -> Response {
        var graph = found.graph
        graph.layers = graph.layers.map { report in
            guard report.state == .ok || report.state == .degraded else { return report }
            var report = report
            report.state = .stale
            report.reason = "the database does not answer; this is what was known \(Int(found.ageSeconds)) s ago"
            return report
        }
        let body = try GraphDocument(graph, filter: filter, rejected: nil).encoded()
        var headers: HTTPFields = [
            .contentType: "application/json", .age: String(Int(found.ageSeconds)), .cacheControl: "no-store",
            .contentLength: String(body.count),
        ]
        if let name = Self.sourceHeader { headers[name] = found.source.rawValue }
        if let name = Self.revisionHeader { headers[name] = String(found.revision) }
        self.staleAnswers?.note()
        return Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
    }

    /// Out of memory when this replica is the trusted owner, else out of the database.
    private func current(_ event: String) async throws -> Found? {
        if self.keeper.isTrusted(Shard(event: event)), let entry = self.graphs.entry(event) {
            let age = (ContinuousClock.now - entry.publishedAt) / .seconds(1)
            return Found(graph: entry.graph, revision: entry.revision, ageSeconds: age, source: .warm)
        }
        do {
            let stored = try await self.bound.bound { try await self.cold.graph(event) }
            return stored.map {
                Found(graph: $0.graph, revision: $0.revision, ageSeconds: $0.ageSeconds, source: .cold)
            }
        } catch {
            guard Self.isAbsence(error), self.servesStale(), let entry = self.graphs.lastKnown(event) else {
                throw error
            }
            let age = (ContinuousClock.now - entry.publishedAt) / .seconds(1)
            return Found(graph: entry.graph, revision: entry.revision, ageSeconds: age, source: .stale)
        }
    }

    /// Whether the database could not be asked, so that it says nothing about the graph.
    private static func isAbsence(_ error: any Error) -> Bool {
        switch error {
        case let error as PostgresError: error.severity != .never
        case let problem as Problem: problem.code == .unavailable
        default: false
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
