import Engine
import Model
import PlantedData
import Testing

@Suite("Hidden edges")
struct HiddenEdgeDetectorTests {
    static let source = NodeKey(domain: "d", event: "cart", market: "cpu", venue: "v")
    static let target = NodeKey(domain: "d", event: "pay", market: "cpu", venue: "v")
    static let end = Timestamp(milliseconds: 10_000 * 60_000)

    /// Two series with correlation `before` up to the last 100 buckets and `after` from there on.
    static func block(before: Double, after: Double, length: Int = 840) -> SeriesBlock {
        var random = SeededNumbers(seed: 11)
        var rows: [[Double]] = [[], []]
        for bucket in 0..<length {
            let score = bucket >= length - 100 ? after : before
            let one = random.normal()
            rows[0].append(one)
            rows[1].append(score * one + (1 - score * score).squareRoot() * random.normal())
        }
        return SeriesBlock(
            nodes: [Self.source, Self.target], bucketMs: 60_000, windowEnd: Self.end, length: length,
            values: rows.flatMap { $0 })
    }

    static func edge(age: Int64 = 5) -> Edge {
        Edge(
            source: Self.source, target: Self.target, layer: .crossEvent, relation: .contemporaneous,
            estimator: .pearson, score: 0.8, lagBuckets: 0, latencyMs: 0, lagSource: .baseline, overlap: 120,
            effectiveSize: 120, intervalLow: 0.7, intervalHigh: 0.9, pValue: 0, qValue: 0, confidence: 0.8,
            expectedPropagation: 1, bucketMs: 60_000, windowStart: Self.end.advanced(byMilliseconds: -7_200_000),
            windowEnd: Self.end, detectedAt: Self.end.advanced(byMilliseconds: -age * 60_000))
    }

    static func observe(
        _ block: SeriesBlock, edge: Edge = edge(), declared: DeclaredPairs = DeclaredPairs()
    ) -> [Finding] {
        HiddenEdgeDetector().observe(event: "cart", block: block, edges: [edge], declared: declared, partners: 50)
    }

    @Test("a new edge the baseline does not show is found, with both correlations")
    func findsNewEdge() throws {
        let finding = try #require(Self.observe(Self.block(before: 0, after: 0.9)).first)
        #expect(finding.kind == .hiddenEdge)
        #expect(finding.target == Self.target)
        #expect(finding.statistic > finding.level)
        #expect(abs(finding.values["baselineScore"] ?? 1) < 0.15)
        #expect(finding.values["presentScore"] == 0.8)
    }

    @Test("a declared pair is not hidden, whichever way round it was declared")
    func knowsTopology() {
        let block = Self.block(before: 0, after: 0.9)
        #expect(Self.observe(block, declared: DeclaredPairs([("cart", "pay")])).isEmpty)
        #expect(Self.observe(block, declared: DeclaredPairs([("pay", "cart")])).isEmpty)
        #expect(!Self.observe(block, declared: DeclaredPairs([("pay", "ads")])).isEmpty)
    }

    @Test("an edge of the baseline, an old edge and a short baseline say nothing")
    func staysQuiet() {
        #expect(Self.observe(Self.block(before: 0.75, after: 0.9)).isEmpty)
        #expect(Self.observe(Self.block(before: 0, after: 0.9), edge: Self.edge(age: 120)).isEmpty)
        #expect(Self.observe(Self.block(before: 0, after: 0.9, length: 479)).isEmpty)
    }
}
