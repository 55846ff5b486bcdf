import Engine
import Foundation
import Model
import PlantedData

/// Forecasts along a chain of three nodes, streamed as the product does.
enum PlantedForecasts {
    static let section = CalibrationCommand.Section(
        name: "forecasts",
        about: """
            A leads B by two buckets, B leads C by one; changes are Student's t with 3 degrees of freedom. Share of outcomes within the \
            80 % interval; share of right signs and how often the target's changes have that sign anyway.
            """, run: Self.run)

    private static let present = 120
    private static let baseline = 720

    private static func run(_ scale: Double) -> [CalibrationRow] {
        [0.9, 0.7].flatMap { rho in
            let scores = Self.scores(rho: rho, buckets: max(9_000, Int(12_000 * scale)))
            let intervals = scores.compactMap(\.covered)
            let signs = scores.filter { $0.signHit != nil }
            let base = signs.compactMap(\.baseRate).reduce(0, +) / Double(max(1, signs.compactMap(\.baseRate).count))
            return [
                CalibrationRow(
                    "forecasts", "80 % interval holds the outcome, rho \(rho)", hits: intervals.count { $0 },
                    of: intervals.count, goal: .between(0.75, 0.85)),
                CalibrationRow(
                    "forecasts", "sign right, rho \(rho) (base rate \(String(format: "%.3f", base)))",
                    hits: signs.count { $0.signHit == true }, of: signs.count, goal: .atLeast(base)),
            ]
        }
    }

    private static func scores(rho: Double, buckets: Int) -> [ForecastScore] {
        var planted = PlantedSeries(seed: 501, length: buckets)
        func led(_ leader: [Double], by lag: Int) -> [Double] {
            let own = planted.heavyTailed()
            return own.indices.map { step in
                rho * (step >= lag ? leader[step - lag] : 0) + (1 - rho * rho).squareRoot() * own[step]
            }
        }
        let first = planted.heavyTailed()
        let second = led(first, by: 2)
        let rows = [first, second, led(second, by: 1)]
        let detector = MoveDetector(transform: .difference, baselineBuckets: Self.baseline)
        var calibrators: [ForecastPair: ForecastCalibrator] = [:]
        var pending: [Forecast] = []
        var scores: [ForecastScore] = []
        for end in Self.present + Self.baseline + 5..<buckets {
            let start = end - Self.present - Self.baseline - 5
            let cut = rows.map { Array($0[start..<end]) }
            let now = Timestamp(milliseconds: Int64(end) * 1_000)
            for forecast in pending where forecast.horizonAt <= now {
                let outcome = Self.change(rows[PlantedGraph.row(forecast.target)], forecast)
                calibrators[ForecastPair(source: forecast.source, target: forecast.target)]?.learn(
                    forecast, outcome: outcome)
                scores.append(
                    ForecastScore(
                        forecast, outcome: outcome,
                        baseRate: Self.baseRate(rows[PlantedGraph.row(forecast.target)], forecast)))
            }
            pending.removeAll { $0.horizonAt <= now }
            let block = SeriesBlock(
                nodes: rows.indices.map(PlantedGraph.node), bucketMs: 1_000, windowEnd: now, length: cut[0].count,
                values: cut.flatMap { $0 })
            guard !detector.observe(block: block, event: "e", edges: []).isEmpty else { continue }
            // Edges are only asked for when something moved; they do not depend on that.
            let edges = PlantedGraph.evaluate(
                cut, present: Self.present, baseline: Self.baseline, lag: 5, threshold: 0.55
            ).accepted
            for move in detector.observe(block: block, event: "e", edges: edges) {
                pending += Forecast.forecasts(after: move, calibrators: &calibrators)
            }
        }
        return scores
    }

    /// The sum of the target's changes after the move, up to the horizon's whole buckets.
    private static func change(_ row: [Double], _ forecast: Forecast) -> Double {
        let (from, to) = (Int(forecast.movedAt.milliseconds / 1_000), Int(forecast.horizonAt.milliseconds / 1_000))
        return row[from..<min(row.count, to)].reduce(0, +)
    }

    private static func baseRate(_ row: [Double], _ forecast: Forecast) -> Double? {
        let (from, to) = (Int(forecast.movedAt.milliseconds / 1_000), Int(forecast.horizonAt.milliseconds / 1_000))
        let horizon = max(1, to - from)
        let first = max(0, from - 240)
        return ForecastScore.baseRate(
            expectedChange: forecast.expectedChange,
            ofChanges: (first..<from - horizon).map { row[$0..<$0 + horizon].reduce(0, +) })
    }
}
