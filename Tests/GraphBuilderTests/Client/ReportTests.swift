import Foundation
import Model
import Testing

@testable import GraphBuilder

@Suite("Report")
struct ReportTests {
    private static func node(_ event: String, _ venue: String = "v") -> NodeKey {
        NodeKey(domain: "d", event: event, market: "m", venue: venue)
    }

    private static let time = Timestamp(milliseconds: 1_534_032_000_000)

    private static func edge(_ source: String, _ target: String, lag: Int, score: Double) -> Edge {
        Edge(
            source: Self.node(source), target: Self.node(target), layer: .crossEvent,
            relation: lag == 0 ? .contemporaneous : .leadLag, estimator: .pearson, score: score, lagBuckets: lag,
            latencyMs: Double(lag) * 15_000, lagSource: .baseline, overlap: 120, effectiveSize: 87.6,
            intervalLow: score - 0.05, intervalHigh: score + 0.02, pValue: 1e-9, qValue: 1e-8, confidence: 0.987,
            expectedPropagation: 2, bucketMs: 15_000, windowStart: Self.time, windowEnd: Self.time,
            detectedAt: Self.time)
    }

    private static let empty = ReportData(
        domains: [], replays: [],
        layers: Layer.allCases.map { .init(layer: $0, edges: 0, pairs: 0, accepted: 0, states: [:]) }, events: 0,
        strongest: [], leading: [], anomalies: .init(read: 0, byKind: [:], top: []), propagation: nil,
        forecasts: .init(forecasts: 0, scored: 0), rootCauses: [])

    private static let connection = ConnectionFile(url: "https://h:1", caFile: "/ca.pem", apiKey: "uc_k")

    private static func lines(_ data: ReportData) -> [String] {
        ReportText(data: data, connection: Self.connection).text.split(
            separator: "\n", omittingEmptySubsequences: false
        )
        .map(String.init)
    }

