import Foundation
import Model
import PlantedData
import Testing

@testable import Engine

@Suite("Links when a declared period begins to be taken off")
struct LinkSeasonTests {
    private static let period = 60
    private static let shape = WindowShape(present: 30, baseline: 180, lag: 0)
    private static let nodes = ["m", "n"].map { NodeKey(domain: "d", event: "e", market: $0, venue: "v") }

    /// Two nodes on a cycle of steps, and nothing else in common.
    private static func series(_ count: Int) -> [[Double]] {
        var numbers = SeededNumbers(seed: 61)
        let cycle = (0..<Self.period).map { _ in 20 * numbers.normal() }
        return Self.nodes.map { _ in (0..<count).map { cycle[$0 % Self.period] + numbers.normal() } }
    }

    private static func edge(_ windowEnd: Timestamp) -> Edge {
        Edge(
            source: Self.nodes[0], target: Self.nodes[1], layer: .direct, relation: .contemporaneous,
            estimator: .pearson, score: 0.98, lagBuckets: 0, latencyMs: 0, lagSource: .baseline, overlap: 30,
            effectiveSize: 30,
            intervalLow: 0.95, intervalHigh: 0.99, pValue: 0, qValue: 0, confidence: 0.9, expectedPropagation: 1,
            bucketMs: 60_000, windowStart: windowEnd.advanced(byMilliseconds: -30 * 60_000), windowEnd: windowEnd,
            detectedAt: windowEnd)
    }

    @Test("a cycle that was all two nodes shared is no break when it is known well enough to be taken off")
    func noBreak() throws {
        let series = Self.series(420)
        var detector = LinkDetector(
            event: "e", settings: .init(recentBuckets: 10, presentBuckets: 30, baselineBuckets: 180, lagBuckets: 0))
        var periods: Set<Int> = []
        for end in 100..<420 {
            // The history grows until it holds two periods before the present, and beyond.
            let start = max(0, end - 210)
            let windowEnd = Timestamp(milliseconds: Int64(end) * 60_000)
            let block = SeriesBlock(
                nodes: Self.nodes, bucketMs: 60_000, windowEnd: windowEnd, length: end - start,
                values: series.flatMap { $0[start..<end] }
            ).withoutSeasons(["d": Int64(Self.period) * 60_000], shape: Self.shape)
            periods.formUnion(block.removedPeriods.values)
            // Accepted while the cycle was in it.
            let edges = block.removedPeriods["d"] == 0 ? [Self.edge(windowEnd)] : []
            #expect(detector.observe(block: block, edges: edges).isEmpty, "at \(end)")
            // As a new owner would, half the way.
            if end == 260 {
                detector = try JSONDecoder().decode(LinkDetector.self, from: JSONEncoder().encode(detector))
            }
        }
        #expect(periods == [0, Self.period], "both must have been seen")
    }
}
