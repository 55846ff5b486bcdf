import Engine
import Model
import Postgres

/// Makes stored graphs again from stored observations, the way the engine makes them, and says what differs.
struct GraphVerifier: Sendable {
    /// Most nodes of all domains together.
    static let nodeLimit = 200_000

    enum Outcome: Sendable {
        case equal(Match)
        case different(Mismatch)
        /// Why it cannot be told.
        case unverifiable(String)
    }

    struct Match: Sendable {
        var event: String
        var windowEnd: Timestamp
        var edges: Int
        /// Whether it is the graph that stands now, whose rows were compared in full.
        var isCurrent: Bool
    }

    struct Mismatch: Sendable {
        var event: String
        var windowEnd: Timestamp
        var recomputedID: String
        var difference: GraphDifference
        /// Of layers.
        var layers: [String]
    }

    let pool: PostgresPool

    func verify(_ id: String) async throws -> Outcome {
        guard let stored = try await GraphHistory(pool: self.pool).graph(id) else {
            return .unverifiable("no graph with this id is kept")
        }
        let recipe = stored.recipe
        guard recipe.engine == GraphIdentity.engineVersion else {
            return .unverifiable(
                "it was made by engine version \(recipe.engine), this program has version \(GraphIdentity.engineVersion)"
            )
        }
        let loader = SeriesLoader(pool: self.pool)
        let names = recipe.domains.keys.sorted()
        guard
            let cache = try await loader.cache(
                names, widths: recipe.domains.mapValues(\.bucketMs), nodeLimit: Self.nodeLimit)
        else { return .unverifiable("its domains have more than \(Self.nodeLimit) nodes") }
        if let reason = Self.retired(cache, recipe) { return .unverifiable(reason) }
        guard let graph = try await self.recompute(stored, cache, loader) else {
            return .unverifiable("its domains have no observations any more")
        }
        var difference = GraphDifference(from: stored.edges, to: GraphDifference.edges(graph))
        let layers = Self.differences(stored.layers, graph.layers)
        let current = try await ColdGraphReader(pool: self.pool).graph(stored.event)
        let isCurrent = current?.graph.id == id
        if let current, isCurrent, difference.entries.isEmpty {
            // The rows in force have more columns than those that are kept.
            difference = Self.full(current.graph, graph)
        }
        guard graph.id == id, difference.entries.isEmpty, layers.isEmpty else {
            if graph.id != id, let reason = try await self.redeclared(names, since: stored.storedAt) {
                return .unverifiable(reason)
            }
            return .different(
                Mismatch(
                    event: stored.event, windowEnd: stored.windowEnd, recomputedID: graph.id, difference: difference,
                    layers: layers))
        }
        return .equal(
            Match(
                event: stored.event, windowEnd: stored.windowEnd, edges: graph.edges.count, isCurrent: isCurrent))
    }

    /// Retention takes whole days: a domain has lost observations when nothing is left of the oldest day looked at.
    private static func retired(_ cache: SeriesCache, _ recipe: GraphRecipe) -> String? {
        for (name, source) in recipe.domains.sorted(by: { $0.key < $1.key }) {
            guard let domain = cache.domains[name], let oldest = domain.nodes.lazy.map(\.firstMs).min(), oldest < .max
            else { return "domain \(name) has no observations any more" }
            let day = ObservationPartitions.Day(containing: source.oldest)
            if ObservationPartitions.Day(containing: Timestamp(milliseconds: oldest)) > day {
                return "observations of domain \(name) from \(source.oldest) on have been retired"
            }
        }
        return nil
    }

    private func redeclared(_ domains: [String], since: Timestamp) async throws -> String? {
        let names = try await self.pool.query(
            "SELECT domain FROM domain_profiles WHERE domain = ANY($1::text[]) AND updated_at > $2 ORDER BY domain",
            [.textArray(domains), .timestamp(since)]
        ).column(String.self)
        return names.isEmpty
            ? nil : "the profile of domain \(names.joined(separator: ", ")) has been declared anew since"
    }

