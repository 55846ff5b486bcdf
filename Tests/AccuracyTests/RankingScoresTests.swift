import Engine
import Testing

@testable import Accuracy

@Suite("Scores of answers")
struct RankingScoresTests {
    @Test("a cause counts from its place in the ranking on, in the whole and in its part")
    func ranks() {
        let answers = [
            RankingAnswer(variant: "calls", number: 0, ranking: ["a", "b", "c"]),
            RankingAnswer(variant: "calls", number: 1, ranking: ["a", "b", "c"]),
        ]
        let rows = RankingScores.rows(answers, [("a", "cpu"), ("c", "net")], set: "s")
        func value(_ name: String, _ measure: String) -> Double? {
            rows.first { $0.case == name && $0.measure == measure }?.value
        }
        #expect(value("calls", "rootCauseAt1") == 0.5)
        #expect(value("calls", "rootCauseAt3") == 1)
        #expect(value("calls/net", "rootCauseAt1") == 0)
        #expect(value("calls/net", "cases") == 1)
    }

    @Test("sign hits are compared with the base rate of each forecast")
    func signs() {
        let hits = (0..<16).map { ForecastScore(outcome: 1, covered: nil, signHit: $0 < 12, baseRate: 0.5) }
        // 12 of 16 at 0.5: (12 - 8) / 2.
        #expect(abs(ForecastRows.z(hits) - 2) < 1e-12)
    }

    @Test("a lead of the second venue is turned round, interval and all")
    func turnsLead() {
        let answer = MarketAnswer(
            recording: "r", first: "a", second: "bitFlyer", lagMs: -14_000, lagLowMs: -20_000, lagHighMs: -4_000,
            rho: 0.1, reversedLagMs: 14_000, forecasts: [])
        let rows = MarketScores.rows([answer], set: "s")
        func value(_ measure: String) -> Double? { rows.first { $0.measure == measure }?.value }
        #expect(value("leaderLagSeconds") == 14)
        #expect(value("lagLowSeconds") == 4 && value("lagHighSeconds") == 20)
        #expect(value("leaderIsRight") == 1 && value("intervalCovers") == 1 && value("reversedInputFlipsSign") == 1)
    }
}
