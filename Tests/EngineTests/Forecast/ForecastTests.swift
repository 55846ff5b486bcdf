import Engine
import Foundation
import Model
import PlantedData
import Testing

@Suite("Forecasts")
struct ForecastTests {
    static func move(_ bucket: Int, size: Double, sd: Double = 1, edges: [Edge]) -> Finding {
        Finding(
            kind: .move, event: "e", node: TestGraph.node(0), windowEnd: Timestamp(milliseconds: Int64(bucket) * 1_000),
            bucketMs: 1_000, statistic: abs(size) / sd, level: 3, values: ["move": size, "sourceSd": sd],
            reason: "moved",
            edges: edges)
    }

    @Test("a move is forecast along directed edges only: beta x move, due at latency plus one bucket")
    func followsEdges() {
        var calibrators: [ForecastPair: ForecastCalibrator] = [:]
        let edges = [TestGraph.edge(0, 1, lag: 3, beta: -2), TestGraph.edge(0, 2, lag: 0, beta: 5)]
        let forecasts = Forecast.forecasts(
            after: Self.move(100, size: 4, edges: edges), calibrators: &calibrators)
        #expect(forecasts.count == 1)
        #expect(forecasts.first?.expectedChange == -8)
        #expect(forecasts.first?.horizonAt == Timestamp(milliseconds: 104_000))
        #expect(forecasts.first?.intervalLow == nil)
    }

    @Test("a pair makes no second forecast before the first has come to its horizon")
    func neverOverlaps() {
        var calibrators: [ForecastPair: ForecastCalibrator] = [:]
        let edges = [TestGraph.edge(0, 1, lag: 3)]
        let counts = [100, 102, 103, 104, 106, 108].map { bucket in
            Forecast.forecasts(after: Self.move(bucket, size: 4, edges: edges), calibrators: &calibrators).count
        }
        #expect(counts == [1, 0, 0, 1, 0, 1])
    }

    @Test(
        "on a planted chain 80 % intervals cover 75 to 85 %, whatever the law of the errors", arguments: [false, true])
    func intervalsCover(isHeavy: Bool) {
        var random = SeededNumbers(seed: isHeavy ? 5 : 4)
        var calibrators: [ForecastPair: ForecastCalibrator] = [:]
        let edge = TestGraph.edge(0, 1, lag: 2, beta: 0.5)
        let pair = ForecastPair(source: edge.source, target: edge.target)
        var scores: [ForecastScore] = []
        for step in 0..<1_000 {
            // The noise level triples half-way: the interval must follow.
            let sd = step < 500 ? 1.0 : 3.0
            let size = (3 + random.uniform()) * sd * (random.uniform() < 0.5 ? 1 : -1)
            let move = Self.move(10 * step, size: size, sd: sd, edges: [edge])
            for forecast in Forecast.forecasts(after: move, calibrators: &calibrators) {
                let error = (isHeavy ? random.heavy() : random.normal()) * sd
                let outcome = 0.5 * size + error
                scores.append(ForecastScore(forecast, outcome: outcome, baseRate: 0.5))
                calibrators[pair]?.learn(forecast, outcome: outcome)
            }
        }
        let summary = ForecastSummary(scores)
        #expect(summary.scored == 1_000)
        #expect(summary.withInterval == 1_000 - ForecastCalibrator.leastMoves)
        #expect((0.75...0.85).contains(summary.coverage?.value ?? 0))
        #expect((summary.signHits?.low ?? 0) > 0.8)
        #expect(summary.baseRate == 0.5)
    }

    @Test("of twenty past moves the interval holds the next in 80 % already")
    func firstInterval() {
        var random = SeededNumbers(seed: 21)
        let edge = TestGraph.edge(0, 1, lag: 1)
        var hits = 0
        for _ in 0..<4_000 {
            let ratios = (0..<20).map { _ in abs(random.normal()) }
            let calibrator = ForecastCalibrator(ratios: ratios, intervals: 0, misses: 0, pendingUntil: nil)
            let forecast = Forecast(of: edge, after: Self.move(1, size: 4, edges: [edge]), calibrator: calibrator)
            if let high = forecast?.intervalHigh, abs(random.normal()) <= high - 4 { hits += 1 }
        }
        // Its standard error is 0.006.
        #expect((0.785...0.815).contains(Double(hits) / 4_000))
    }

    @Test("Wilson's interval of 8 in 10 is 0.490 to 0.943, and none of nothing")
    func wilson() {
        let share = Proportion(hits: 8, of: 10)
        #expect(abs((share?.low ?? 0) - 0.4902) < 1e-4)
        #expect(abs((share?.high ?? 0) - 0.9433) < 1e-4)
        #expect(Proportion(hits: 0, of: 0) == nil)
    }

    @Test("a calibrator restored from stored outcomes is the one that learnt them")
    func restores() throws {
        var random = SeededNumbers(seed: 9)
        var learnt = ForecastCalibrator()
        var misses = 0
        var intervals = 0
        for step in 0..<150 {
            let move = Self.move(step, size: 5, edges: [])
            let forecast = try #require(Forecast(of: TestGraph.edge(0, 1), after: move, calibrator: learnt))
            let outcome = 5 + random.normal()
            if let covered = ForecastScore(forecast, outcome: outcome, baseRate: nil).covered {
                intervals += 1
                misses += covered ? 0 : 1
            }
            learnt.learn(forecast, outcome: outcome)
        }
        let restored = ForecastCalibrator(
            ratios: learnt.ratios, intervals: intervals, misses: misses, pendingUntil: nil)
        #expect(learnt.ratios.count == ForecastCalibrator.memory)
        // To the last digit, or a forecast after a restart would differ from one without.
        #expect(restored == learnt)
    }
}
