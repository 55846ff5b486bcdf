import Engine
import Model
import PlantedData
import Testing

@Suite("Graph")
struct GraphTests {
    static func edge(
        _ source: String, _ target: String, _ relation: Edge.Relation = .leadLag, score: Double = 0.8,
        confidence: Double = 0.9, layer: Layer = .direct
    ) -> Edge {
        Edge(
            source: PlantedSeries.node(source), target: PlantedSeries.node(target), layer: layer, relation: relation,
            estimator: .pearson, score: score, lagBuckets: relation == .contemporaneous ? 0 : 1, latencyMs: 1,
            lagSource: .baseline, overlap: 120, effectiveSize: 100, intervalLow: 0, intervalHigh: 1, pValue: 0.01,
            qValue: 0.01, confidence: confidence, expectedPropagation: 1, bucketMs: 1,
            windowStart: Timestamp(milliseconds: 0), windowEnd: Timestamp(milliseconds: 120),
            detectedAt: Timestamp(milliseconds: 120))
    }

    @Test("directed edges are one arc, undirected ones two, sorted in rows")
    func sparseRows() throws {
        let graph = SparseGraph(edges: [
            Self.edge("b", "a"), Self.edge("a", "c"), Self.edge("b", "c", .contemporaneous),
        ])
        #expect(graph.nodes.map(\.venue) == ["a", "b", "c"])
        #expect(graph.rowStart == [0, 1, 3, 4])
        #expect(graph.column == [2, 0, 2, 1])
        #expect(graph.edgeIndex == [1, 0, 2, 2])
        #expect(graph.isReversed == [false, false, false, true])
        #expect(graph.number(of: PlantedSeries.node("c")) == 2)
        #expect(graph.number(of: PlantedSeries.node("x")) == nil)
        #expect(SparseGraph(edges: []).rowStart == [0])
    }

    @Test("an id ignores the order of layers and changes with every part")
    func identity() {
        let layers = Layer.allCases.map { LayerReport(layer: $0, state: .ok) }
        let digest = Digest128(high: 1, low: 2)
        func id(
            event: String = "e", configuration: String = "c", end: Int64 = 5, layers: [LayerReport], _ digest: Digest128
        ) -> String {
            GraphIdentity.id(
                event: event, configuration: configuration, windowEnd: Timestamp(milliseconds: end), layers: layers,
                digest: digest)
        }
        let plain = id(layers: layers, digest)
        #expect(plain.count == 64)
        #expect(id(layers: layers.reversed(), digest) == plain)
        var failed = layers
        failed[2].state = .failed
        var moved = digest
        moved.add(Digest128(high: 0, low: 1))
        let others = [
            id(event: "f", layers: layers, digest), id(configuration: "d", layers: layers, digest),
            id(end: 6, layers: layers, digest), id(layers: failed, digest), id(layers: layers, moved),
        ]
        #expect(Set(others + [plain]).count == 6)
    }

    @Test("filters choose edges and name their own entity tag")
    func filters() {
        let edges = [
            Self.edge("a", "b", confidence: 0.9), Self.edge("a", "c", confidence: 0.2),
            Self.edge("a", "d", confidence: 0.95, layer: .crossEvent),
        ]
        let graph = CorrelationGraph(
            id: "x", event: "e", windowEnd: Timestamp(milliseconds: 0),
            layers: Layer.allCases.map { LayerReport(layer: $0, state: .ok) }, edges: edges)
        #expect(GraphFilter(minConfidence: 0.5).applied(to: graph).edges == [edges[0], edges[2]])
        #expect(GraphFilter(layer: .crossEvent).applied(to: graph).edges == [edges[2]])
        #expect(GraphFilter(layer: .crossEvent).applied(to: graph).layers.map(\.layer) == [.crossEvent])
        #expect(GraphFilter(limit: 1).applied(to: graph).edges == [edges[0]])
        let tags = [GraphFilter(), GraphFilter(limit: 1), GraphFilter(layer: .direct), GraphFilter(minConfidence: 0.5)]
            .map { GraphIdentity.entityTag(id: "x", filter: $0) }
        #expect(Set(tags).count == 4)
        #expect(tags[0].hasPrefix("\"x-") && tags[0].hasSuffix("\""))
    }
}
