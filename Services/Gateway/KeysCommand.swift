import ArgumentParser
import Foundation
import Logging
import Model
import Postgres
import ServiceRuntime
import Telemetry

/// `gateway keys create | list | rotate | revoke`: API keys straight in the database, also while no gateway runs.
struct KeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys", abstract: "Make, list, replace and revoke API keys.",
        discussion: """
            Works on the database of DATABASE_URL, also while no gateway runs. What is changed is noted in audit_log (AUDIT_LEVEL
            SECURITY, CHANGES, which is the default, or ALL).

            Examples:
              gateway keys create --caller billing --scopes ingest,read --expires-days 90
              gateway keys list --output json
              gateway keys rotate 0f3a9c2e5b7d1846 --grace-seconds 86400
              gateway keys revoke 0f3a9c2e5b7d1846

            Exit codes: 0 done; 1 there is no such key, or the database does not answer; 64 wrong usage or configuration.
            """,
        subcommands: [Create.self, List.self, Rotate.self, Revoke.self])

    /// What a command did to a key, and what it tells its user once that is certain.
    struct Deed {
        var words: String
        var keyID: String
        var output: String
    }

    /// Runs `body` on the configured database and notes in the audit log what it says it did, both in one transaction: no key
    /// is made, or shown, that the log does not know.
    static func withStore(_ body: (APIKeyStore) async throws -> Deed?) async throws {
        let settings = try ServiceCommand<GatewayService>.loadSettings()
        do {
            var configuration = try settings.database()
            configuration.pool = PostgresConfiguration.Pool(minimum: 0, maximum: 1)
            // The output of this command is read by scripts: nothing but problems goes into the log.
            var logger = Logger(label: "gateway.keys", factory: { StreamLogHandler.standardError(label: $0) })
            logger.logLevel = .error
            try await PostgresPool.withPool(configuration, logger: logger) { pool in
                let deed = try await pool.withTransaction { connection -> Deed? in
                    guard let deed = try await body(APIKeyStore(connection: connection)) else { return nil }
                    var event = AuditEvent.command(
                        .security, deed.words, time: Timestamp(milliseconds: WallClock.milliseconds()))
                    event.keyID = deed.keyID
                    if event.isKept(at: AuditLevel(rawValue: settings.text("AUDIT_LEVEL")) ?? .changes) {
                        try await AuditStore.record(event, service: GatewayService.name, on: connection)
                    }
                    return deed
                }
                if let deed { print(deed.output) }
            }
        } catch let error as PostgresError {
            FileHandle.standardError.write(Data("\(error)\n".utf8))
            throw ExitCode.failure
        }
    }

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a key and print it, once: only its hash is kept.")

        @Option(help: "Whose requests they are: limits and logs go by this name.") var caller: String
        @Option(help: "Scopes separated by commas: ingest, read, configure, admin.") var scopes: String
        @Option(help: "Days until it expires, 1 to 3650; none: until it is revoked.") var expiresDays: Int?

        func run() async throws {
            let request: NewAPIKey
            do throws(ValidationError) {
                request = try NewAPIKey(
                    caller: self.caller, scopes: self.scopes.split(separator: ",").map { String($0.trimmed) },
                    expiresInDays: self.expiresDays)
            } catch {
                throw ArgumentParser.ValidationError(error.description)
            }
            try await KeysCommand.withStore { store in
                let key = APIKeyText.random()
                _ = try await store.insert(
                    key, for: request, now: Timestamp(milliseconds: WallClock.milliseconds()))
                return Deed(words: "keys create", keyID: key.id, output: key.text)
            }
        }

        private typealias ValidationError = Model.ValidationError
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show all keys, without their secrets.")

        @Option(help: "table or json") var output = OutputFormat.table

        private static func line(_ key: APIKeyRecord) -> String {
            let state =
                key.revokedAt.map { "revoked \($0.rfc3339)" } ?? key.expiresAt.map { "expires \($0.rfc3339)" }
                ?? "valid"
            let scopes = key.scopes.map(\.rawValue).sorted().joined(separator: ",")
            return "\(key.id)  \(key.caller)  \(scopes)  made \(key.createdAt.rfc3339)  \(state)"
        }

        func run() async throws {
            try await KeysCommand.withStore { store in
                var items: [APIKeyRoutes.Item] = []
                var after = ""
                while true {
                    let page = try await store.list(after: after)
                    // A table is shown as it comes; a document is one.
                    if self.output == .json {
                        items += page.map { APIKeyRoutes.Item($0) }
                    } else {
                        for key in page { print(Self.line(key)) }
                    }
                    guard page.count == APIKeyStore.listLimit, let last = page.last else { break }
                    after = last.id
                }
                if self.output == .json { try OutputFormat.printJSON(items) }
                return nil
            }
        }
    }

    struct Rotate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Replace a key: prints the new one, once; the old one stays valid for the grace.")

        @Argument(help: "The id: the 16 digits between uc_ and the second underscore.") var id: String
        @Option(help: "Seconds the old key stays valid, 0 to 2592000 (30 days).") var graceSeconds = KeyRotation
            .usualGraceSeconds
        @Option(help: "Days until the new one expires, 1 to 3650; none: as many as the old one had.") var expiresDays:
            Int?

        func run() async throws {
            let rotation: KeyRotation
            do throws(Model.ValidationError) {
                rotation = try KeyRotation(graceSeconds: self.graceSeconds, expiresInDays: self.expiresDays)
            } catch {
                throw ArgumentParser.ValidationError(error.description)
            }
            try await KeysCommand.withStore { store in
                let key = APIKeyText.random()
                guard try await store.rotate(id: self.id, to: key, rotation) != nil else {
                    FileHandle.standardError.write(Data("there is no valid API key with this id\n".utf8))
                    throw ExitCode.failure
                }
                return Deed(words: "keys rotate to \(key.id)", keyID: self.id, output: key.text)
            }
        }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Revoke a key: within five seconds no gateway accepts it.")

        @Argument(help: "The id: the 16 digits between uc_ and the second underscore.") var id: String

        func run() async throws {
            try await KeysCommand.withStore { store in
                guard try await store.revoke(id: self.id) else {
                    FileHandle.standardError.write(Data("there is no API key with this id\n".utf8))
                    throw ExitCode.failure
                }
                return Deed(words: "keys revoke", keyID: self.id, output: "revoked \(self.id)")
            }
        }
    }
}
