import Engine
import Foundation

/// Forecasts against what happened, as lines of the table.
enum ForecastRows {
    static func rows(_ scores: [ForecastScore], set: String, name: String) -> [AccuracyRow] {
        let summary = ForecastSummary(scores)
        var rows = [AccuracyRow(set, name, "scored", Double(summary.scored))]
        if let hits = summary.signHits, let base = summary.baseRate {
            let z = self.z(scores)
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