    @Test("an empty system is told as empty, never as a number")
    func nothing() {
        #expect(
            ReportText(data: Self.empty, connection: Self.connection).text == """
                OBSERVATIONS: 0 nodes in 0 domains
                  domain  events  nodes  observations  bucket  evaluated up to

                GRAPHS of 0 events: edges per layer
                  layer            edges  pairs tested  accepted  state
                  L1 direct            0             0         0  ok
                  L2 cross-market      0             0         0  ok
                  L3 cross-event       0             0         0  ok
                  L4 cross-domain      0             0         0  ok
                  (edges: different ones among the 50 strongest of each event and layer; pairs of two events count in both)

                STRONGEST EDGES of each layer
                  none

                WHO MOVES FIRST (the target follows the source after the lag)
                  none

                TOP ANOMALIES of 0 episodes
                  none

                FORECASTS
                  no edge with a lag stands now, so nothing can be forecast
                  past forecasts: 0 recorded after observed moves, 0 scored at their horizon

                ROOT CAUSES of the known faults (answers fetched and written first, labels read afterwards)
                  the recordings with known faults are not loaded

                GOING ON
                  URL  https://h:1
                  key  uc_k

                  curl -sS --cacert '/ca.pem' -H 'X-API-Key: uc_k' 'https://h:1/v1/anomalies?limit=3'
                  curl -sS --cacert '/ca.pem' -H 'X-API-Key: uc_k' 'https://h:1/v1/events'
                  curl -sS --cacert '/ca.pem' -H 'X-API-Key: uc_k' 'https://h:1/v1/domains'

                """)
    }

    @Test("observations, layers and edges are told with their units, intervals and states")
    func graphs() {
        var data = Self.empty
        data.domains = [
            .init(
                domain: "market", nodes: 2_000, events: 1, observations: 14_404, bucketMs: 15_000,
                newestObservation: nil, lastEvaluated: Self.time, pendingBuckets: 0),
            .init(domain: "new", nodes: 5, events: 2, pendingBuckets: 0),
        ]
        var replay = ReplaySummary(file: "a")
        replay.sent = 30_000
        replay.seconds = 1.5
        replay.rejected = 1
        replay.badRows = 2
        data.replays = [replay, replay]
        data.layers[3].states = ["degraded": 3, "failed": 1]
        data.strongest = [Self.edge("a", "b c", lag: 0, score: -0.9)]
        data.leading = [Self.edge("a", "b c", lag: 2, score: 0.9)]
        let lines = Self.lines(data)
        #expect(lines[0] == "OBSERVATIONS: 2,005 nodes in 2 domains")
        #expect(lines[2] == "  market       1  2,000        14,404    15 s  2018-08-12T00:00:00.000Z")
        #expect(lines[3] == "  new          2      5             -       -  not yet")
        #expect(
            lines[4]
                == "  replayed through the gateway: 60,000 observations in 3.0 s = 20,000 observations/s; 0 duplicates, 6 rejected"
        )
        #expect(lines.contains { $0.hasSuffix("degraded in 3 events, failed in 1 events") })
        #expect(
            lines.contains(
                "  L3     a|m|v   b c|m|v  -0.900  [-0.950, -0.880]    0     88        0.99  pearson"), "\(lines)")
        #expect(
            lines.contains(
                "  L3     a|m|v   b c|m|v  0.900  [0.850, 0.920]  30 s     88        0.99  pearson"), "\(lines)")
        #expect(lines.contains { $0.contains("'https://h:1/v1/correlation-graph?eventId=a'") })
    }

    @Test("anomalies, the longest path, past forecasts and root causes are told with their reasons and shares")
    func decisions() {
        var data = Self.empty
        data.anomalies = .init(
            read: 1_200, byKind: ["hiddenEdge": 200, "nodeResidual": 1_000],
            top: [
                Anomaly(
                    id: "1", kind: .hiddenEdge, event: "a", node: Self.node("a"), target: Self.node("b"),
                    layer: .crossEvent, startedAt: Self.time, openedAt: Self.time, closedAt: nil, severity: .critical,
                    peakStatistic: 9, level: 4, values: [:], reason: "was never there before")
            ])
        func path(_ targets: [String], confidence: Double) -> ReportData.Path {
            .init(
                target: Self.node(targets.last ?? ""),
                hops: targets.enumerated().map { index, target in
                    .init(
                        from: Self.node("a"), to: Self.node(target), layer: .crossEvent, r: 0.876, confidence: 0.9,
                        cumulativeLatencyMs: Double(index + 1) * 60_000)
                }, confidence: confidence, response: 1, impact: -1_234.4, impactInterval: .init(low: -2_000, high: 0.5),
                latencyMs: 1)
        }
        data.propagation = .init(
            source: Self.node("a"), shock: .init(value: 2.5, basis: "standardDeviation"),
            reached: [
                path(["x"], confidence: 0.99), path(["b", "c"], confidence: 0.4), path(["b", "d"], confidence: 0.5),
            ])
        data.forecasts = .init(
            forecasts: 50, scored: 40, coverage: .init(value: 0.75, low: 0.6, high: 0.86, n: 40),
            signHitRate: .init(value: 0.9, low: 0.77, high: 0.96, n: 40), baseRate: 0.5)
        let share = HitShare(hits: 1, of: 2)
        data.rootCauses = [
            .init(
                recording: "R",
                cases: [
                    .init(
                        recording: "R", name: "fault 1", top3: ["cart", "a", "b"], rank: 1, rootCause: "cart",
                        fault: "cpu", reason: "", strength: 2),
                    .init(
                        recording: "R", name: "fault 2", top3: [], rank: nil, rootCause: "mail", fault: "net",
                        reason: "", strength: 1),
                ], at1: share, at3: share, at5: share)
        ]
        let lines = Self.lines(data)
        for expected in [
            "TOP ANOMALIES of 1,200 episodes (1,000 nodeResidual, 200 hiddenEdge)",
            "  CRITICAL hiddenEdge a|m|v -> b|m|v, opened 2018-08-12T00:00:00.000Z", "      was never there before",
            "  where a change of 2.50 of a|m|v goes:",
            "      after 60 s: b|m|v (L3, r 0.88, confidence 0.90)",
            "      after 2 min: d|m|v (L3, r 0.88, confidence 0.90)",
            "      expected there: -1,234 [-2,000, 0.5000] in its own units, confidence of the whole path 0.50",
            "      3 nodes are reached within 4 hops",
            "  past forecasts: 50 recorded after observed moves, 40 scored at their horizon",
            "      direction right: 90 % [77-96] of 40; by chance it would be 50 %",
            "      80 % interval held the outcome: 75 % [60-86] of 40",
            "  R          1/2 = 50 % [9-91]  1/2 = 50 % [9-91]  1/2 = 50 % [9-91]",
            "  fault 1  cpu    cart                1  cart         a, b",
            "  fault 2  net    mail        not named",
        ] {
            #expect(lines.contains(expected), "\(expected)\n\(lines.joined(separator: "\n"))")
        }
        // Neither the shorter path nor the less sure one of the same length.
        #expect(!lines.contains { $0.contains("x|m|v") || $0.contains("c|m|v (") })
        // What is shown to try is what was tried.
        let question = RootCauseTrial.nezhaBody(at: Timestamp(milliseconds: 1_661_140_434_000))
        #expect(lines.contains { $0.contains("-d '\(question)' 'https://h:1/v1/root-causes'") })
        data.propagation?.reached = []
        data.propagation?.reason = "no accepted edge leads away"
        #expect(Self.lines(data).contains("      nowhere: no accepted edge leads away"))
    }

    @Test("the report reads every page, counts an edge of two events once, and passes over events without a graph")
    func reading() async throws {
        let shared = Self.edge("a", "b", lag: 1, score: 0.8)
        let own = Self.edge("a", "c", lag: 0, score: 0.95)
        func graph(_ edges: [Edge], state: LayerReport.State) throws -> String {
            struct Graph: Encodable {
                var layers: [LayerReport]
                var edges: [Edge]
            }
            let graph = Graph(
                layers: [LayerReport(layer: .crossEvent, state: state, pairs: 5, accepted: edges.count)], edges: edges)
            return String(decoding: try JSONEncoder().encode(graph), as: UTF8.self)
        }
        let graphs = ["a": try graph([own, shared], state: .ok), "b b": try graph([shared], state: .degraded)]
        try await FakeGateway.with({ question in
            let path = question.path
            if path.hasPrefix("/v1/domains") {
                return .init(
                    body:
                        #"{"items":[{"domain":"z","nodes":1,"events":1,"pendingBuckets":0},{"domain":"d","nodes":3,"events":3,"pendingBuckets":0}]}"#
                )
            }
            if path.hasPrefix("/v1/events?limit=200&cursor=c%2B1") {
                return .init(body: #"{"items":[{"id":"b b"},{"id":"young"}]}"#)
            }
            if path.hasPrefix("/v1/events") { return .init(body: #"{"items":[{"id":"a"}],"nextCursor":"c+1"}"#) }
            if path.hasPrefix("/v1/correlation-graph") {
                let event = path.split(separator: "=").last.map { String($0).replacing("%20", with: " ") } ?? ""
                return graphs[event].map { .init(body: $0) } ?? .init(status: 404)
            }
            if path.hasPrefix("/v1/anomalies") { return .init(body: #"{"items":[]}"#) }
            if path.hasPrefix("/v1/forecasts") { return .init(body: #"{"summary":{"forecasts":3,"scored":1}}"#) }
            let node = #"{"domain":"d","event":"a","market":"m","venue":"v"}"#
            return .init(body: #"{"source":\#(node),"reached":[],"reason":"none"}"#)
        }) { gateway, client in
            let reader = ReportReader(client: client, samples: "/nowhere", answersPath: "/nowhere/a")
            let data = try await reader.read(replays: [])
            #expect(data.domains.map(\.domain) == ["d", "z"] && data.events == 3)
            let layer = data.layers[2]
            #expect(layer.edges == 2 && layer.pairs == 10 && layer.accepted == 3 && layer.states == ["degraded": 1])
            #expect(data.strongest == [own, shared] && data.leading == [shared])
            #expect(data.propagation?.reason == "none" && data.forecasts.forecasts == 3 && data.rootCauses.isEmpty)
            let asked = gateway.questions.first { $0.path == "/v1/propagation" }
            #expect((asked?.json["source"] as? [String: Any])?["event"] as? String == "a")
        }
    }
}
