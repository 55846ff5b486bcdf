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

    /// Forecasts after the leader's moves: hits against what the follower does anyway; and of the recording's second half alone,
    /// which the first one taught.
    private static func forecasts(_ answer: MarketAnswer, set: String) -> [AccuracyRow] {
        let made = answer.forecasts.filter { $0.source.lowercased() == Self.leader }
        return ForecastRows.rows(made.map(\.score), set: set, name: answer.recording + "/forecasts")
            + ForecastRows.rows(
                made.filter(\.isHeldBack).map(\.score), set: set,
                name: answer.recording + "/forecasts of the second half")
    }
}