    /// Every evaluation the graph was put together from, made again.
    private func recompute(
        _ stored: GraphHistory.Stored, _ cache: SeriesCache, _ loader: SeriesLoader
    ) async throws -> CorrelationGraph? {
        let (event, recipe) = (stored.event, stored.recipe)
        // A layer that was not computed then is not computed now.
        var unseen: [Layer: (state: LayerReport.State, reason: String)] = [:]
        for report in stored.layers where report.state == .failed || report.state == .standby {
            unseen[report.layer] = (report.state, report.reason ?? "")
        }
        var parts: [DomainEvaluator.Part] = []
        for part in recipe.parts {
            var loaded = cache
            for name in [part.domain] + part.ready {
                guard let domain = cache.domains[name], let clock = domain.clock else { return nil }
                let bucket = clock.bucket(of: part.windowEnd.milliseconds - 1)
                // One more before what is looked at: what nodes come into it with.
                try await loader.load(
                    bucket - Int64(domain.neededBuckets)..<bucket + 1, of: name, into: &loaded)
            }
            guard let clock = cache.domains[part.domain]?.clock else { return nil }
            let due = EvaluationSchedule.Due(
                domain: part.domain, bucket: clock.bucket(of: part.windowEnd.milliseconds - 1),
                windowEnd: part.windowEnd,
                partners: EvaluationSchedule.Partners(ready: part.ready, late: part.late))
            parts += await Self.evaluate(due, event: event, cache: loaded, thresholds: recipe.thresholds, unseen)
        }
        var assembler = GraphAssembler(cache: cache, thresholds: recipe.thresholds)
        return assembler.graph(event: event, parts: parts)
    }

    @concurrent
    private static func evaluate(
        _ due: EvaluationSchedule.Due, event: String, cache: SeriesCache, thresholds: LayerThresholds,
        _ unseen: [Layer: (state: LayerReport.State, reason: String)]
    ) async -> [DomainEvaluator.Part] {
        var states: [String: DetectorStates.Event] = [:]
        return DomainEvaluator(
            cache: cache, thresholds: thresholds, declared: DeclaredPairs([]), layerStates: unseen
        )
        .evaluate(due, events: [event], learning: [], states: &states).parts
    }

    private static func differences(_ stored: [LayerReport], _ made: [LayerReport]) -> [String] {
        Layer.allCases.compactMap { layer in
            let (old, new) = (stored.first { $0.layer == layer }, made.first { $0.layer == layer })
            guard old != new else { return nil }
            func text(_ report: LayerReport?) -> String {
                guard let report else { return "none" }
                return "\(report.state.rawValue), \(report.pairs) pairs, \(report.accepted) accepted"
            }
            return "\(layer.code): \(text(old)) -> \(text(new))"
        }
    }

    /// Every column but the times since when an edge stands, which come from before the window.
    private static func full(_ stored: CorrelationGraph, _ made: CorrelationGraph) -> GraphDifference {
        func plain(_ graph: CorrelationGraph) -> [GraphDifference.Place: Edge] {
            Dictionary(
                graph.edges.map { edge in
                    var edge = edge
                    edge.detectedAt = edge.windowEnd
                    return (GraphDifference.Place(edge), edge)
                }
            ) { first, _ in first }
        }
        let (old, new) = (plain(stored), plain(made))
        let places = Set(old.keys).union(new.keys).filter { old[$0] != new[$0] }
        func values(_ edges: [GraphDifference.Place: Edge]) -> [GraphDifference.Place: EdgeValues] {
            Dictionary(
                uniqueKeysWithValues: places.compactMap { place in edges[place].map { (place, EdgeValues($0)) } })
        }
        return GraphDifference(from: values(old), to: values(new), keepsEqual: true)
    }
}
