import ArgumentParser
import Crypto
import Foundation
import Logging
import Model
import Postgres
import ServiceRuntime

/// `anomaly-propagation readiness run|show|export|import`.
struct ReadinessCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "readiness",
        abstract: "Perform the checks before production against the running system, and show what they saw.",
        discussion: """
            Reads DATABASE_URL and CALLER_TOKEN_SECRET_FILE, which seals what was seen: nobody can write a PASS by hand. The
            key must have all scopes. Checks that break something need CHAOS_ENABLED and take some minutes.

            Examples:
              anomaly-propagation readiness run --connection .data/connection.json
              anomaly-propagation readiness run --connection .data/connection.json --only rate_limiting --only simd
              anomaly-propagation readiness show --output json
              anomaly-propagation readiness export > staging.jsonl        # there
              anomaly-propagation readiness import staging.jsonl          # here

            Exit codes: 0 no blocker (no CRITICAL check failed or is pending); 1 blockers; 64 wrong usage or configuration;
            69 the database or the gateway does not answer.
            """,
        subcommands: [Run.self, Show.self, Export.self, Import.self])

    struct Run: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "run", abstract: "Perform each check, store what it saw, print the table.")

        @Option(help: "Connection file of a running system: url, caFile, apiKey, services.") var connection: String
        @Option(
            help:
                "Where a replica shows its metrics, once for each: SERVICE=URL; else the ports of the connection file."
        )
        var metrics: [String] = []
        @Option(help: "Only these checks.") var only: [String] = []
        @Option(help: "The graph-builder executable (default: beside this one).") var graphBuilder: String?
        @Option(help: "Folder of the pages for alerts.") var runbooks = "docs/runbooks"
        @Option(help: "Folder of the rules for alerts.") var monitoring = "monitoring"
        @Option(help: "table or json") var output = OutputFormat.table

        func validate() throws {
            for name in self.only where ReadinessCheck(rawValue: name) == nil {
                throw ValidationError(
                    "\(name) is not one of \(ReadinessCheck.allCases.map(\.rawValue).joined(separator: ", "))")
            }
            for entry in self.metrics where Self.places(of: [entry]).isEmpty {
                throw ValidationError("--metrics \(entry) must be SERVICE=URL")
            }
        }

        private static func places(of entries: [String]) -> [String: [String]] {
            entries.reduce(into: [:]) { places, entry in
                let parts = entry.split(separator: "=", maxSplits: 1).map(String.init)
                if parts.count == 2 { places[parts[0], default: []].append(parts[1]) }
            }
        }

        func run() async throws {
            let place = try ReadinessCommand.Place()
            let file = try ConnectionDescription.read(self.connection)
            var places = ReadinessTrials.Places(queryTimeoutMs: place.settings.integer("QUERY_TIMEOUT_MS"))
            places.metrics = file.metrics.merging(Self.places(of: self.metrics)) { $1 }
            (places.runbooks, places.monitoring) = (self.runbooks, self.monitoring)
            let beside =
                URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().path + "/graph-builder"
            let program = self.graphBuilder ?? beside
            places.graphBuilder = FileManager.default.isExecutableFile(atPath: program) ? program : nil
            let report = try await place.withStore { store in
                try await SystemProbe.with(url: file.url, caFile: file.caFile, key: file.apiKey) { probe in
                    try await self.perform(
                        ReadinessTrials(probe: probe, store: store, places: places), store: store, secret: place.secret)
                }
                return try await place.report(store)
            }
            try ReadinessCommand.show(report, as: self.output)
        }

        private func perform(_ trials: ReadinessTrials, store: ReadinessStore, secret: SymmetricKey) async throws {
            guard let system = try await store.system() else {
                throw ReadinessTrouble("no instance of the system has said that it runs")
            }
            var trials = trials
            trials.tell = { FileHandle.standardError.write(Data("\($0)\n".utf8)) }
            for check in ReadinessCheck.allCases where self.only.isEmpty || self.only.contains(check.rawValue) {
                trials.tell("\(check.rawValue) ...")
                let finding = await trials.perform(check)
                try await store.store(
                    ReadinessRow(
                        component: ReadinessCheck.component, check: check.rawValue, severity: check.severity,
                        status: finding.status, description: check.description,
                        lastChecked: Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1_000)),
                        evidence: finding.evidence, version: system.version,
                        configurationHash: system.configurationHash, environment: system.environment), secret: secret)
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Print what the last runs saw and how it counts now.")

        @Option(help: "table or json") var output = OutputFormat.table

        func run() async throws {
            let place = try ReadinessCommand.Place()
            try ReadinessCommand.show(try await place.withStore { try await place.report($0) }, as: self.output)
        }
    }

    /// Settings, the secret that seals, and the database.
    struct Place {
        let settings: ServiceSettings
        let secrets: CallerTokenSecrets
        let secret: SymmetricKey

        init() throws {
            self.settings = try ServiceCommand<AnomalyPropagation>.loadSettings()
            guard let path = self.settings.optionalText("CALLER_TOKEN_SECRET_FILE") else {
                throw ReadinessCommand.refuse("CALLER_TOKEN_SECRET_FILE is needed to seal evidence", code: 64)
            }
            do { self.secrets = try CallerTokenSecrets(path: path) } catch {
                throw ReadinessCommand.refuse(error.description, code: 64)
            }
            guard let secret = self.secrets.signing else {
                throw ReadinessCommand.refuse("CALLER_TOKEN_SECRET_FILE holds no secret", code: 64)
            }
            self.secret = secret
        }

        func withStore<Result>(_ body: (ReadinessStore) async throws -> Result) async throws -> Result {
            var logger = Logger(label: "readiness", factory: { StreamLogHandler.standardError(label: $0) })
            logger.logLevel = .error
            do {
                var configuration = try self.settings.database()
                configuration.pool = PostgresConfiguration.Pool(minimum: 0, maximum: 3)
                configuration.applicationName = "readiness"
                return try await PostgresPool.withPool(configuration, logger: logger) {
                    try await body(ReadinessStore(pool: $0))
                }
            } catch let error as PostgresError {
                throw ReadinessCommand.refuse("\(error)", code: 69)
            } catch let error as ReadinessTrouble {
                throw ReadinessCommand.refuse(error.description, code: 69)
            }
        }

        func report(_ store: ReadinessStore) async throws -> ReadinessReport {
            try await ReadinessRoutes(store: store, secrets: self.secrets, timeout: QueryBound(limit: .seconds(5)))
                .report()
        }
    }

    static func refuse(_ text: String, code: Int32) -> ExitCode {
        FileHandle.standardError.write(Data("readiness: \(text)\n".utf8))
        return ExitCode(code)
    }

    static func show(_ report: ReadinessReport, as format: OutputFormat) throws {
        switch format {
        case .json: try OutputFormat.printJSON(report)
        case .table: print(report.table)
        }
        if report.summary.blockers > 0 { throw ExitCode(1) }
    }
}

