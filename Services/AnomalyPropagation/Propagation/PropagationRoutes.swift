import Engine
import Foundation
import Hummingbird
import Model
import ServiceRuntime

/// `POST /v1/propagation`.
struct PropagationRoutes: Sendable {
    static let bodyLimit = 64 << 10
    let cache: EdgeCache
    let domains: DomainStore
    let observations: ObservationStore
    let timeout: QueryBound
    let memory: MemoryMonitor?

    func add(to router: Router<CallContext>) {
        router.post("/v1/propagation") { request, _ in
            let question = try await request.decodeBody(PropagationQuestion.self, limit: Self.bodyLimit)
            try self.memory?.requireRoom(for: "Propagations")
            return try Response.json(try await self.timeout.bound { try await self.answer(question) })
        }
    }

    func answer(_ question: PropagationQuestion) async throws -> PropagationAnswer {
        let snapshot = try await self.cache.current()
        for (field, node) in [("source", question.source), ("target", question.target)] {
            guard let node, snapshot.search.graph.number(of: node) == nil else { continue }
            guard try await self.domains.isKnown(node) else {
                throw Problem(.notFound, detail: "the \(field) \(node.display) has never been observed")
            }
        }
        let shock = try await self.shock(of: question, snapshot)
        return await Self.search(question, snapshot, shock)
    }

    @concurrent private static func search(
        _ question: PropagationQuestion, _ snapshot: EdgeCache.Snapshot, _ shock: PropagationAnswer.Shock?
    ) async -> PropagationAnswer {
        func answer(
            path: PropagationAnswer.Path? = nil, reached: [PropagationAnswer.Path]? = nil, reason: String? = nil
        ) -> PropagationAnswer {
            PropagationAnswer(
                source: question.source, target: question.target, depth: question.depth, shock: shock,
                asOf: snapshot.newestWindow, path: path, reached: reached, reason: reason)
        }
        func shown(_ path: PropagationPath) -> PropagationAnswer.Path {
            .init(path, edges: snapshot.edges, source: question.source, asOf: snapshot.newestWindow)
        }
        let size = shock?.value ?? 0
        guard let target = question.target else {
            let paths = snapshot.search.blastRadius(
                from: question.source, depth: question.depth, shock: size, floor: question.minImpact,
                limit: question.limit)
            let isKnown = snapshot.search.graph.number(of: question.source) != nil
            let reason =
                !paths.isEmpty
                ? nil
                : isKnown
                    ? "nothing responds with at least \(question.minImpact) standard deviations within \(question.depth) hops"
                    : PathAbsence.unknownNode(question.source).explanation
            return answer(reached: paths.map(shown), reason: reason)
        }
        switch snapshot.search.bestPath(from: question.source, to: target, depth: question.depth, shock: size) {
        case .path(let path): return answer(path: shown(path))
        case .none(let absence): return answer(reason: absence.explanation)
        }
    }

    /// The shock of the question, or one standard deviation of the source's series in the window of one of its edges.
    /// - Returns: nil when there is no edge, so that no shock goes anywhere.
    private func shock(
        of question: PropagationQuestion, _ snapshot: EdgeCache.Snapshot
    ) async throws -> PropagationAnswer.Shock? {
        if let shock = question.shock { return .init(value: shock, basis: "given") }
        let graph = snapshot.search.graph
        guard let number = graph.number(of: question.source), graph.rowStart[number] < graph.rowStart[number + 1] else {
            return nil
        }
        let first = graph.targets[graph.rowStart[number]]
        let pair = ForecastPair(source: question.source, target: graph.nodes[Int(first)])
        guard let edge = snapshot.edges[pair] else { return nil }
        let buckets = (edge.windowEnd.milliseconds - edge.windowStart.milliseconds) / max(1, edge.bucketMs)
        let span = ObservationStore.Span(
            node: question.source, end: edge.windowEnd, bucketMs: edge.bucketMs,
            length: Int(min(max(buckets, 2), 20_000)) + 1)
        let levels = try await self.observations.levels([span]).first ?? []
        let profile = try await self.domains.profiles()[question.source.domain]
        guard let deviation = Self.standardDeviation(levels, profile?.transform ?? .level) else {
            throw Problem(
                .invalidRequest,
                detail: "shock must be given: the source has not changed in its window, so it has no standard deviation"
            )
        }
        return .init(value: deviation, basis: "standardDeviation")
    }

    /// Of the transformed series; nil where fewer than two values are known or nothing changes.
    static func standardDeviation(_ levels: [Double], _ transform: DomainProfile.Transform) -> Double? {
        let series =
            zip(levels, levels.dropFirst()).map { before, after in
                switch transform {
                case .level: after
                case .difference: after - before
                case .logReturn: before > 0 && after > 0 ? log(after / before) : .nan
                }
            }.filter(\.isFinite)
        guard series.count > 1 else { return nil }
        let mean = series.reduce(0, +) / Double(series.count)
        let variance = series.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(series.count - 1)
        return variance > 0 ? variance.squareRoot() : nil
    }
}
