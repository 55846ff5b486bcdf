import Engine
import Foundation
import Model

/// Makes the graph of an event out of its newest evaluations, one per domain it has nodes in.
struct GraphAssembler {
    let cache: SeriesCache
    let thresholds: LayerThresholds
    private var configurations: [[String]: String] = [:]

    init(cache: SeriesCache, thresholds: LayerThresholds) {
        self.cache = cache
        self.thresholds = thresholds
    }

    /// - Parameter parts: of one event, one per domain, at least one.
    mutating func graph(event: String, parts: [DomainEvaluator.Part]) -> CorrelationGraph? {
        let parts = parts.sorted { $0.domain < $1.domain }
        guard let newest = parts.map(\.windowEnd).max() else { return nil }
        let layers = Layer.allCases.map { layer in
            Self.joined(layer, parts.compactMap { part in part.evaluation.layers.first { $0.layer == layer } })
        }
        let ids = parts.map { self.id($0, event: event) }
        let id =
            ids.count == 1
            ? ids[0]
            : GraphIdentity.id(
                event: event, configuration: ids.joined(separator: " "), windowEnd: newest, layers: layers,
                digest: .zero)
        return CorrelationGraph(
            id: id, event: event, windowEnd: newest, layers: layers, edges: Self.edges(parts.map(\.evaluation)))
    }

    /// What that graph is made from.
    func recipe(parts: [DomainEvaluator.Part]) -> GraphRecipe {
        var recipe = GraphRecipe(
            engine: GraphIdentity.engineVersion, thresholds: self.thresholds, parts: [], domains: [:])
        for part in parts.sorted(by: { $0.domain < $1.domain }) {
            recipe.parts.append(
                GraphRecipe.Part(
                    domain: part.domain, windowEnd: part.windowEnd, ready: part.partners.ready,
                    late: part.partners.late))
            for name in [part.domain] + part.partners.ready {
                guard let domain = self.cache.domains[name], let clock = domain.clock else { continue }
                let end = clock.bucket(of: part.windowEnd.milliseconds)
                let start = (end - Int64(domain.neededBuckets)) * clock.bucketMs
                let oldest = max(start, domain.nodes.lazy.map(\.firstMs).min() ?? start)
                let known = recipe.domains[name]?.oldest.milliseconds ?? .max
                recipe.domains[name] = GraphRecipe.Source(
                    bucketMs: clock.bucketMs, oldest: Timestamp(milliseconds: min(known, oldest)))
            }
        }
        return recipe
    }

    private static func edges(_ evaluations: [EventEvaluation]) -> [Edge] {
        guard evaluations.count > 1 else { return evaluations.first?.kept ?? [] }
        var seen: Set<EdgeKey> = []
        var merged: [Edge] = []
        // An edge between two domains the event has nodes in comes from both: the first in order of names stays.
        for edge in evaluations.flatMap(\.accepted) where seen.insert(EdgeKey(edge)).inserted { merged.append(edge) }
        merged.sort {
            ($0.layer, $1.weight, $0.source, $0.target, $0.estimator.rawValue) < (
                $1.layer, $0.weight, $1.source, $1.target, $1.estimator.rawValue
            )
        }
        return EventEvaluation(event: "", layers: [], accepted: merged).kept
    }

    /// Counts add up; the worst state counts for all.
    private static func joined(_ layer: Layer, _ reports: [LayerReport]) -> LayerReport {
        let ranks: [LayerReport.State] = [.ok, .stale, .degraded, .standby, .failed]
        var joined = LayerReport(layer: layer, state: .ok)
        for report in reports {
            joined.pairs += report.pairs
            joined.accepted += report.accepted
            joined.rejected += report.rejected
            joined.short += report.short
            joined.constant += report.constant
            if (ranks.firstIndex(of: report.state) ?? 0) > (ranks.firstIndex(of: joined.state) ?? 0) {
                joined.state = report.state
                joined.reason = report.reason
            }
        }
        return joined
    }

    private mutating func id(_ part: DomainEvaluator.Part, event: String) -> String {
        GraphIdentity.id(
            event: event, configuration: self.configuration([part.domain] + part.partners.ready),
            windowEnd: part.windowEnd,
            layers: part.evaluation.layers, digest: part.digest)
    }

    private mutating func configuration(_ domains: [String]) -> String {
        if let known = self.configurations[domains] { return known }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        var text = ""
        for name in domains {
            guard let domain = self.cache.domains[name] else { continue }
            let profile = (try? encoder.encode(domain.profile)) ?? Data()
            text += String(decoding: profile, as: UTF8.self) + " \(domain.clock?.bucketMs ?? 0)\n"
        }
        text += ((try? encoder.encode(self.thresholds)).map { String(decoding: $0, as: UTF8.self) }) ?? ""
        self.configurations[domains] = text
        return text
    }
}