/// What of a connection file is needed here.
struct ConnectionDescription: Decodable {
    struct Ports: Decodable { var metricsPort: Int }

    var url: String
    var caFile: String?
    var apiKey: String
    var services: [String: Ports]?

    var metrics: [String: [String]] {
        (self.services ?? [:]).mapValues { ["http://127.0.0.1:\($0.metricsPort)/metrics"] }
    }

    static func read(_ path: String) throws -> ConnectionDescription {
        guard let data = FileManager.default.contents(atPath: path),
            let file = try? JSONDecoder().decode(ConnectionDescription.self, from: data)
        else { throw ReadinessCommand.refuse("\(path) is not a connection file: it needs url and apiKey", code: 64) }
        return file
    }
}

extension ReadinessReport {
    /// For people: one line a check, then the sums. Colours only on a terminal, and not with NO_COLOR.
    var table: String {
        let width = self.items.map(\.check.count).max() ?? 0
        let lines = self.items.map { item in
            let why = item.note ?? item.evidence["reason"] ?? item.description
            let name = item.check + String(repeating: " ", count: width - item.check.count)
            let severity = item.severity.rawValue + String(repeating: " ", count: 8 - item.severity.rawValue.count)
            let status = item.status.rawValue + String(repeating: " ", count: 7 - item.status.rawValue.count)
            return "  \(severity)  \(name)  \(TerminalStyle.standardOutput.colored(status, item.status.color))  \(why)"
        }
        let summary = self.summary
        return lines.joined(separator: "\n")
            + "\ntotal \(summary.total), passed \(summary.passed), blockers \(summary.blockers), compliance \(summary.compliance) %"
    }
}

extension ReadinessFinding.Status {
    var color: TerminalStyle.Color {
        switch self {
        case .pass: .green
        case .fail: .red
        case .warn, .pending: .yellow
        }
    }
}
