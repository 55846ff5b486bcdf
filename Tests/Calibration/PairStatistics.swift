import Engine
import Foundation
import Model
import PlantedData

/// Intervals and confidences of single pairs of known rho.
enum PairStatistics {
    static let section = CalibrationCommand.Section(
        name: "pairs",
        about: """
            Coverage of the 95 % interval over all tested pairs at one given lag, rho 0, .3, .5, .7 and .9 in turn, and over accepted \
            pairs where rho is at least T + .15 (T .55). Confidence: rho uniform in -.95 ... .95, 120 buckets; largest distance, \
            over tenths of the stated confidence, between it and the share of pairs with abs(rho) above T.
            """, run: Self.run)

    private static let pairs = 4_000
    private static let scores = [0, 0.3, 0.5, 0.7, 0.9]

    private static func run(_ scale: Double) -> [CalibrationRow] {
        let count = Int(Double(Self.pairs) * scale)
        var rows: [CalibrationRow] = []
        for memory in [0, 0.5, 0.9] {
            for present in [60, 120, 256] { rows += Self.coverage(count, memory: memory, present: present) }
        }
        for memory in [0, 0.5, 0.9] { rows += Self.confidence(15 * count, memory: memory) }
        return rows
    }

    /// r and effective size of one pair; nil when it was not tested.
    private static func measure(_ rows: [[Double]], present: Int) -> (score: Double, size: Double)? {
        let found = PlantedGraph.evaluate(
            rows, present: present, baseline: 0, lag: 0, threshold: 0, keepsRejected: true)
        if let edge = found.accepted.first { return (edge.score, edge.effectiveSize) }
        guard let pair = found.rejected.first, let score = pair.score, let size = pair.effectiveSize else { return nil }
        return (score, size)
    }

    private static func name(_ memory: Double) -> String { memory == 0 ? "white" : "AR(1) \(memory)" }

    private static func coverage(_ count: Int, memory: Double, present: Int) -> [CalibrationRow] {
        let critical = FisherStatistics.criticalValue(tests: 1)
        var (tested, covered, strong, strongCovered) = (0, 0, 0, 0)
        for (place, rho) in Self.scores.enumerated() {
            var planted = PlantedSeries(seed: UInt64(200 + place), length: present)
            for _ in 0..<count {
                guard let found = Self.measure(planted.pair(rho: rho, memory: memory), present: present) else {
                    continue
                }
                let interval = FisherStatistics.interval(
                    score: found.score, effectiveSize: found.size, critical: critical)
                let isCovered = interval.low <= rho && rho <= interval.high
                tested += 1
                covered += isCovered ? 1 : 0
                // Accepted: beyond the threshold, and q <= 0.05, which for one pair is p: the interval does not hold 0.
                guard rho >= 0.55 + 0.149, found.score >= 0.55, interval.low > 0 else { continue }
                strong += 1
                strongCovered += isCovered ? 1 : 0
            }
        }
        let goal: CalibrationRow.Goal =
            memory <= 0.5 ? .atLeast(0.94) : present >= 120 ? .atLeast(0.93) : .atLeast(0.90)
        let cell = "\(Self.name(memory)), n \(present)"
        return [
            CalibrationRow("pairs", "coverage, all tested, \(cell)", hits: covered, of: tested, goal: goal),
            CalibrationRow(
                "pairs", "coverage, accepted with rho >= .7, \(cell)", hits: strongCovered, of: strong, goal: goal),
        ]
    }

    private static func confidence(_ count: Int, memory: Double) -> [CalibrationRow] {
        var planted = PlantedSeries(seed: 210, length: 120)
        var pairs: [(rho: Double, score: Double, size: Double)] = []
        for _ in 0..<count {
            let rho = 1.9 * planted.random.uniform() - 0.95
            guard let found = Self.measure(planted.pair(rho: rho, memory: memory), present: 120) else { continue }
            pairs.append((rho, found.score, found.size))
        }
        // The method this replaces, flat in atanh rho, was up to .17 off at AR(1) .9.
        let limit = memory == 0 ? 0.05 : memory == 0.5 ? 0.10 : 0.17
        return [0.55, 0.65, 0.75, 0.85].map { threshold in
            var bins = [(stated: Double, hits: Int, count: Int)](repeating: (0, 0, 0), count: 10)
            for pair in pairs {
                let stated = FisherStatistics.confidence(
                    score: pair.score, effectiveSize: pair.size, threshold: threshold)
                let bin = min(9, Int(stated * 10))
                bins[bin].stated += stated
                bins[bin].count += 1
                if abs(pair.rho) > threshold { bins[bin].hits += 1 }
            }
            let worst = bins.filter { $0.count >= 300 }.map { bin in
                let (stated, share) = (bin.stated / Double(bin.count), Double(bin.hits) / Double(bin.count))
                return (abs(stated - share), 1.96 * (share * (1 - share) / Double(bin.count)).squareRoot())
            }.max { $0.0 < $1.0 }
            return CalibrationRow(
                "pairs", "confidence, \(Self.name(memory)), T \(threshold)", value: worst?.0 ?? .nan,
                low: (worst?.0 ?? .nan) - (worst?.1 ?? 0), high: (worst?.0 ?? .nan) + (worst?.1 ?? 0),
                count: pairs.count, goal: .atMost(limit))
        }
    }
}
