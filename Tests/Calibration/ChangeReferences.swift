import Engine
import Foundation
import Model
import PlantedData

/// The life of an edge and the intervals of forecasts.
enum ChangeReferences {
    private struct Decline: Codable {
        var kind = "halfLife"
        var times: [Int64]
        var z: [Double]
        var sizes: [Double]
        var overlap: Int
        /// Nil: too few points, or none beside the others in time.
        var rate: Double?
        var variance: Double?
        var halfLifeMs: Double?
        var hasShrunk: Bool
    }

    private struct Life: Codable {
        var kind = "lives"
        var scores: [Double]
        var sizes: [Double]
        /// Whether the second reading was accepted too.
        var isAccepted: Bool
        var changes: [EdgeChange.Kind]
    }

    private struct Conformal: Codable {
        struct Move: Codable {
            var sourceSd: Double
            var expected: Double
            var outcome: Double
            var halfWidth: Double?
        }
        var kind = "conformal"
        var moves: [Move]
        var miss: Double
        var coverage: Proportion?
        var signHits: Proportion?
    }

    /// - Parameter count: of each kind; a tenth of it forecast histories.
    static func add(count: Int, to lines: inout ReferenceLines) throws {
        var random = RandomStream(seed: 80)
        for number in 0..<count {
            try lines.add(Self.decline(seed: UInt64(6_000_000 + number), &random))
            try lines.add(Self.life(&random))
            if number % 10 == 0 { try lines.add(Self.conformal(seed: UInt64(7_000_000 + number), &random)) }
        }
    }

    private static func decline(seed: UInt64, _ random: inout RandomStream) -> Decline {
        var planted = PlantedSeries(seed: seed, length: 1)
        let count = random.below(4) == 0 ? random.below(HalfLife.length) : HalfLife.length
        let isOneTime = random.below(40) == 0
        var rate = random.below(3) == 0 ? 0 : 0.3 * random.uniform() - 0.1
        var level = log(0.1 + 1.5 * random.uniform())
        let noise = random.uniform() * random.uniform()
        let points = (0..<count).map { place in
            // Often the second half is another than the first.
            if place == count / 2, random.below(2) == 0 { rate = 0.5 * random.uniform() }
            level -= rate
            let z = random.below(20) == 0 ? [0, -0.5, 1e-12][random.below(3)] : exp(level + noise * planted.normal())
            return HalfLife.Point(
                timeMs: 1_600_000_000_000 + (isOneTime ? 0 : Int64(place) * 1_800_000 + Int64(random.below(60_000))),
                z: z, effectiveSize: random.below(10) == 0 ? 3 * random.uniform() : 5 + 200 * random.uniform())
        }
        let overlap = [1, 4, 0][random.below(3)]
        let decay = HalfLife.decay(points, overlap: overlap)
        return Decline(
            times: points.map(\.timeMs), z: points.map(\.z), sizes: points.map(\.effectiveSize), overlap: overlap,
            rate: decay?.rate, variance: decay?.variance, halfLifeMs: decay?.halfLifeMs,
            hasShrunk: HalfLife.hasShrunk(points, overlap: overlap))
    }

    private static func life(_ random: inout RandomStream) -> Life {
        let score = 2 * random.uniform() - 1
        // Mostly near enough that it is close whether this is a change.
        let near = tanh(atanh(score) + 0.8 * (random.uniform() - 0.5))
        let scores = [score, random.below(4) == 0 ? 2 * random.uniform() - 1 : near]
        let sizes = (0..<2).map { _ in 10 + 300 * random.uniform() }
        let end = Timestamp(milliseconds: 1_600_000_000_000)
        let edges = zip(scores, sizes).map { score, size in Self.edge(score, size, end) }
        var lives = EdgeLives(patience: 4)
        _ = lives.follow([edges[0]], at: end) { _, _ in nil }
        let isAccepted = random.below(2) == 0
        let changes = lives.follow(isAccepted ? [edges[1]] : [], at: end.advanced(byMilliseconds: 30_000)) { first, _ in
            PairReading(edges[1], first: first)
        }
        return Life(scores: scores, sizes: sizes, isAccepted: isAccepted, changes: changes.map(\.kind))
    }

    private static func edge(_ score: Double, _ size: Double, _ end: Timestamp) -> Edge {
        let interval = FisherStatistics.interval(
            score: score, effectiveSize: size, critical: FisherStatistics.criticalValue(tests: 1))
        return Edge(
            source: PlantedGraph.node(0), target: PlantedGraph.node(1), layer: .direct, relation: .contemporaneous,
            estimator: .pearson, score: score, lagBuckets: 0, latencyMs: 0, lagSource: .baseline, overlap: 400,
            effectiveSize: size, intervalLow: interval.low, intervalHigh: interval.high, pValue: 0, qValue: 0,
            confidence: 1, expectedPropagation: 1, bucketMs: 1_000, windowStart: end, windowEnd: end, detectedAt: end)
    }

    /// Moves of one pair; of the outcomes some never change, some are wild, some drift away from what is expected.
    private static func conformal(seed: UInt64, _ random: inout RandomStream) -> Conformal {
        var planted = PlantedSeries(seed: seed, length: 1)
        var calibrator = ForecastCalibrator()
        var moves: [Conformal.Move] = []
        var scores: [ForecastScore] = []
        let law = random.below(5)
        for place in 0..<30 + random.below(220) {
            let time = Timestamp(milliseconds: 1_600_000_000_000 + Int64(place) * 60_000)
            let sourceSd = law == 0 ? 1 : 0.1 + random.uniform()
            let beta = 2 * random.uniform() - 1
            let halfWidth = calibrator.halfWidth(sourceSd: sourceSd)
            let forecast = Forecast(
                event: "e", source: PlantedGraph.node(0), target: PlantedGraph.node(1), movedAt: time,
                horizonAt: time.advanced(byMilliseconds: 60_000), latencyMs: 0, move: 4 * planted.normal(),
                sourceSd: sourceSd, beta: beta, halfWidth: halfWidth, confidence: 0.9)
            let error = planted.normal() * (law == 3 ? Double(place) / 20 : law == 4 && place % 9 == 0 ? 1e6 : 1)
            let outcome =
                switch law {
                case 0: 0.0
                case 1: 1e9 + forecast.expectedChange + error
                case 2: (forecast.expectedChange + error).rounded()
                default: forecast.expectedChange + error
                }
            calibrator.learn(forecast, outcome: outcome)
            scores.append(ForecastScore(forecast, outcome: outcome, baseRate: nil))
            moves.append(
                .init(
                    sourceSd: sourceSd, expected: forecast.expectedChange, outcome: outcome, halfWidth: halfWidth))
        }
        let summary = ForecastSummary(scores)
        return Conformal(
            moves: moves, miss: calibrator.miss, coverage: summary.coverage, signHits: summary.signHits)
    }
}
