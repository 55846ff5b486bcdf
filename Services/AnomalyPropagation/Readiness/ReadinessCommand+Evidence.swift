import ArgumentParser
import Crypto
import Foundation
import ServiceRuntime

/// Evidence from one installation to another: staging may break things, production may not.
extension ReadinessCommand {
    struct Export: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "export",
            abstract: "Print the evidence of this environment with its seals, as JSON lines for `readiness import`.",
            discussion: """
                Rows that no run has written as they stand are left out.

                Examples:
                  anomaly-propagation readiness export > staging.jsonl
                  anomaly-propagation readiness export --environment staging > staging.jsonl

                Exit codes: 0 printed; 64 wrong usage or configuration; 66 there is no evidence of the environment; 69 the
                database does not answer.
                """)

        @Option(help: "The environment; none: that of the instances that run.") var environment: String?

        func run() async throws {
            let place = try ReadinessCommand.Place()
            let text = try await place.withStore { store in
                let environment = try await place.environment(self.environment, store)
                let (rows, accepted) = (try await store.rows(), place.secrets.accepted)
                let sealed = rows.filter {
                    $0.row.environment == environment && $0.row.isSealed($0.seal, by: accepted)
                }
                guard !sealed.isEmpty else {
                    throw ReadinessCommand.refuse("there is no evidence of \(environment)", code: 66)
                }
                return try ReadinessFile.text(sealed, secret: place.secret)
            }
            print(text, terminator: "")
        }
    }

    struct Import: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "import",
            abstract: "Take in the evidence that another environment has exported: all of the file or nothing.",
            discussion: """
                Only what a secret of CALLER_TOKEN_SECRET_FILE, or of --secret-file, has sealed is believed, and only of another
                environment. Newer evidence stays. What is taken counts while it is about the version and the configuration
                that run here; the two environments may differ in UNDERCURRENT_PROFILE, CHAOS_ENABLED, addresses and secrets.

                Examples:
                  anomaly-propagation readiness import staging.jsonl
                  anomaly-propagation readiness import staging.jsonl --secret-file staging-secret

                Exit codes: 0 taken, or as new here already; 64 wrong usage or configuration; 65 the file is damaged, not
                believed, or of this environment; 66 there is no such file; 69 the database does not answer. In every case
                but 0 nothing was changed.
                """)

        @Argument(help: "A file that `readiness export` has printed.") var file: String
        @Option(help: "Secrets, a line each, whose seals are believed besides our own: the other installation's.")
        var secretFile: String?
        @Option(help: "table or json") var output = OutputFormat.table

        private struct Outcome: Encodable {
            var taken: Int
            var kept: Int
        }

        func run() async throws {
            let place = try ReadinessCommand.Place()
            guard let handle = FileHandle(forReadingAtPath: self.file),
                let data = try? handle.read(upToCount: ReadinessFile.byteLimit + 1) ?? Data()
            else { throw ReadinessCommand.refuse("\(self.file) cannot be read", code: 66) }
            let outcome = try await place.withStore { store in
                let own = try await place.environment(nil, store)
                do {
                    let rows = try ReadinessFile.rows(in: data, secrets: place.secrets.accepted + self.others())
                    let (taken, kept) = try await store.take(
                        rows, own: own, accepted: place.secrets.accepted, secret: place.secret)
                    return Outcome(taken: taken, kept: kept)
                } catch let error as ReadinessFileError {
                    throw ReadinessCommand.refuse("\(self.file): \(error)", code: 65)
                }
            }
            switch self.output {
            case .json: try OutputFormat.printJSON(outcome)
            case .table: print("\(outcome.taken) rows taken, \(outcome.kept) were as new here")
            }
        }

        private func others() throws -> [SymmetricKey] {
            guard let path = self.secretFile else { return [] }
            do { return try CallerTokenSecrets(path: path).accepted } catch {
                throw ReadinessCommand.refuse(error.description, code: 64)
            }
        }
    }
}

extension ReadinessCommand.Place {
    /// Which environment this is: as its instances say, else as it is configured.
    func environment(_ named: String?, _ store: ReadinessStore) async throws -> String {
        if let named { return named }
        return try await store.system()?.environment ?? self.settings.profile
    }
}
