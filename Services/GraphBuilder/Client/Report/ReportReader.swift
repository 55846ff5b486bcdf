import Foundation
import Model

/// Collects the report's figures, every one of them through the gateway.
struct ReportReader {
    /// Pages of a list read at most.
    static let pageLimit = 40
    static let strongestPerLayer = 4
    static let leadingEdges = 8
    static let topAnomalies = 8

    let client: GatewayClient
    let samples: String
    let answersPath: String

    private struct Page<Item: Decodable & Sendable>: Decodable, Sendable {
        var items: [Item]
        var nextCursor: String?
    }

    private struct Event: Decodable, Sendable {
        var id: String
    }

    private struct Graph: Decodable, Sendable {
        var layers: [LayerReport]
        var edges: [Edge]
    }

    private struct Forecasts: Decodable, Sendable {
        var summary: ReportData.ForecastSummary
    }

    func read(replays: [ReplaySummary]) async throws -> ReportData {
        let domains: [ReportData.Domain] = try await self.all("/v1/domains")
        let events: [Event] = try await self.all("/v1/events?limit=200")
        var (edges, counts) = try await self.graphs(of: events.map(\.id))
        edges.sort { ($0.weight, $1.source, $1.target) > ($1.weight, $0.source, $0.target) }
        let strongest = Layer.allCases.flatMap { layer in
            edges.filter { $0.layer == layer }.prefix(Self.strongestPerLayer)
        }
        let leading = edges.filter { $0.latencyMs > 0 }.prefix(Self.leadingEdges)
        let propagation = try await self.propagation(edges)
        let forecasts: Forecasts = try await self.client.get("/v1/forecasts?limit=1")
        let trial = RootCauseTrial(client: self.client, samples: self.samples, answersPath: self.answersPath)
        return ReportData(
            domains: domains.sorted { $0.domain < $1.domain }, replays: replays, layers: counts, events: events.count,
            strongest: strongest, leading: Array(leading), anomalies: try await self.anomalies(),
            propagation: propagation,
            forecasts: forecasts.summary, rootCauses: try await trial.run(domains: domains.map(\.domain)))
    }

    static func encoded(_ text: String) -> String {
        let plain = CharacterSet(charactersIn: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
        return text.addingPercentEncoding(withAllowedCharacters: plain) ?? text
    }

    private func all<Item: Decodable & Sendable>(_ path: String, pages: Int = Self.pageLimit) async throws -> [Item] {
        var items: [Item] = []
        var cursor: String?
        for _ in 0..<pages {
            let mark = path.contains("?") ? "&" : "?"
            let page: Page<Item> = try await self.client.get(
                path + (cursor.map { mark + "cursor=" + Self.encoded($0) } ?? ""))
            items += page.items
            guard let next = page.nextCursor else { break }
            cursor = next
        }
        return items
    }

    /// All different edges of the events' graphs, and what became of their pairs.
    private func graphs(of events: [String]) async throws -> ([Edge], [ReportData.LayerCount]) {
        var seen: Set<String> = []
        var edges: [Edge] = []
        var counts = Layer.allCases.map {
            ReportData.LayerCount(layer: $0, edges: 0, pairs: 0, accepted: 0, states: [:])
        }
        for event in events {
            let graph: Graph
            do {
                graph = try await self.client.get("/v1/correlation-graph?eventId=\(Self.encoded(event))")
            } catch ClientFailure.refused(_, _, let answer) where answer.status == 404 {
                continue  // known, but never evaluated: too little data
            }
            for report in graph.layers {
                let index = report.layer.rawValue - 1
                counts[index].pairs += report.pairs
                counts[index].accepted += report.accepted
                if report.state != .ok { counts[index].states[report.state.rawValue, default: 0] += 1 }
            }
            for edge in graph.edges {
                let name = "\(edge.source.display)>\(edge.target.display)>\(edge.estimator.rawValue)"
                guard seen.insert(name).inserted else { continue }
                counts[edge.layer.rawValue - 1].edges += 1
                edges.append(edge)
            }
        }
        return (edges, counts)
    }

    private func anomalies() async throws -> ReportData.Anomalies {
        // One about a pair of two events is listed in both.
        struct Subject: Hashable {
            var kind: FindingKind
            var node: NodeKey
            var target: NodeKey?
            var openedAt: Timestamp
        }
        var known: Set<Subject> = []
        let all: [Anomaly] = try await self.all("/v1/anomalies?limit=500", pages: 8).filter { (anomaly: Anomaly) in
            known.insert(
                Subject(kind: anomaly.kind, node: anomaly.node, target: anomaly.target, openedAt: anomaly.openedAt)
            ).inserted
        }
        var byKind: [String: Int] = [:]
        for anomaly in all { byKind[anomaly.kind.rawValue, default: 0] += 1 }
        let order = Severity.allCases
        func rank(_ anomaly: Anomaly) -> (Int, Double, String) {
            let excess = anomaly.level == 0 ? 0 : abs(anomaly.peakStatistic / anomaly.level)
            return (order.firstIndex(of: anomaly.severity) ?? order.count, -excess, anomaly.id)
        }
        let top = all.sorted { rank($0) < rank($1) }
        return ReportData.Anomalies(
            read: all.count, byKind: byKind, top: Array(top.prefix(Self.topAnomalies)))
    }

    private struct Question: Encodable {
        var source: NodeKey
        var depth = 4
        var limit = 50
    }

    /// Where a change of the strongest leading node goes.
    private func propagation(_ edges: [Edge]) async throws -> ReportData.Propagation? {
        guard let source = edges.first(where: { $0.lagBuckets > 0 })?.source else { return nil }
        return try await self.client.post("/v1/propagation", Question(source: source))
    }
}
