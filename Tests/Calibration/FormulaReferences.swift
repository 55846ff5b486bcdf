import Engine
import Foundation
import Model
import PlantedData

/// What the engine makes of numbers alone, and of ticks, for comparison with other implementations.
enum FormulaReferences {
    /// p, interval and confidence of a correlation whose lag was chosen among `tests`.
    private struct Fisher: Codable {
        var kind = "fisher"
        var score: Double
        var size: Double
        var tests: Int
        var threshold: Double
        var pValue: Double
        var low: Double
        var high: Double
        var confidence: Double
    }

    /// Two correlations with one series in common.
    private struct Dependent: Codable {
        var kind = "williams"
        var first: Double
        var second: Double
        var between: Double
        var count: Double
        var statistic: Double
    }

    private struct Ticks: Codable {
        var kind = "ticks"
        var firstTimes: [Int64]
        var firstValues: [Double]
        var secondTimes: [Int64]
        var secondValues: [Double]
        var lagStepMs: Int64
        var lagLimitMs: Int64
        var rho: Double
        var rhoAtZero: Double
        var lagMs: Int64
        var beta: Double
        var blockMs: Int64
        var draws: Int
        var shifts: Int
        var seed: UInt64
        var threshold: Double
        var deviation: Double
        var rhoLow: Double
        var rhoHigh: Double
        var lagLowMs: Int64
        var lagHighMs: Int64
        var pValue: Double
    }

    /// - Parameter count: lines of each kind but `ticks`, which has a tenth.
    static func add(count: Int, to lines: inout ReferenceLines) throws {
        var random = RandomStream(seed: 77)
        for place in 0..<count {
            try lines.add(Self.fisher(&random, place))
            try lines.add(Self.dependent(place, &random))
            if place % 10 == 0, let ticks = Self.ticks(seed: UInt64(place)) { try lines.add(ticks) }
        }
    }

    private static func fisher(_ random: inout RandomStream, _ place: Int) -> Fisher {
        // Every tenth is at an end of what there is.
        let ends = [0, 1e-12, 0.999999, -0.999999, 1, -1]
        let score = place % 10 == 0 ? ends[place / 10 % ends.count] : 2 * random.uniform() - 1
        let size = place % 7 == 0 ? 10 : 10 + 2_000 * random.uniform() * random.uniform()
        let tests = [1, 1, 3, 11, 33, 129][place % 6]
        let threshold = [0, 0.3, 0.55, 0.65, 0.75, 0.85, 0.99][place % 7]
        let interval = FisherStatistics.interval(
            score: score, effectiveSize: size, critical: FisherStatistics.criticalValue(tests: tests))
        return Fisher(
            score: score, size: size, tests: tests, threshold: threshold,
            pValue: FisherStatistics.pValue(score: score, effectiveSize: size, tests: tests), low: interval.low,
            high: interval.high,
            confidence: FisherStatistics.confidence(score: score, effectiveSize: size, threshold: threshold))
    }

    /// Correlations of three random series: any three numbers need not belong together.
    private static func dependent(_ place: Int, _ random: inout RandomStream) -> Dependent {
        var planted = PlantedSeries(seed: UInt64(900_000 + place), length: 12)
        let (one, two, three) = (planted.noise(), planted.noise(), planted.noise())
        let (first, second, between) = (
            Self.correlation(one, two), Self.correlation(one, three), Self.correlation(two, three)
        )
        let count = Double(4 + random.below(500))
        return Dependent(
            first: first, second: second, between: between, count: count,
            statistic: Williams.statistic(first: first, second: second, between: between, count: count))
    }

    /// Pearson's correlation, NaN where one row does not change.
    static func correlation(_ x: [Double], _ y: [Double]) -> Double {
        let (meanX, meanY) = (x.reduce(0, +) / Double(x.count), y.reduce(0, +) / Double(y.count))
        var (xy, xx, yy) = (0.0, 0.0, 0.0)
        for (a, b) in zip(x, y) {
            xy += (a - meanX) * (b - meanY)
            xx += (a - meanX) * (a - meanX)
            yy += (b - meanY) * (b - meanY)
        }
        return xy / (xx * yy).squareRoot()
    }

    /// Two walks on random times, the second behind the first; some pauses, some steps of nothing.
    private static func ticks(seed: UInt64) -> Ticks? {
        var random = RandomStream(seed: 5_000 + seed)
        var planted = PlantedSeries(seed: 6_000 + seed, length: 400)
        let moves = planted.noise()
        let lag = Int64(random.below(4)) * 500
        func series(_ delay: Int64) -> TickSeries {
            var readings: [Reading] = []
            var time: Int64 = 0
            while time < 200_000 {
                time += 1 + Int64(random.below(random.below(20) == 0 ? 9_000 : 1_500))
                let seen = Int(max(0, time - delay) / 500)
                let level = moves.prefix(min(seen, moves.count)).reduce(0, +)
                readings.append(Reading(timeMs: time, value: random.below(8) == 0 ? level.rounded() : level))
            }
            return TickSeries(readings, transform: .level)
        }
        let (first, second) = (series(0), series(lag))
        let options = HayashiYoshida.Options(
            lagStepMs: 250, lagLimitMs: 2_500, blockMs: 20_000, draws: 20, shifts: 12, seed: seed)
        guard let found = HayashiYoshida.estimate(first, second, options: options) else { return nil }
        return Ticks(
            firstTimes: first.times, firstValues: first.values, secondTimes: second.times, secondValues: second.values,
            lagStepMs: options.lagStepMs, lagLimitMs: options.lagLimitMs, rho: found.rho, rhoAtZero: found.rhoAtZero,
            lagMs: found.lagMs, beta: found.beta, blockMs: options.blockMs, draws: options.draws,
            shifts: options.shifts, seed: options.seed, threshold: found.threshold, deviation: found.deviation,
            rhoLow: found.rhoLow, rhoHigh: found.rhoHigh, lagLowMs: found.lagLowMs, lagHighMs: found.lagHighMs,
            pValue: found.pValue)
    }
}
