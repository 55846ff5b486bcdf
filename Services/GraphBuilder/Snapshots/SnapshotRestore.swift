import Foundation
import Model
import Postgres
import ServiceRuntime
import Telemetry

/// Brings a snapshot back into a database, in one transaction: all of it, or nothing.
///
/// Every file is checked before the database is touched, and read into temporary tables before anything is locked. Then the
/// leases of all shards are taken, as a writer of results takes them, so that nobody writes results at the same time, and
/// each shard's revision grows, so that readers notice.
struct SnapshotRestore: Sendable {
    enum Mode: String, Sendable, CaseIterable {
        /// Adds what is missing and brings back events whose graph is older than the snapshot's; never takes anything away. For
        /// an empty database, and for one in use.
        case merge
        /// Makes results what they were, for services that are stopped: what came later is evaluated anew from observations.
        case replace
    }

    struct Change: Sendable, Hashable, Encodable {
        var table: String
        /// Rows of the snapshot, rows written, and rows taken away.
        var read: Int
        var written: Int
        var removed: Int
    }

    let configuration: PostgresConfiguration
    let folder: SnapshotFolder
    let mode: Mode
    /// Ends the transaction without a trace: a rehearsal.
    var isRehearsal = false
    /// Whether that it was restored goes to the audit log.
    var auditLevel = AuditLevel.changes

    private struct Rehearsed: Error { var changes: [Change] }

    func run(_ id: String) async throws -> [Change] {
        let path = self.folder.folder(id)
        let manifest = try SnapshotFiles.manifest(in: path, id: id)
        for file in manifest.files { try SnapshotFiles.check(file, in: path) }
        var configuration = self.configuration
        configuration.statementTimeout = .seconds(3_600)
        let connection = try await PostgresConnection.connect(configuration)
        do {
            let changes = try await connection.transaction { connection in
                try await Self.checkFit(manifest, connection)
                if self.mode == .replace { try await Self.checkAlone(connection) }
                var changes: [Change] = []
                for file in manifest.files {
                    let rows = try await Self.stage(file, in: path, connection)
                    changes.append(Change(table: file.table, read: rows, written: 0, removed: 0))
                }
                try await self.apply(manifest, &changes, connection)
                if self.isRehearsal { throw Rehearsed(changes: changes) }
                try await connection.query(
                    "UPDATE multi_layer_snapshots SET restored_at = now() WHERE id = $1", [.text(id)])
                try await self.audit(id, connection)
                return changes
            }
            await connection.close()
            return changes
        } catch let rehearsed as Rehearsed {
            await connection.close()
            return rehearsed.changes
        } catch {
            await connection.close()
            throw error
        }
    }

    /// Last, because gateways that write the log wait for a day that is made here.
    private func audit(_ id: String, _ connection: PostgresConnection) async throws {
        let event = AuditEvent.command(
            .change, "snapshot restore \(id) --mode \(self.mode.rawValue)",
            time: Timestamp(milliseconds: WallClock.milliseconds()))
        guard event.isKept(at: self.auditLevel) else { return }
        try await AuditStore.record(event, service: GraphBuilder.name, on: connection)
    }

    private static func checkFit(_ manifest: SnapshotManifest, _ connection: PostgresConnection) async throws {
        let rows = try await connection.query("SELECT to_regclass('schema_migrations') IS NOT NULL")
        guard try rows[0].decode(Bool.self, at: 0) else {
            throw SnapshotError(.unfit, "the database has no schema: run `graph-builder migrate` first")
        }
        let newest = try await connection.query("SELECT coalesce(max(number), 0) FROM schema_migrations")
        let number = try newest[0].decode(Int.self, at: 0)
        guard number >= manifest.schemaNumber else {
            throw SnapshotError(
                .unfit,
                "the snapshot is of schema \(manifest.schemaNumber), the database has \(number): run `graph-builder migrate` first"
            )
        }
        guard manifest.revisions.count == Shard.count else {
            throw SnapshotError(.damaged, "the manifest names \(manifest.revisions.count) shards")
        }
    }

    /// Services keep in memory what this would change under them.
    private static func checkAlone(_ connection: PostgresConnection) async throws {
        let others = try await connection.query(
            """
            SELECT DISTINCT application_name FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()
              AND application_name IN ('graph-builder', 'anomaly-propagation') ORDER BY 1
            """
        ).column(String.self)
        let replicas = try await connection.query("SELECT count(*) FROM replicas WHERE expires_at > now()")
        guard others.isEmpty, try replicas[0].decode(Int.self, at: 0) == 0 else {
            throw SnapshotError(
                .busy,
                "services are at work on this database (\(others.isEmpty ? "their leases still run" : others.joined(separator: ", "))): stop them first, or restore with --mode merge"
            )
        }
    }

    /// Reads a file into a temporary table of just its columns.
    private static func stage(
        _ file: SnapshotManifest.File, in path: String, _ connection: PostgresConnection
    ) async throws -> Int {
        guard let table = SnapshotTable.all.first(where: { $0.name == file.table }) else {
            throw SnapshotError(.damaged, "the manifest names an unknown table")
        }
        let known = try await SnapshotRotation.columns(of: table, connection)
        let unknown = file.columns.filter { !known.contains($0) }
        guard unknown.isEmpty, !file.columns.isEmpty else {
            throw SnapshotError(
                .unfit, "the database's \(file.table) has no column \(unknown.joined(separator: ", "))")
        }
        let columns = SnapshotTable.list(file.columns)
        try await connection.runScript(
            PostgresStatement(
                composed:
                    "CREATE TEMPORARY TABLE \(table.staging) ON COMMIT DROP AS SELECT \(columns) FROM \(table.name) WITH NO DATA"
            ))
        let failure = SnapshotFailure()
        let source = "\(path)/\(file.name)"
        do {
            var reader = try SnapshotFileReader(path: source)
            let rows = try await connection.copyInBytes(
                PostgresStatement(composed: "COPY \(table.staging) (\(columns)) FROM STDIN (FORMAT text)")
            ) { () throws(PostgresError) in
                do throws(SnapshotError) {
                    return try reader.next()
                } catch {
                    failure.note(error)
                    throw PostgresError(.cancelled, detail: "the snapshot's file cannot be read")
                }
            }
            guard rows == file.rows else {
                throw SnapshotError(.damaged, "\(file.name) gave \(rows) rows instead of \(file.rows)")
            }
            // A new table has no statistics, and plans over thousands of rows would be those for a handful.
            try await connection.runScript(PostgresStatement(composed: "ANALYZE \(table.staging)"))
            return rows
        } catch {
            if let first = failure.first { throw first }
            throw error
        }
    }

    private func apply(
        _ manifest: SnapshotManifest, _ changes: inout [Change], _ connection: PostgresConnection
    ) async throws {
        let statements = SnapshotStatements(manifest: manifest)
        try await connection.query(
            self.mode == .replace ? SnapshotStatements.takeLeases : SnapshotStatements.raiseRevisions,
            [.int64Array(manifest.revisions)])
        let steps = self.mode == .replace ? statements.replacing : statements.merging
        for step in steps {
            let count = try await connection.execute(PostgresStatement(composed: step.text))
            guard let index = changes.firstIndex(where: { $0.table == step.table }) else { continue }
            if step.removes { changes[index].removed += count } else { changes[index].written += count }
        }
    }
}
