/// What a figure should reach: for recordings of a source, whatever machine, day or scenario they show.
struct AccuracyGoal: Equatable, Sendable {
    enum Bound: Equatable, Sendable {
        case atLeast(Double)
        case atMost(Double)
        case between(Double, Double)
    }

    /// How names of sets of the source begin.
    let source: String
    /// nil: every case that has the measure.
    let `case`: String?
    let measure: String
    let bound: Bound

    static let all = servers + services + markets + forecasts

    private static let servers =
        [
            Self(source: "labelled-smd", case: "all", measure: "vusPr", bound: .atLeast(0.60)),
            Self(source: "labelled-asd", case: "all", measure: "aucPr", bound: .atLeast(0.50)),
            Self(source: "labelled", case: "all", measure: "blameTop1", bound: .atLeast(0.85)),
        ]
        + ["alarms", "correlationBreaks", "leadLagShifts", "hiddenEdges"].map {
            Self(source: "labelled", case: "all", measure: $0 + "PerNodeDay", bound: .atMost(0.05))
        }

    /// Known calls, Nezha: what the method our ranking comes from reached, the lower of two days.
    private static let services =
        named("services-nezha", "calls", [1: 0.84, 3: 0.875, 5: 0.94])
        + named("services-nezha", "no-calls", [1: 0.20, 3: 0.35, 5: 0.50])
        + named("services-petshop", "calls", [1: 0.60, 3: 0.92])

    private static func named(_ source: String, _ name: String, _ shares: [Int: Double]) -> [Self] {
        shares.map { Self(source: source, case: name, measure: "rootCauseAt\($0)", bound: .atLeast($1)) }
    }

    /// Each is yes (1) or no.
    private static let markets = [
        "leaderIsRight", "lagIsWithin3Seconds", "intervalCovers", "reversedInputFlipsSign",
    ].map { Self(source: "market-btcjpy", case: nil, measure: $0, bound: .atLeast(1)) }

    /// Of any recording: signs above the base rate, and as many outcomes in the interval as it says.
    private static let forecasts = [
        Self(source: "", case: nil, measure: "isSignificantAt5Percent", bound: .atLeast(1)),
        Self(source: "", case: nil, measure: "coverageOf80Percent", bound: .between(0.75, 0.85)),
    ]

    /// The goal of a figure, if it has one.
    static func of(_ row: AccuracyRow) -> AccuracyGoal? {
        self.all.first { goal in
            row.measure == goal.measure && row.set.hasPrefix(goal.source)
                && (goal.case.map { $0 == row.case } ?? true)
        }
    }

    func isMet(by value: Double) -> Bool {
        switch self.bound {
        case .atLeast(let least): value >= least
        case .atMost(let most): value <= most
        case .between(let least, let most): least <= value && value <= most
        }
    }

    /// `>= 0.6, met`.
    func verdict(on value: Double) -> String {
        let bound =
            switch self.bound {
            case .atLeast(let least): ">= \(least)"
            case .atMost(let most): "<= \(most)"
            case .between(let least, let most): "\(least) ... \(most)"
            }
        return "\(bound), \(self.isMet(by: value) ? "met" : "missed")"
    }
}
