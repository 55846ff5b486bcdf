import Foundation

/// `Accuracy DATA [--out FILE] [--answers DIR] [--only KIND] [--grid]`: how good the engine's answers are on labelled recordings.
///
/// The order is the protocol: all sets are answered and all answers written first; labels are read only then.
@main
enum AccuracyCommand {
    struct Usage: Error, CustomStringConvertible {
        var description: String {
            """
            usage: Accuracy DATA [--out FILE] [--answers DIR] [--only market|faults|cases|servers]
                   Accuracy DATA --grid    (parameters of root causes, one changed at a time, each set left out in turn)
                   Accuracy --references FILE
            """
        }
    }

    static func main() {
        do {
            try Self.run()
        } catch {
            FileHandle.standardError.write(Data("error: \(error)\n".utf8))
            exit(1)
        }
    }

    private static func run() throws {
        var data: String?
        var out: String?
        var answers: String?
        var only: RecordedSet.Kind?
        var isGrid = false
        var arguments = CommandLine.arguments.dropFirst().makeIterator()
        while let argument = arguments.next() {
            switch argument {
            case "--out": out = arguments.next()
            case "--answers": answers = arguments.next()
            case "--grid": isGrid = true
            case "--references":
                guard let path = arguments.next() else { throw Usage() }
                return try ScoreReferences.write(to: path, count: 400)
            case "--only":
                guard let kind = arguments.next().flatMap(RecordedSet.Kind.init(rawValue:)) else { throw Usage() }
                only = kind
            case _ where data == nil && !argument.hasPrefix("-"): data = argument
            default: throw Usage()
            }
        }
        guard let data else { throw Usage() }
        let sets = try RecordedSet.all(under: URL(filePath: data)).filter { only == nil || $0.kind == only }
        guard !sets.isEmpty else { throw AccuracyFailure("there are no recordings of a known kind under \(data)") }
        let store = try AnswerStore(answers.map { URL(filePath: $0) })
        defer { store.discard() }
        if isGrid { return try RootCauseGrid.run(sets, store: store) }
        var failures: [String] = []
        let answered = sets.filter { set in
            Self.succeeds(set, &failures) {
                try store.write(Self.answer(set), of: set)
                print("answered \(set.name)")
            }
        }
        var rows: [AccuracyRow] = []
        for set in answered { _ = Self.succeeds(set, &failures) { rows += try Self.score(set, store: store) } }
        AccuracyTable.print(rows)
        if let out {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            try encoder.encode(rows).write(to: URL(filePath: out), options: .atomic)
        }
        if !failures.isEmpty { throw AccuracyFailure(failures.joined(separator: "\n")) }
    }

    /// One set that cannot be read keeps no other from being measured.
    private static func succeeds(_ set: RecordedSet, _ failures: inout [String], _ body: () throws -> Void) -> Bool {
        do {
            try body()
            return true
        } catch {
            failures.append("\(set.name): \(error)")
            return false
        }
    }

    private static func answer(_ set: RecordedSet) throws -> SetAnswer {
        switch set.kind {
        case .market: SetAnswer(market: try MarketTrial(set).answers())
        case .faults, .cases: SetAnswer(rankings: try ServiceTrial(set).answers())
        case .servers: SetAnswer(servers: try ServerTrial(set).answers())
        }
    }

    private static func score(_ set: RecordedSet, store: AnswerStore) throws -> [AccuracyRow] {
        let answer = try store.read(set)
        return switch set.kind {
        case .market: MarketScores.rows(answer.market, set: set.name)
        case .faults: try RankingScores.faults(answer.rankings, set: set)
        case .cases: try RankingScores.cases(answer.rankings, set: set)
        case .servers: try ServerScores.rows(answer.servers, set: set)
        }
    }
}

/// Why nothing could be measured.
struct AccuracyFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}
