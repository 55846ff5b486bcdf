import ArgumentParser
import Engine
import Foundation
import Logging
import Model
import Postgres
import ServiceRuntime

/// `graph-builder verify`: a stored graph, made again from stored observations.
struct VerifyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Make stored graphs again from stored observations and compare.",
        discussion: """
            Reads the database the configuration names. What went into each graph (windows, partner domains, raw ticks, digests)
            is evaluated again as the running engine does; then the id, the state of every layer and every kept edge are
            compared, all but the time since when an edge stands. The last 128 window ends of each event are kept.

            Examples:
              graph-builder verify "$(curl -sS ... https://localhost:8443/v1/correlation-graph?eventId=frontend | jq -r .id)"
              graph-builder verify --output json ID ID

            Exit codes: 0 equal; 1 something differs, which is printed; 2 cannot be told (no graph with this id is kept, its
            observations have been retired, a profile was declared anew, or another version of the engine made it); 64 wrong
            usage or configuration; 69 the database does not answer.
            """)

    static let shownDifferences = 50

    @Argument(help: "Ids of graphs: 64 hexadecimal digits each.")
    var ids: [String]

    @Option(help: "table (text for people) or json") var output = OutputFormat.table

    /// What became of one graph, for programs.
    struct Item: Encodable, Sendable {
        enum State: String, Encodable, Sendable { case equal, different, unverifiable }

        var id: String
        var state: State
        var details: [String]

        init(_ report: (text: String, code: Int32), id: String) {
            self.id = id
            self.state = report.code == 0 ? .equal : report.code == 1 ? .different : .unverifiable
            self.details = report.text.split(separator: "\n").dropFirst().map {
                $0.trimmingCharacters(in: .whitespaces)
            }
        }
    }

    func validate() throws {
        guard self.ids.allSatisfy(GraphHistory.isID) else {
            throw ArgumentParser.ValidationError("a graph id has 64 lower-case hexadecimal digits.")
        }
    }

    func run() async throws {
        let settings = try ServiceCommand<GraphBuilder>.loadSettings()
        var codes: Set<Int32> = []
        var items: [Item] = []
        do {
            var configuration = try settings.database()
            configuration.pool = PostgresConfiguration.Pool(minimum: 0, maximum: 3)
            // The output is read by people and scripts: nothing but problems goes into the log.
            var logger = Logger(label: "graph-builder.verify", factory: { StreamLogHandler.standardError(label: $0) })
            logger.logLevel = .error
            (codes, items) = try await PostgresPool.withPool(configuration, logger: logger) { pool in
                var codes: Set<Int32> = []
                var items: [Item] = []
                for id in self.ids {
                    let report = Self.report(id, try await GraphVerifier(pool: pool).verify(id))
                    if self.output == .table { print(report.text) }
                    codes.insert(report.code)
                    items.append(Item(report, id: id))
                }
                return (codes, items)
            }
            if self.output == .json { try OutputFormat.printJSON(items) }
        } catch let error as PostgresError {
            FileHandle.standardError.write(Data("verify: \(error)\n".utf8))
            throw ExitCode(69)
        }
        if codes.contains(1) { throw ExitCode(1) }
        if codes.contains(2) { throw ExitCode(2) }
    }

    static func report(_ id: String, _ outcome: GraphVerifier.Outcome) -> (text: String, code: Int32) {
        switch outcome {
        case .equal(let match):
            let standing = match.isCurrent ? "stands now" : "has been replaced since"
            return (
                "equal: \(id)\n  event \(match.event), window end \(match.windowEnd.rfc3339), \(match.edges) edges; it \(standing)",
                0
            )
        case .unverifiable(let reason): return ("not to be verified: \(id)\n  \(reason)", 2)
        case .different(let mismatch):
            var lines = [
                "different: \(id)", "  event \(mismatch.event), window end \(mismatch.windowEnd.rfc3339)",
            ]
            if mismatch.recomputedID != id { lines.append("  id now: \(mismatch.recomputedID)") }
            lines += mismatch.layers.map { "  layer \($0)" }
            lines += mismatch.difference.entries.prefix(Self.shownDifferences).map(Self.line)
            let rest = mismatch.difference.entries.count - Self.shownDifferences
            if rest > 0 { lines.append("  and \(rest) edges more") }
            if mismatch.difference.entries.isEmpty {
                lines.append("  all edges come out the same; the observations they were made from do not")
            }
            return (lines.joined(separator: "\n"), 1)
        }
    }

    private static func line(_ entry: GraphDifference.Entry) -> String {
        func name(_ node: NodeKey) -> String { "\(node.domain)/\(node.event)/\(node.market)/\(node.venue)" }
        func text(_ values: EdgeValues?) -> String {
            values.map { "r \($0.score) lag \($0.lagBuckets) confidence \($0.confidence)" } ?? "none"
        }
        let place = entry.place
        return "  edge \(place.layer.code) \(name(place.source)) -> \(name(place.target)) \(place.estimator.rawValue): "
            + "\(text(entry.from)) -> \(text(entry.to))"
    }
}
