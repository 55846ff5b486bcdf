import Engine
import Foundation

/// Root causes under other parameters than the default ones, one changed at a time: how good each is on each set, and how good
/// what one set would choose is on the others (leave one set out).
enum RootCauseGrid {
    struct Setting: Sendable {
        var parameter: String
        /// As it is printed; a star marks the default.
        var value: String
        var parameters: RootCauseParameters
    }

    /// A setting on one set: means over the ways a question is put.
    struct Score {
        var first: Double
        var third: Double
        var text: String { [self.first, self.third].map { String(format: "%.1f", 100 * $0) }.joined(separator: " / ") }
    }

    static let settings =
        [Setting(parameter: "as it is", value: "*", parameters: RootCauseParameters())]
        + Self.varied("hold", \.hold, [1, 2, 3]) + Self.varied("floor", \.floor, [0.05, 0.1, 0.2])
        + Self.varied("offset", \.offset, [0.02, 0.05, 0.1]) + Self.varied("prior", \.prior, [0, 5, 20])
        + Self.varied("bend", \.bend, [4, 9, 16]) + Self.varied("localMarkets", \.localMarkets, [1, 2, 3])
        + Self.varied("sharpness", \.sharpness, [1, 2, 3]) + Self.varied("steps", \.steps, [5, 20, 50])

    private static func varied<Value: Equatable>(
        _ name: String, _ path: WritableKeyPath<RootCauseParameters, Value>, _ values: [Value]
    ) -> [Setting] {
        values.filter { $0 != RootCauseParameters()[keyPath: path] }.map { value in
            var parameters = RootCauseParameters()
            parameters[keyPath: path] = value
            return Setting(parameter: name, value: "\(value)", parameters: parameters)
        }
    }

    /// All answers under all settings are written before any label is read.
    static func run(_ sets: [RecordedSet], store: AnswerStore) throws {
        let services = sets.filter { $0.kind == .faults || $0.kind == .cases }
        guard !services.isEmpty else { throw AccuracyFailure("there are no faults or cases to rank") }
        for set in services {
            var answer = SetAnswer()
            try ServiceTrial(set).ask { question in
                answer.rankings += Self.settings.indices.map { place in
                    RankingAnswer(
                        variant: "\(place) \(question.variant)", number: question.number,
                        ranking: RootCauseRanking.rank(question.input, parameters: Self.settings[place].parameters)
                            .candidates.prefix(5).map(\.event))
                }
            }
            try store.write(answer, of: set)
            print("answered \(set.name)")
        }
        let scores = try services.map { try Self.scores(of: $0, store) }
        Self.show(services, scores)
    }

    /// By setting.
    private static func scores(of set: RecordedSet, _ store: AnswerStore) throws -> [Score] {
        let rankings = try store.read(set).rankings
        let rows =
            switch set.kind {
            case .faults: try RankingScores.faults(rankings, set: set)
            default: try RankingScores.cases(rankings, set: set)
            }
        return Self.settings.indices.map { place in
            // The parts of a set (its kinds of fault) are told apart by a slash.
            let own = rows.filter { $0.case.hasPrefix("\(place) ") && !$0.case.contains("/") }
            func mean(_ measure: String) -> Double {
                let values = own.filter { $0.measure == measure }.map(\.value)
                return values.reduce(0, +) / Double(max(1, values.count))
            }
            return Score(first: mean("rootCauseAt1"), third: mean("rootCauseAt3"))
        }
    }

    /// The place with the largest @1 + @3; of equals the first, which is the default.
    static func best(among places: [Int], by scores: [Score]) -> Int {
        places.reduce(places[0]) { best, place in
            scores[place].first + scores[place].third > scores[best].first + scores[best].third + 1e-9 ? place : best
        }
    }

    private static func show(_ sets: [RecordedSet], _ scores: [[Score]]) {
        print(
            "\n@1 / @3 in percent, means over the ways a question is put (calls known or not, alarm on time or late)\n")
        print("| parameter | value | \(sets.map(\.name).joined(separator: " | ")) |")
        print("|---|---|\(String(repeating: "---|", count: sets.count))")
        for (place, setting) in Self.settings.enumerated() {
            print(
                "| \(setting.parameter) | \(setting.value) | \(scores.map { $0[place].text }.joined(separator: " | ")) |"
            )
        }
        print(
            "\nWhat one set alone would choose of each parameter (ties go to the default), and what that gives on the others:\n"
        )
        print("| parameter | chosen on | value | \(sets.map(\.name).joined(separator: " | ")) |")
        print("|---|---|---|\(String(repeating: "---|", count: sets.count))")
        var parameters: [String] = []
        for setting in Self.settings.dropFirst() where !parameters.contains(setting.parameter) {
            parameters.append(setting.parameter)
        }
        for parameter in parameters {
            for (chooser, set) in sets.enumerated() {
                let places = [0] + Self.settings.indices.filter { Self.settings[$0].parameter == parameter }
                let best = Self.best(among: places, by: scores[chooser])
                let value = best == 0 ? "default" : Self.settings[best].value
                let others = scores.map { $0[best].text }.joined(separator: " | ")
                print("| \(parameter) | \(set.name) | \(value) | \(others) |")
            }
        }
    }
}
