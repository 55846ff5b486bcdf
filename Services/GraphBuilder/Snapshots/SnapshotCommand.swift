import ArgumentParser
import Foundation
import Model
import Postgres
import ServiceRuntime

/// `graph-builder snapshot rotate|list|verify|restore`.
struct SnapshotCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot",
        abstract: "Keep results (edges, baselines, anomalies, forecasts) in files, check them, bring them back.",
        discussion: """
            Reads DATABASE_URL, SNAPSHOT_DIR and RETENTION_DAYS.

            Examples:
              graph-builder snapshot rotate
              graph-builder snapshot list --output json
              graph-builder snapshot verify latest
              graph-builder snapshot restore latest --rehearse
              graph-builder snapshot restore 20260131T020000Z-3f9a1c --mode merge

            Exit codes: 0 done; 64 wrong usage or configuration; 65 a file is damaged; 66 there is no such snapshot; 69 the
            database does not answer; 74 the folder cannot be read or written; 75 something else is at work, try later; 78
            the snapshot does not fit the database's schema. In every case but 0 nothing was changed.
            """,
        subcommands: [Rotate.self, List.self, Verify.self, Restore.self])

    /// The folder, and the database.
    static func place() throws -> (folder: SnapshotFolder, database: PostgresConfiguration, days: Int) {
        let settings = try ServiceCommand<GraphBuilder>.loadSettings()
        guard let path = settings.optionalText("SNAPSHOT_DIR") else {
            FileHandle.standardError.write(Data("snapshot: SNAPSHOT_DIR is not set\n".utf8))
            throw ExitCode(64)
        }
        return (try SnapshotFolder(path: path), try settings.database(), settings.integer("RETENTION_DAYS"))
    }

    /// The gateway's setting, which may stand in a shared environment.
    static var auditLevel: AuditLevel {
        ProcessInfo.processInfo.environment["AUDIT_LEVEL"].flatMap(AuditLevel.init(rawValue:)) ?? .changes
    }

    /// Runs `body` and turns its errors into a sentence and an exit code.
    static func reporting(_ body: () async throws -> Void) async throws {
        do {
            try await body()
        } catch let error as SnapshotError {
            FileHandle.standardError.write(Data("snapshot: \(error)\n".utf8))
            throw error.exitCode
        } catch let error as PostgresError {
            FileHandle.standardError.write(Data("snapshot: \(error)\n".utf8))
            throw ExitCode(error.severity == .never ? 70 : 69)
        }
    }

    struct Rotate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "rotate",
            abstract: "Make a snapshot, read it back, then remove those older than RETENTION_DAYS.")

        @Option(help: "table or json") var output = OutputFormat.table

        func run() async throws {
            try await SnapshotCommand.reporting {
                let place = try SnapshotCommand.place()
                let outcome = try await SnapshotRotation(
                    configuration: place.database, folder: place.folder, retentionDays: place.days
                ).run()
                if let problem = outcome.unrecorded {
                    let text = "snapshot: made, but multi_layer_snapshots does not know it yet: \(problem)\n"
                    FileHandle.standardError.write(Data(text.utf8))
                }
                if self.output == .json { return try OutputFormat.printJSON(SnapshotSummary(outcome)) }
                let manifest = outcome.manifest
                print(
                    "snapshot \(manifest.id): \(manifest.rowCount) rows, \(manifest.byteCount) bytes, \(manifest.durationMs) ms"
                )
                for (content, rows) in manifest.contents { print("  \(content): \(rows)") }
                for id in outcome.removed { print("removed \(id): older than \(place.days) days") }
                for name in outcome.cleared { print("cleared \(name): left by an interrupted run") }
            }
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "Show the snapshots in SNAPSHOT_DIR; needs no database.")

        @Option(help: "table or json") var output = OutputFormat.table

        func run() async throws {
            try await SnapshotCommand.reporting {
                let folder = try SnapshotCommand.place().folder
                let entries = try folder.ids().map { SnapshotSummary(id: $0, in: folder) }
                if self.output == .json { return try OutputFormat.printJSON(entries) }
                var table = TextTable([
                    ("snapshot", .left), ("rows", .right), ("bytes", .right), ("schema", .right), ("state", .left),
                ])
                for entry in entries {
                    table.add(
                        entry.id, entry.rows.map(String.init) ?? "-", entry.bytes.map(String.init) ?? "-",
                        entry.schemaNumber.map(String.init) ?? "-", entry.problem ?? "complete")
                }
                table.lines.forEach { print($0) }
            }
        }
    }

    struct Verify: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "verify", abstract: "Read a snapshot's files and compare them with what was written.")

        @Argument(help: "Name of a snapshot, or latest.") var snapshot = "latest"
        @Option(help: "table or json") var output = OutputFormat.table

        func run() async throws {
            try await SnapshotCommand.reporting {
                let place = try SnapshotCommand.place()
                let id = try place.folder.resolve(self.snapshot)
                var summary = SnapshotSummary(id: id, in: place.folder)
                var failure: SnapshotError?
                do {
                    let path = place.folder.folder(id)
                    for file in try SnapshotFiles.manifest(in: path, id: id).files {
                        try SnapshotFiles.check(file, in: path)
                    }
                } catch let error as SnapshotError {
                    failure = error
                }
                summary.problem = failure?.description
                // The finding stands whether or not the database can be told.
                try? await SnapshotRecords(configuration: place.database).note(id: id, problem: summary.problem)
                if self.output == .json {
                    try OutputFormat.printJSON(summary)
                } else if failure == nil {
                    print("\(id): \(summary.rows ?? 0) rows in \(summary.bytes ?? 0) bytes, all as written")
                }
                if let failure { throw failure }
            }
        }
    }

    struct Restore: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "restore",
            abstract: "Bring a snapshot back, in one transaction.",
            discussion: """
                --mode merge (default) adds what is missing and brings back events whose graph is older than the snapshot's; it
                takes nothing away and may run while services do. --mode replace makes results what they were; services must
                be stopped, and evaluate anew what came later from the stored observations. The audit log says who restored what
                (AUDIT_LEVEL CHANGES, which is the default, or ALL).
                """)

        @Argument(help: "Name of a snapshot, or latest.") var snapshot: String
        @Option(help: "merge or replace") var mode = SnapshotRestore.Mode.merge
        @Flag(help: "Do everything but the commit.") var rehearse = false
        @Option(help: "table or json") var output = OutputFormat.table

        func run() async throws {
            try await SnapshotCommand.reporting {
                let place = try SnapshotCommand.place()
                let id = try place.folder.resolve(self.snapshot)
                let changes = try await SnapshotRestore(
                    configuration: place.database, folder: place.folder, mode: self.mode, isRehearsal: self.rehearse,
                    auditLevel: SnapshotCommand.auditLevel
                ).run(id)
                if self.output == .json { return try OutputFormat.printJSON(changes) }
                var table = TextTable([
                    ("table", .left), ("in snapshot", .right), ("written", .right), ("removed", .right),
                ])
                for change in changes {
                    table.add(change.table, String(change.read), String(change.written), String(change.removed))
                }
                table.lines.forEach { print($0) }
                print(self.rehearse ? "rehearsed \(id); nothing was changed" : "restored \(id)")
            }
        }
    }
}

extension SnapshotRestore.Mode: ExpressibleByArgument {}

/// One line of `list`.
struct SnapshotSummary: Encodable {
    var id: String
    var createdAt: Timestamp?
    var rows: Int?
    var bytes: Int?
    var schemaNumber: Int?
    var problem: String?
    var removed: [String]?

    init(id: String, in folder: SnapshotFolder) {
        self.id = id
        do {
            self.take(try SnapshotFiles.manifest(in: folder.folder(id), id: id))
        } catch {
            self.problem = error.description
        }
    }

    init(_ outcome: SnapshotRotation.Outcome) {
        self.id = outcome.manifest.id
        self.take(outcome.manifest)
        self.removed = outcome.removed
    }

    private mutating func take(_ manifest: SnapshotManifest) {
        self.createdAt = manifest.createdAt
        self.rows = manifest.rowCount
        self.bytes = manifest.byteCount
        self.schemaNumber = manifest.schemaNumber
    }
}
