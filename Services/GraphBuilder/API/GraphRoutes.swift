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
    /// How long evaluations have failed, see ``EvaluationService/failing``.
    var evaluationFailing: @Sendable () -> Duration = { .zero }
    /// nil: memory is not looked at.
    var memory: MemoryWatch?
    var staleAnswers: StaleAnswers?
    /// nil: nobody counts.
    var counts: GraphAnswerCounts?

    /// One round may fail and the next do its work.
    static let failingPatience = Duration.seconds(3)

    static let paths = ["/v1/correlation-graph", "/api/correlation-graph"]

    func add(to router: Router<CallContext>) {
        for path in Self.paths {
            router.get(RouterPath(path)) { request, _ in
                try await self.graph(Question(request.uri.query ?? ""), request.headers)
            }
        }
    }

    /// What of these routes is at hand.
    var readyRoutes: [ReadyRoute] {
        let questions = QuestionCache()
        return Self.paths.map { path in
            ReadyRoute(path: path) { _, query, headers in
                questions.question(query).flatMap { self.ready($0, headers) }
            }
        }
    }

    /// What is asked for.
    struct Question: Sendable {
        let event: String
        let filter: GraphFilter

        init(_ text: String) throws(Problem) {
            let query = try QueryParameters(
                query: text, known: ["eventId", "layer", "minConfidence", "limit", "include"])
            guard let event = try query.name("eventId") else {
                throw Problem(.invalidRequest, detail: "eventId is required")
            }
            let include = try query.given("include")
            guard include == nil || include == "rejected" else {
                throw Problem(.invalidRequest, detail: "include must be rejected or absent")
            }
            self.event = event
            self.filter = GraphFilter(
                layer: try query.layer("layer"), minConfidence: try query.number("minConfidence", in: 0...1) ?? 0,
                limit: try query.integer("limit", in: 1...200, default: 200), includesRejected: include != nil)
        }
    }

    /// The graph in memory when its tag, or the body that is asked for, is known.
    private func ready(_ question: Question, _ headers: HTTPFields) -> ReadyAnswer? {
        guard self.keeper.isTrusted(Shard(event: question.event)), let entry = self.graphs.entry(question.event),
            self.evaluationFailing() < Self.failingPatience,
            let known = self.graphs.body(
                GraphStore.BodyKey(graph: entry.graph.id, revision: entry.revision, filter: question.filter))
        else { return nil }
        let age = (ContinuousClock.now - entry.publishedAt) / .seconds(1)
        var fields = Self.fields(tag: known.entityTag, ageSeconds: age, revision: entry.revision, .warm)
        if Self.matches(headers[values: .ifNoneMatch], known.entityTag) {
            self.counts?.note(.warm)
            return ReadyAnswer(status: .notModified, headers: fields)
        }
        guard let bytes = known.bytes else { return nil }
        self.counts?.note(.warm)
        fields[.contentType] = "application/json"
        fields[.contentLength] = String(bytes.readableBytes)
        return ReadyAnswer(status: .ok, headers: fields, body: bytes)
    }

    private func graph(_ question: Question, _ headers: HTTPFields) async throws -> Response {
        var filter = question.filter
        guard let found = try await self.current(question.event) else {
            if let memory, memory.isShedding {
                throw Problem(
                    .memoryLimitExceeded, detail: "No graph is built at present: memory is at its ceiling.",
                    retryAfter: 5)
            }
            throw Problem(.notFound, detail: "there is no graph of this event")
        }
        self.counts?.note(found.source)
        if found.source == .stale { return try self.stale(found, filter) }
        // Only the evaluation in memory knows them. An answer without them is the plain one and has its tag: a tag stands for
        // the same bytes on every replica.
        if found.source != .warm { filter.includesRejected = false }
        let key = GraphStore.BodyKey(graph: found.graph.id, revision: found.revision, filter: filter)
        let known = self.graphs.body(key)
        let tag = known?.entityTag ?? GraphIdentity.entityTag(id: found.graph.id, filter: filter)
        var fields = Self.fields(tag: tag, ageSeconds: found.ageSeconds, revision: found.revision, found.source)
        if Self.matches(headers[values: .ifNoneMatch], tag) {
            self.keep(GraphStore.Body(entityTag: tag), for: key)
            var response = Response(status: .notModified, headers: fields)
            // The library says 0, which would be the length of the graph (RFC 9110, 8.6).
            response.headers[.contentLength] = nil
            return response
        }
        fields[.contentType] = "application/json"
        let body: ByteBuffer
        if let bytes = known?.bytes {
            body = bytes
        } else {
            if filter.includesRejected, let memory, memory.isShedding {
                throw Problem(
                    .memoryLimitExceeded, detail: "Rejected pairs are not computed: memory is at its ceiling.",
                    retryAfter: 5)
            }
            let rejected = filter.includesRejected ? await self.engine.rejected(question.event) : nil
            body = ByteBuffer(
                bytes: try GraphDocument(found.graph, filter: filter, rejected: rejected).encoded())
            self.keep(GraphStore.Body(entityTag: tag, bytes: body), for: key)
        }
        fields[.contentLength] = String(body.readableBytes)
        return Response(status: .ok, headers: fields, body: ResponseBody(byteBuffer: body))
    }

    /// Near the ceiling the cache stays empty.
    private func keep(_ body: GraphStore.Body, for key: GraphStore.BodyKey) {
        if self.memory?.reason == nil { self.graphs.keep(body, for: key) }
    }

    private static func fields(
        tag: String?, ageSeconds: Double, revision: Int64, _ source: Source
    ) -> HTTPFields {
        var fields: HTTPFields = [
            .age: String(Int(ageSeconds)), .cacheControl: tag == nil ? "no-store" : "no-cache",
        ]
        if let tag { fields[.eTag] = tag }
        if let name = Self.sourceHeader { fields[name] = source.rawValue }
        if let name = Self.revisionHeader { fields[name] = String(revision) }
        return fields
    }

    enum Source: String, CaseIterable { case warm, cold, stale }

    private struct Found {
        var graph: CorrelationGraph
        var revision: Int64
        var ageSeconds: Double
        var source: Source
        /// Why it is stale.
        var reason = ""
    }

    /// What memory still has while nothing newer can be had: every layer says that it is old. It has no tag, for it stands for no
    /// state of the database.
    private func stale(_ found: Found, _ filter: GraphFilter) throws -> Response {
        var graph = found.graph
        graph.layers = graph.layers.map { report in
            guard report.state == .ok || report.state == .degraded else { return report }
            var report = report
            report.state = .stale
            report.reason = "\(found.reason); this is what was known \(Int(found.ageSeconds)) s ago"
            return report
        }
        let body = try GraphDocument(graph, filter: filter, rejected: nil).encoded()
        var fields = Self.fields(tag: nil, ageSeconds: found.ageSeconds, revision: found.revision, .stale)
        fields[.contentType] = "application/json"
        fields[.contentLength] = String(body.count)
        self.staleAnswers?.note()
        return Response(status: .ok, headers: fields, body: ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
    }

    /// Out of memory when this replica is the trusted owner, else out of the database.
    private func current(_ event: String) async throws -> Found? {
        if self.keeper.isTrusted(Shard(event: event)), let entry = self.graphs.entry(event) {
            let age = (ContinuousClock.now - entry.publishedAt) / .seconds(1)
            var found = Found(graph: entry.graph, revision: entry.revision, ageSeconds: age, source: .warm)
            guard self.evaluationFailing() >= Self.failingPatience else { return found }
            guard self.servesStale() else {
                throw Problem(
                    .unavailable, detail: "Evaluations fail at present, so no graph is up to date.", retryAfter: 5)
            }
            found.source = .stale
            found.reason = "evaluations fail, as when the database has no room for them"
            return found
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
            return Found(
                graph: entry.graph, revision: entry.revision, ageSeconds: age, source: .stale,
                reason: "the database does not answer")
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
        // The usual case first; it is also the one under load.
        if fields.contains(tag) { return true }
        return fields.contains { field in
            FieldList.elements(of: field, escapes: false).contains { element in
                element == "*" || element == tag || (element.hasPrefix("W/") && element.dropFirst(2) == tag)
            }
        }
    }
}
