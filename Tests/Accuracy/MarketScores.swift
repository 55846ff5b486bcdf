import Engine
import Foundation

/// Compares what was said of two venues with the published lead of bitFlyer.
enum MarketScores {
    static let leader = "bitflyer"
    static let publishedLagMs: Int64 = 15_000
    static let toleranceMs: Int64 = 3_000

    static func rows(_ answers: [MarketAnswer], set: String) -> [AccuracyRow] {
        answers.flatMap { answer -> [AccuracyRow] in
            let isFirst = answer.first.lowercased() == Self.leader
            guard isFirst || answer.second.lowercased() == Self.leader else { return [] }
            // Positive: the published leader moves first.
            let lag = isFirst ? answer.lagMs : -answer.lagMs
            let low = isFirst ? answer.lagLowMs : -answer.lagHighMs
            let high = isFirst ? answer.lagHighMs : -answer.lagLowMs
            let name = answer.recording
            return [
                AccuracyRow(set, name, "leaderLagSeconds", Double(lag) / 1_000),
                AccuracyRow(set, name, "leaderIsRight", is: lag > 0),
                AccuracyRow(set, name, "lagIsWithin3Seconds", is: abs(lag - Self.publishedLagMs) <= Self.toleranceMs),
                AccuracyRow(set, name, "lagLowSeconds", Double(low) / 1_000),
                AccuracyRow(set, name, "lagHighSeconds", Double(high) / 1_000),
                AccuracyRow(set, name, "intervalCovers", is: low <= Self.publishedLagMs && Self.publishedLagMs <= high),
                AccuracyRow(
                    set, name, "reversedInputFlipsSign", is: answer.lagMs != 0 && answer.reversedLagMs == -answer.lagMs),
                AccuracyRow(set, name, "rho", answer.rho),
            ] + self.forecasts(answer, set: set)
        }
    }

    /// Forecasts after the leader's moves: hits against what the follower does anyway.
    private static func forecasts(_ answer: MarketAnswer, set: String) -> [AccuracyRow] {
        let scores = answer.forecasts.filter { $0.source.lowercased() == Self.leader }.map(\.score)
        let summary = ForecastSummary(scores)
        let name = answer.recording + "/forecasts"
        var rows = [AccuracyRow(set, name, "scored", Double(summary.scored))]
        if let hits = summary.signHits, let base = summary.baseRate {
            let z = Self.z(scores)
            rows += [
                AccuracyRow(set, name, "withChange", Double(summary.withChange)),
                AccuracyRow(set, name, "signHitRate", hits.value), AccuracyRow(set, name, "baseRate", base),
                AccuracyRow(set, name, "zAboveBase", z),
                AccuracyRow(set, name, "pOneSided", 0.5 * erfc(z / 2.0.squareRoot())),
                AccuracyRow(set, name, "isSignificantAt5Percent", is: z > 1.645),
            ]
        }
        if let coverage = summary.coverage {
            rows += [
                AccuracyRow(set, name, "intervals", Double(summary.withInterval)),
                AccuracyRow(set, name, "coverageOf80Percent", coverage.value),
            ]
        }
        return rows
    }

    /// Hits minus what their base rates sum to, in standard deviations of independent trials at those rates.
    static func z(_ scores: [ForecastScore]) -> Double {
        var (excess, variance) = (0.0, 0.0)
        for score in scores {
            guard let hit = score.signHit else { continue }
            let rate = score.baseRate ?? 0.5
            excess += (hit ? 1 : 0) - rate
            variance += rate * (1 - rate)
        }
        return variance > 0 ? excess / variance.squareRoot() : 0
    }
}
