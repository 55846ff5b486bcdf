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

    @Test("a grid changes one parameter at a time, and chooses another value only where it is better")
    func grid() {
        for setting in RootCauseGrid.settings.dropFirst() { #expect(setting.parameters != RootCauseParameters()) }
        #expect(Set(RootCauseGrid.settings.map(\.parameters)).count == RootCauseGrid.settings.count)
        let scores = [(0.8, 0.9), (0.9, 0.8), (0.9, 0.9), (1, 0.7)].map { RootCauseGrid.Score(first: $0, third: $1) }
        #expect(RootCauseGrid.best(among: [0, 1], by: scores) == 0)
        #expect(RootCauseGrid.best(among: [0, 1, 2, 3], by: scores) == 2)
    }
}
