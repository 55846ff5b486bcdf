import ArgumentParser
import Foundation
import NIOCore
import NIOHTTP1
import Recordings
import ServiceRuntime

/// `graph-builder report`: what the running system knows, on one page.
struct ReportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report",
        abstract: "Print what the running system knows.",
        discussion: """
            Every figure is read from the public API through the gateway, except the speed of replays (--replays). Root causes
            are asked for the known faults of the samples; all answers are written to --answers before any label is read.

            Examples:
              graph-builder report --connection .data/connection.json
              graph-builder report --connection .data/connection.json --wait --output json > report.json
              graph-builder report --connection .data/connection.json --replays .data/replays.jsonl --answers answers.json

            Exit codes: 0 printed; 64 wrong usage; 65 a file of the samples is damaged; 69 the gateway does not answer; 70
            something unexpected; 77 the key is not allowed to.
            """)

    @OptionGroup var gateway: ConnectionOptions

    @Option(help: "Folder of the sample recordings.")
    var samples: String = "Samples"

    @Option(help: "Summary file of the replays, as `replay --summary` writes it.")
    var replays: String?

    @Option(help: "File for the root-cause answers (default: a temporary file).")
    var answers: String?

    @Flag(help: "First wait until every closed bucket has been evaluated.")
    var wait = false

    @Option(help: "table or json.")
    var output: OutputFormat = .table

    func run() async throws {
        let connection = try self.gateway.resolve()
        do {
            let data = try await GatewayClient.with(connection) { client in
                if self.wait { try await EvaluationWait(client: client).run() }
                let reader = ReportReader(
                    client: client, samples: self.samples, answersPath: self.answers ?? self.temporaryAnswers)
                let data = try await reader.read(replays: try self.replays.map(Self.replaySummaries) ?? [])
                for example in Examples(data: data).requests {
                    _ = try await client.send(
                        example.body == nil ? .GET : .POST, example.path,
                        headers: example.body == nil ? [] : [("Content-Type", "application/json")],
                        body: example.body.map { ByteBuffer(string: $0) })
                }
                return data
            }
            switch self.output {
            case .table: print(ReportText(data: data, connection: connection).text)
            case .json:
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
                print(String(decoding: try encoder.encode(data), as: UTF8.self))
            }
        } catch let failure as ClientFailure {
            Self.complain("report: \(failure)")
            throw ExitCode(failure.exitCode)
        } catch let failure as RecordingError {
            Self.complain("report: \(failure)")
            throw ExitCode(65)
        }
    }

    private var temporaryAnswers: String {
        FileManager.default.temporaryDirectory.appending(path: "root-cause-answers-\(UUID().uuidString).json").path
    }

    /// A second start replays nothing and may have no summary.
    private static func replaySummaries(_ path: String) throws -> [ReplaySummary] {
        FileManager.default.fileExists(atPath: path) ? try ReplaySummary.readAll(path) : []
    }

    private static func complain(_ text: String) {
        try? FileHandle.standardError.write(contentsOf: Data((text + "\n").utf8))
    }
}
