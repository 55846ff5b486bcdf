import Testing

@testable import Accuracy

@Suite("Goals of the figures of accuracy")
struct AccuracyGoalTests {
    @Test(
        "a figure has the goal of its source, whatever machine, day or scenario it is of",
        arguments: [
            ("labelled-smd", "all", "vusPr", 0.59, false), ("labelled-smd", "all", "vusPr", 0.6, true),
            ("labelled-smd/other", "all", "blameTop1", 0.7, false), ("labelled-asd", "all", "aucPr", 0.51, true),
            ("labelled-asd", "all", "alarmsPerNodeDay", 0.051, false),
            ("services-nezha/2023-01-29", "calls", "rootCauseAt1", 0.83, false),
            ("services-nezha/2023-01-29", "no-calls", "rootCauseAt1", 0.21, true),
            ("services-petshop/high_traffic", "calls", "rootCauseAt3", 0.93, true),
            ("market-btcjpy", "am", "leaderIsRight", 1, true),
            ("market-btcjpy", "am/forecasts", "isSignificantAt5Percent", 0, false),
            ("labelled-asd", "all/forecasts of the second half", "coverageOf80Percent", 0.52, false),
            ("labelled-smd", "all/forecasts of the second half", "coverageOf80Percent", 0.82, true),
        ])
    func goals(set: String, name: String, measure: String, value: Double, isMet: Bool) throws {
        let goal = try #require(AccuracyGoal.of(AccuracyRow(set, name, measure, value)))
        #expect(goal.isMet(by: value) == isMet)
        #expect(goal.verdict(on: value).hasSuffix(isMet ? ", met" : ", missed"))
    }

    @Test(
        "what nothing was promised of has none",
        arguments: [
            ("labelled-smd", "machine-2-1", "vusPr"), ("labelled-asd", "all", "vusPr"),
            ("market-taq", "am", "leaderIsRight"),
            ("services-nezha", "calls-60s-late", "rootCauseAt1"),
        ])
    func none(set: String, name: String, measure: String) {
        #expect(AccuracyGoal.of(AccuracyRow(set, name, measure, 1)) == nil)
    }
}
