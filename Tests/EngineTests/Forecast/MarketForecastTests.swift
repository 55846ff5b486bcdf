import Engine
import Foundation
import Model
import Recordings
import Testing

/// bitFlyer's moves forecast btcbox 15 s later: a recorded morning of two venues, in 5 s buckets.
@Suite("Market forecasts")
struct MarketForecastTests {
    static let bucketMs: Int64 = 5_000
    static let latencyBuckets = 3

    /// Log price of each venue at each bucket's end, held, from the first bucket both are known in.
    static func logPrices() throws -> (nodes: [NodeKey], rows: [[Double]], first: Int64) {
        let path = LabelledServer.samples.appending(path: "market-btcjpy/btcjpy-2018-08-12-am.csv.gz").path
        let reader = try RecordingReader(path: path)
        var ticks: [NodeKey: [Int64: Double]] = [:]
        while let tick = try reader.next() {
            ticks[tick.node, default: [:]][tick.time.milliseconds / Self.bucketMs] = log(tick.value)
        }
        let nodes = ticks.keys.sorted()
        let first = ticks.values.compactMap { $0.keys.min() }.max() ?? 0
        let last = ticks.values.compactMap { $0.keys.max() }.min() ?? 0
        let rows = nodes.map { node in
            var held = 0.0
            for (_, price) in (ticks[node] ?? [:]).filter({ $0.key <= first }).sorted(by: { $0.key < $1.key }) {
                held = price
            }
            return (first...last).map { bucket in
                held = ticks[node]?[bucket] ?? held
                return held
            }
        }
        return (nodes, rows, first)
    }

    /// What the follower did over the horizon per unit of the leader's one-bucket change, on all buckets up to now.
    struct Slope {
        var product = 0.0
        var square = 0.0
        var value: Double { self.square > 0 ? self.product / self.square : 0 }

        mutating func add(_ leader: Double, _ follower: Double) {
            self.product += leader * follower
            self.square += leader * leader
        }
    }

    @Test("sign hits are far above the base rate and 80 % intervals cover 75 to 85 %")
    func beatsChance() throws {
        let (nodes, rows, first) = try Self.logPrices()
        let leader = try #require(nodes.firstIndex { $0.venue.lowercased().contains("bitflyer") })
        let follower = 1 - leader
        let length = 722
        let horizon = Self.latencyBuckets + 1
        let detector = MoveDetector(transform: .level)
        var calibrators: [ForecastPair: ForecastCalibrator] = [:]
        var pending: [(bucket: Int, forecast: Forecast)] = []
        var scores: [ForecastScore] = []
        var slope = Slope()
        for bucket in length..<rows[leader].count {
            if let due = pending.first, due.bucket == bucket {
                let outcome = rows[follower][bucket] - rows[follower][bucket - horizon]
                scores.append(ForecastScore(due.forecast, outcome: outcome, baseRate: nil))
                let pair = ForecastPair(source: due.forecast.source, target: due.forecast.target)
                calibrators[pair]?.learn(due.forecast, outcome: outcome)
                pending.removeFirst()
            }
            let past = bucket - horizon
            slope.add(
                rows[leader][past] - rows[leader][past - 1], rows[follower][bucket] - rows[follower][past])
            let end = Timestamp(milliseconds: (first + Int64(bucket) + 1) * Self.bucketMs)
            let block = SeriesBlock(
                nodes: [nodes[leader]], bucketMs: Self.bucketMs, windowEnd: end, length: length,
                values: Array(rows[leader][bucket - length + 1...bucket]))
            let edge = Self.edge(nodes[leader], nodes[follower], beta: slope.value, end: end)
            for move in detector.observe(block: block, event: nodes[leader].event, edges: [edge]) {
                pending += Forecast.forecasts(after: move, calibrators: &calibrators).map { (bucket + horizon, $0) }
            }
        }
        let summary = ForecastSummary(scores)
        #expect(summary.scored > 100)
        #expect((summary.signHits?.value ?? 0) > 0.65)
        #expect((summary.signHits?.low ?? 0) > 0.55)
        #expect((0.75...0.85).contains(summary.coverage?.value ?? 0))
    }

    static func edge(_ source: NodeKey, _ target: NodeKey, beta: Double, end: Timestamp) -> Edge {
        Edge(
            source: source, target: target, layer: .direct, relation: .leadLag, estimator: .hayashiYoshida, score: 0.15,
            lagBuckets: Self.latencyBuckets, latencyMs: 15_000, lagSource: .present, overlap: 720, effectiveSize: 720,
            intervalLow: 0.1, intervalHigh: 0.2, pValue: 0, qValue: 0, confidence: 0.9, expectedPropagation: beta,
            bucketMs: Self.bucketMs, windowStart: end, windowEnd: end, detectedAt: end)
    }
}
