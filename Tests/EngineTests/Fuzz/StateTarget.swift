import Engine
import Foundation
import Model

/// What a detector has learnt, stored as text, altered at some places and read back: it is refused, or goes on without reading
/// beyond what it holds. Unaltered it goes on as if nothing had been stored.
enum StateTarget {
    private struct State: Codable {
        var links: LinkDetector
        var residual: NodeResidualDetector
        var alarms = LinkAlarms(.deviations)
        var episodes: EpisodeTracker

        func validate() throws {
            try self.links.validate()
            try self.residual.validate()
            try self.alarms.validate()
        }

        mutating func observe(_ block: SeriesBlock, _ edges: [Edge]) -> [Finding] {
            let findings =
                self.links.observe(block: block, edges: edges)
                + self.residual.observe(
                    nodes: block.nodes, values: block.nodes.indices.map { block.row($0).last ?? .nan },
                    windowEnd: block.windowEnd
                ).findings
                + self.alarms.keep(StateTarget.excess(block), bucketMs: block.bucketMs, budget: AlarmBudget())
            _ = self.episodes.advance(to: block.windowEnd, findings: findings)
            return findings
        }
    }

    private static let nodes = (0..<3).map { NodeKey(domain: "d", event: "e", market: "m\($0)", venue: "v") }
    private static let length = 120

    static func faults(_ input: inout FuzzInput) -> [String] {
        let period: Int64 = input.byte() % 2 == 0 ? 0 : 8_000
        let rows = Self.nodes.map { _ in input.series(Self.length + 60, like: nil) }
        var state = State(
            links: LinkDetector(
                event: "e", settings: .init(recentBuckets: 10, presentBuckets: 20, baselineBuckets: 90, lagBuckets: 2)),
            residual: NodeResidualDetector(
                event: "e", domain: "d",
                settings: .init(
                    bucketMs: 1_000, periodMs: period, baselineBuckets: 20, presentBuckets: 10, historyBuckets: 40)),
            episodes: EpisodeTracker())
        for step in 0..<50 { _ = state.observe(Self.block(rows, step), Self.edges(step)) }
        let encoder = JSONEncoder()
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        let decoder = JSONDecoder()
        decoder.nonConformingFloatDecodingStrategy = .convertFromString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        guard let stored = try? encoder.encode(state) else { return ["the state cannot be stored"] }
        guard var same = try? decoder.decode(State.self, from: stored), (try? same.validate()) != nil else {
            return ["what was stored is refused"]
        }
        Self.alter(stored, &input, decoder)
        for step in 50..<60
        where same.observe(Self.block(rows, step), Self.edges(step))
            != state.observe(Self.block(rows, step), Self.edges(step))
        { return ["step \(step) differs after a restart"] }
        return []
    }

    /// A finding as far beyond its level as the newest value of the first node is large, up to 7.
    private static func excess(_ block: SeriesBlock) -> [Finding] {
        guard let value = block.row(0).last, value.isFinite, value != 0 else { return [] }
        let size = abs(value).truncatingRemainder(dividingBy: 7) + 0.1
        return [
            Finding(
                kind: .hiddenEdge, event: "e", node: block.nodes[0], target: block.nodes[1],
                windowEnd: block.windowEnd, bucketMs: block.bucketMs, statistic: 5 + size, level: 5, values: [:],
                reason: "")
        ]
    }

    /// Each alteration alone: a digit, or a character that ends or begins something.
    private static func alter(_ stored: Data, _ input: inout FuzzInput, _ decoder: JSONDecoder) {
        let rows = Self.nodes.map { _ in (0..<Self.length + 60).map(Double.init) }
        let marks = Array("0123456789-,.[]\"e".utf8)
        for _ in 0..<20 {
            var text = stored
            let place = text.startIndex + (input.below(65_536) * 65_536 + input.below(65_536)) % text.count
            text[place] = marks[input.below(marks.count)]
            guard var altered = try? decoder.decode(State.self, from: text), (try? altered.validate()) != nil else {
                continue
            }
            for step in 50..<53 { _ = altered.observe(Self.block(rows, step), Self.edges(step)) }
        }
    }

    private static func block(_ rows: [[Double]], _ step: Int) -> SeriesBlock {
        SeriesBlock(
            nodes: Self.nodes, bucketMs: 1_000, windowEnd: Timestamp(milliseconds: Int64(step + Self.length) * 1_000),
            length: Self.length, values: rows.flatMap { $0[step..<step + Self.length] })
    }

    private static func edges(_ step: Int) -> [Edge] {
        let end = Timestamp(milliseconds: Int64(step + Self.length) * 1_000)
        return [
            Edge(
                source: Self.nodes[0], target: Self.nodes[1], layer: .crossMarket, relation: .leadLag,
                estimator: .pearson, score: 0.9, lagBuckets: 1, latencyMs: 1_000, lagSource: .baseline, overlap: 20,
                effectiveSize: 20, intervalLow: 0.8, intervalHigh: 0.95, pValue: 0, qValue: 0, confidence: 0.9,
                expectedPropagation: 1, bucketMs: 1_000, windowStart: end.advanced(byMilliseconds: -20_000),
                windowEnd: end, detectedAt: end)
        ]
    }
}
