import Engine
import Foundation
import Model
import Recordings

/// The events the engine named for one fault or case, best first.
struct RankingAnswer: Codable {
    /// How the question was put.
    var variant: String
    /// Place of the fault or case in its file.
    var number: Int
    var ranking: [String]
}

/// One question as it is put to the engine.
struct RankingQuestion {
    var variant: String
    var number: Int
    var input: RootCauseInput
}

/// Asks for root causes: a question knows the time of a fault (of a case its target too), nothing else.
struct ServiceTrial {
    /// How a question is put.
    private struct Variant {
        let name: String
        let knowsCalls: Bool
        let lateMs: Int64
    }

    private static let variants = [
        Variant(name: "calls", knowsCalls: true, lateMs: 0),
        Variant(name: "no-calls", knowsCalls: false, lateMs: 0),
        Variant(name: "calls-60s-late", knowsCalls: true, lateMs: 60_000),
        Variant(name: "no-calls-60s-late", knowsCalls: false, lateMs: 60_000),
    ]
    private static let windowMs: Int64 = 300_000
    private static let baselineMs: Int64 = 7_200_000

    let set: RecordedSet

    init(_ set: RecordedSet) { self.set = set }

    private func calls() throws -> [CallEdge] {
        let path = self.set.file("graph.csv")
        guard FileManager.default.fileExists(atPath: path) else { return [] }
        return try LabelFiles.calls(at: path).map { CallEdge(caller: $0.caller, callee: $0.callee) }
    }

    func answers() throws -> [RankingAnswer] {
        var answers: [RankingAnswer] = []
        try self.ask { question in
            answers.append(
                RankingAnswer(
                    variant: question.variant, number: question.number,
                    ranking: RootCauseRanking.rank(question.input).candidates.map(\.event)))
        }
        return answers
    }

    /// Puts every question in every way.
    func ask(_ body: (RankingQuestion) -> Void) throws {
        if self.set.kind == .faults { try self.askFaults(body) } else { try self.askCases(body) }
    }

    /// The five minutes after each injection against the two hours before it.
    private func askFaults(_ body: (RankingQuestion) -> Void) throws {
        let whole = try ServiceRecording(paths: [self.set.file("metrics.csv.gz")])
        let bare = whole.withoutCalls()
        let calls = try self.calls()
        let times = try LabelFiles.injectionTimes(at: self.set.file("faults.csv"))
        let isBare = calls.isEmpty && whole.nodes.count == bare.nodes.count
        for variant in Self.variants where !variant.knowsCalls || !isBare {
            let recording = variant.knowsCalls ? whole : bare
            for (number, time) in times.enumerated() {
                let after = time.advanced(byMilliseconds: variant.lateMs)
                let through = after.advanced(byMilliseconds: Self.windowMs)
                let grid = recording.grid(
                    bucketMs: 60_000, after: after.advanced(byMilliseconds: -Self.baselineMs), through: through)
                let input = RootCauseInput(
                    nodes: recording.nodes, grid: grid, after: after, through: through, baselineMs: Self.baselineMs,
                    callGraph: variant.knowsCalls ? calls : [])
                body(RankingQuestion(variant: variant.name, number: number, input: input))
            }
        }
    }

    /// Each case against the normal period. All are in one store, as in production; they do not overlap in time.
    private func askCases(_ body: (RankingQuestion) -> Void) throws {
        let questions = try LabelFiles.caseQuestions(at: self.set.file("cases.csv"))
        let normalPath = self.set.file("normal.csv.gz")
        let quiet = try ServiceRecording(paths: [normalPath])
        guard let first = quiet.first, let normalThrough = quiet.last else {
            throw AccuracyFailure("\(normalPath) has no rows")
        }
        let whole = try ServiceRecording(
            paths: [normalPath] + questions.map { self.set.file("cases/\($0.name).csv.gz") })
        let bare = whole.withoutCalls()
        let calls = try self.calls()
        let normalAfter = first.advanced(byMilliseconds: -1)
        for variant in Self.variants where !variant.knowsCalls || !calls.isEmpty {
            let recording = variant.knowsCalls ? whole : bare
            let normal = recording.grid(bucketMs: 300_000, after: normalAfter, through: normalThrough)
            for (number, question) in questions.enumerated() {
                let after = question.first.advanced(byMilliseconds: variant.lateMs - 1)
                let window = recording.grid(bucketMs: 300_000, after: after, through: question.last)
                let input = RootCauseInput(
                    nodes: recording.nodes, normal: normal, normalAfter: normalAfter, normalThrough: normalThrough,
                    window: window, after: after, through: question.last,
                    callGraph: variant.knowsCalls ? calls : [],
                    target: RootCauseTarget(
                        event: question.targetEvent, market: question.targetMarket, venue: question.targetVenue))
                body(RankingQuestion(variant: variant.name, number: number, input: input))
            }
        }
    }
}

/// Reads the root causes and counts how often they are among the first.
enum RankingScores {
    static func faults(_ answers: [RankingAnswer], set: RecordedSet) throws -> [AccuracyRow] {
        let truths = try LabelFiles.faults(at: set.file("faults.csv")).map { (cause: $0.rootCause, part: $0.fault) }
        return Self.rows(answers, truths, set: set.name)
    }

    static func cases(_ answers: [RankingAnswer], set: RecordedSet) throws -> [AccuracyRow] {
        let truths = try LabelFiles.cases(at: set.file("cases.csv")).map {
            (cause: $0.rootCause, part: $0.targetMarket)
        }
        return Self.rows(answers, truths, set: set.name)
    }

    static func rows(
        _ answers: [RankingAnswer], _ truths: [(cause: String, part: String)], set: String
    ) -> [AccuracyRow] {
        var variants: [String] = []
        for answer in answers where !variants.contains(answer.variant) { variants.append(answer.variant) }
        return variants.flatMap { variant in
            let own = answers.filter { $0.variant == variant }
            let parts = Set(truths.map(\.part)).sorted()
            return Self.hits(own, truths, set: set, name: variant)
                + parts.flatMap { part in
                    Self.hits(
                        own.filter { truths[$0.number].part == part }, truths, set: set, name: "\(variant)/\(part)")
                }
        }
    }

    private static func hits(
        _ answers: [RankingAnswer], _ truths: [(cause: String, part: String)], set: String, name: String
    ) -> [AccuracyRow] {
        guard !answers.isEmpty else { return [] }
        let count = Double(answers.count)
        let ranks = answers.map { $0.ranking.firstIndex(of: truths[$0.number].cause).map { $0 + 1 } ?? .max }
        return [AccuracyRow(set, name, "cases", count)]
            + [1, 3, 5].map { depth in
                AccuracyRow(set, name, "rootCauseAt\(depth)", Double(ranks.count { $0 <= depth }) / count)
            }
    }
}
