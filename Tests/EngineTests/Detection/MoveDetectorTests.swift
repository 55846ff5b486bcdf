import Engine
import Foundation
import Model
import PlantedData
import Testing

@Suite("Moves")
struct MoveDetectorTests {
    static func block(last: Double, jumps: Bool = false) -> SeriesBlock {
        var random = SeededNumbers(seed: 21)
        var level = 100.0
        var row: [Double] = []
        for bucket in 0..<800 {
            level += random.normal() + (jumps && bucket % 100 == 50 ? 40 : 0)
            row.append(level)
        }
        row.append(level + last)
        return SeriesBlock(
            nodes: [TestGraph.node(0)], bucketMs: 1_000, windowEnd: Timestamp(milliseconds: 900_000),
            length: row.count, values: row)
    }

    @Test("a change beyond three of the node's own sd is a move, with its size, sd and directed edges")
    func findsMove() throws {
        let edges = [TestGraph.edge(0, 1, score: 0.6), TestGraph.edge(0, 2, score: 0.9), TestGraph.edge(0, 3, lag: 0)]
        let finding = try #require(
            MoveDetector(transform: .level).observe(block: Self.block(last: -5), event: "e", edges: edges).first)
        #expect(abs((finding.values["move"] ?? 0) - -5) < 1e-9)
        #expect((0.9...1.1).contains(finding.values["sourceSd"] ?? 0))
        #expect(finding.edges.map(\.target) == [TestGraph.node(2), TestGraph.node(1)])
    }

    @Test("a change of two sd is none, and other events' nodes are not looked at")
    func ignoresNoise() {
        let detector = MoveDetector(transform: .level)
        #expect(detector.observe(block: Self.block(last: 2), event: "e", edges: []).isEmpty)
        #expect(detector.observe(block: Self.block(last: 50), event: "other", edges: []).isEmpty)
    }

    @Test("past jumps do not hide the next one")
    func isRobust() {
        let found = MoveDetector(transform: .level).observe(
            block: Self.block(last: 6, jumps: true), event: "e", edges: [])
        #expect(found.count == 1)
    }
}
