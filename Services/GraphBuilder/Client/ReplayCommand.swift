import ArgumentParser
import Foundation
import Recordings
import ServiceRuntime

/// `graph-builder replay`: a recording becomes observations, sent the way any client sends them.
struct ReplayCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "Send recordings through the gateway.",
        discussion: """
            Files are CSV or gzip CSV with the columns ts,node,domain,event,market,venue,value (ts in epoch milliseconds).
            Every batch carries an Idempotency-Key made of the file and its lines, so the same replay can be run again:
            what is there already counts as duplicate.

            Examples:
              graph-builder replay --connection .data/connection.json recordings/*.csv.gz
              graph-builder replay --connection .data/connection.json --speed 60 --wait day.csv
              graph-builder replay --url https://localhost:8443 --ca-file ca.pem --api-key-file key --output json day.csv.gz

            Exit codes: 0 everything landed; 64 wrong usage; 65 the recording is damaged or rows were rejected (the others
            landed); 69 the gateway does not answer; 70 something unexpected; 77 the key is not allowed to.
            """)

    @Argument(help: "The recordings, sent one after the other.")
    var files: [String]

    @Option(help: "Recorded seconds per second; 0: as fast as it goes.")
    var speed: Double = 0

    @Option(help: "Put before every domain of the recording.")
    var domainPrefix: String = ""

    @Option(help: "Observations in one request, 1 to 50000.")
    var batch: Int = 5_000

    @Option(help: "Requests in flight, 1 to 16. Only with 1 do batches land in the recorded order.")
    var inFlight: Int = 1

    @Flag(help: "Then wait until every closed bucket has been evaluated.")
    var wait = false

    @Option(help: "table (a line for people) or json: one line a recording, as --summary writes it.")
    var output = OutputFormat.table

    @Option(help: "Append the result as one JSON line to this file.")
    var summary: String?

    @OptionGroup var gateway: ConnectionOptions

    func validate() throws {
        guard self.speed >= 0, self.speed.isFinite else { throw ValidationError("--speed must be 0 or more.") }
        guard (1...50_000).contains(self.batch) else { throw ValidationError("--batch must be 1 to 50000.") }
        guard (1...16).contains(self.inFlight) else { throw ValidationError("--in-flight must be 1 to 16.") }
    }

    func run() async throws {
        let connection = try self.gateway.resolve()
        do {
            try await GatewayClient.with(connection) { client in
                var refused = 0
                for file in self.files { refused += try await self.replay(file, client: client) }
                if self.wait { try await EvaluationWait(client: client).run() }
                guard refused == 0 else { throw ExitCode(65) }
            }
        } catch let failure as ClientFailure {
            Self.complain("replay: \(failure)")
            throw ExitCode(failure.exitCode)
        } catch let failure as RecordingError {
            Self.complain("replay: \(failure)")
            throw ExitCode(65)
        }
    }

    /// - Returns: how many rows did not land.
    private func replay(_ file: String, client: GatewayClient) async throws -> Int {
        let replay = Replay(
            client: client, path: file, domainPrefix: self.domainPrefix, speed: self.speed, batchSize: self.batch,
            inFlight: self.inFlight)
        let (summary, badRows) = try await replay.run()
        for row in badRows { Self.complain(row) }
        switch self.output {
        case .table: print(summary.line)
        case .json: print(String(decoding: try APIJSON.encoder().encode(summary), as: UTF8.self))
        }
        if let path = self.summary { try summary.append(to: path) }
        return summary.rejected + summary.badRows
    }

    private static func complain(_ text: String) {
        try? FileHandle.standardError.write(contentsOf: Data((text + "\n").utf8))
    }
}
