import Engine
import Model
import Testing

/// What callers must have checked ends the process instead of giving a number that means nothing.
@Suite("Preconditions of the engine")
struct PreconditionTests {
    private static let time = Timestamp(milliseconds: 1_600_000_000_000)

    @Test("a block holds its nodes in order, one row each")
    func block() async {
        await #expect(processExitsWith: .failure) {
            _ = SeriesBlock(
                nodes: [Self.node("b"), Self.node("a")], bucketMs: 1, windowEnd: Self.time, length: 1, values: [1, 2])
        }
        await #expect(processExitsWith: .failure) {
            _ = SeriesBlock(nodes: [Self.node("a")], bucketMs: 1, windowEnd: Self.time, length: 2, values: [1])
        }
    }

    @Test("a grid takes values of its own nodes")
    func grid() async {
        await #expect(processExitsWith: .failure) {
            var grid = ObservationGrid(
                nodeCount: 2, bucketMs: 1_000, after: Self.time, through: Self.time.advanced(byMilliseconds: 10_000))
            grid.add(node: -1, time: Self.time.advanced(byMilliseconds: 9_500), value: 1)
        }
        await #expect(processExitsWith: .failure) {
            _ = ObservationGrid(nodeCount: 1, bucketMs: 1_000, after: Self.time, through: Self.time)
        }
    }

    @Test("a root-cause question has the grid of its own nodes")
    func rootCause() async {
        await #expect(processExitsWith: .failure) {
            let after = Self.time.advanced(byMilliseconds: 60_000)
            let through = after.advanced(byMilliseconds: 10_000)
            _ = RootCauseInput(
                nodes: [], grid: ObservationGrid(nodeCount: 1, bucketMs: 1_000, after: Self.time, through: through),
                after: after, through: through, baselineMs: 60_000)
        }
    }

    @Test("filters, shocks and thresholds are numbers in their range")
    func ranges() async {
        await #expect(processExitsWith: .failure) { _ = GraphFilter(minConfidence: .nan) }
        await #expect(processExitsWith: .failure) { _ = GraphFilter(limit: -1) }
        await #expect(processExitsWith: .failure) {
            _ = PathSearch(edges: []).blastRadius(from: Self.node("a"), depth: 1, shock: .infinity)
        }
        await #expect(processExitsWith: .failure) { _ = LayerThresholds(direct: 1) }
    }

    @Test("what is learnt from comes in order and adds up")
    func order() async {
        await #expect(processExitsWith: .failure) {
            var lives = EdgeLives(patience: 4)
            for _ in 0..<2 { _ = lives.follow([], at: Self.time) { _, _ in nil } }
        }
        await #expect(processExitsWith: .failure) {
            _ = ForecastCalibrator(ratios: [], intervals: 1, misses: 2, pendingUntil: nil)
        }
        await #expect(processExitsWith: .failure) { _ = Proportion(hits: 3, of: 2) }
    }

    private static func node(_ name: String) -> NodeKey {
        NodeKey(domain: "d", event: "e", market: "m", venue: name)
    }
}
