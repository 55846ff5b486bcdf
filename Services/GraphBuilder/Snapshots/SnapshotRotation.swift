import Engine
import Foundation
import Logging
import Model
import Postgres
import ServiceRuntime

/// Makes a snapshot, checks it, gives it its name, and takes away the ones that are too old.
struct SnapshotRotation: Sendable {
    let configuration: PostgresConfiguration
    let folder: SnapshotFolder
    let retentionDays: Int

    struct Outcome: Sendable {
        var manifest: SnapshotManifest
        var removed: [String]
        /// What interrupted runs had left behind.
        var cleared: [String]
        /// Why the table of snapshots does not know of it yet; the next run tells it.
        var unrecorded: String?
    }

    func run() async throws -> Outcome {
        let lock = try self.folder.lock()
        let cleared = try self.folder.removePartials(lock)
        let id = SnapshotName.make()
        let manifest: SnapshotManifest
        do {
            manifest = try await self.write(id)
            try self.folder.publish(id, lock)
        } catch {
            // A disk that is full is not left fuller.
            try? FileManager.default.removeItem(atPath: self.folder.partial(id))
            throw error
        }
        let removed = try self.retire(lock)
        var outcome = Outcome(manifest: manifest, removed: removed, cleared: cleared)
        do {
            try await SnapshotRecords(configuration: self.configuration).reconcile(self.folder, removed: removed)
        } catch {
            outcome.unrecorded = "\(error)"
        }
        return outcome
    }

    /// Writes all files under the partial name and reads them back.
    private func write(_ id: String) async throws -> SnapshotManifest {
        let began = ContinuousClock.now
        let partial = self.folder.partial(id)
        guard mkdir(partial, 0o700) == 0 else { throw SnapshotFileWriter.failure(partial, errno) }
        var manifest = try await self.copy(id, into: partial)
        manifest.durationMs = Int64(began.duration(to: .now) / .milliseconds(1))
        let data = try manifest.encoded()
        try SnapshotFiles.write(data, to: "\(partial)/\(SnapshotManifest.fileName)")
        let sums = SnapshotFiles.sums(manifest, manifestSum: SnapshotFiles.sum(data))
        try SnapshotFiles.write(Data(sums.utf8), to: "\(partial)/\(SnapshotManifest.sumsName)")
        // What cannot be read back would be found out on the day it is needed.
        for file in manifest.files { try SnapshotFiles.check(file, in: partial) }
        return manifest
    }

    private func copy(_ id: String, into partial: String) async throws -> SnapshotManifest {
        var configuration = self.configuration
        // One COPY may take longer than any statement of a service.
        configuration.statementTimeout = .seconds(3_600)
        let connection = try await PostgresConnection.connect(configuration)
        do {
            // One database snapshot for all tables: what is committed in between is in none of them.
            let manifest = try await connection.transaction(.readOnly) { connection in
                var manifest = try await Self.head(id, connection)
                for table in SnapshotTable.all {
                    manifest.files.append(try await Self.copy(table, into: partial, connection))
                }
                return manifest
            }
            await connection.close()
            return manifest
        } catch {
            await connection.close()
            throw error
        }
    }

    private static func head(_ id: String, _ connection: PostgresConnection) async throws -> SnapshotManifest {
        let row = try await connection.query(
            """
            SELECT (SELECT max(number) FROM schema_migrations), current_setting('server_version'),
                   pg_current_snapshot()::text,
                   CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text,
                   (SELECT array_agg(revision ORDER BY shard) FROM shard_leases)
            """)[0]
        let (schema, server, snapshot, wal, revisions) = try row.decode((Int, String, String, String, [Int64]).self)
        return SnapshotManifest(
            id: id, createdAt: Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1_000)),
            host: ProcessInfo.processInfo.hostName, programVersion: BuildVersion.text,
            engineVersion: GraphIdentity.engineVersion, schemaNumber: schema, serverVersion: server,
            databaseSnapshot: snapshot, walPosition: wal, revisions: revisions)
    }

    private static func copy(
        _ table: SnapshotTable, into partial: String, _ connection: PostgresConnection
    ) async throws -> SnapshotManifest.File {
        let columns = try await Self.columns(of: table, connection)
        let name = SnapshotManifest.name(of: table.name)
        let writer = try SnapshotFileWriter(path: "\(partial)/\(name)")
        let failure = SnapshotFailure()
        let rows: Int
        do {
            rows = try await connection.copyOutBytes(
                PostgresStatement(composed: table.copyOut(columns: columns))
            ) { (bytes) throws(PostgresError) in
                do throws(SnapshotError) {
                    try writer.write(bytes)
                } catch {
                    failure.note(error)
                    throw PostgresError(.cancelled, detail: "the snapshot's file cannot be written")
                }
            }
        } catch {
            if let first = failure.first { throw first }
            throw error
        }
        let file = try writer.finish()
        return SnapshotManifest.File(
            table: table.name, content: table.content, name: name, columns: columns, rows: rows, bytes: file.bytes,
            unpackedBytes: file.unpackedBytes, sha256: file.sha256)
    }

    /// All that are stored; the server makes the generated ones anew.
    static func columns(of table: SnapshotTable, _ connection: PostgresConnection) async throws -> [String] {
        try await connection.query(
            """
            SELECT attname::text FROM pg_attribute
            WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
            ORDER BY attnum
            """, [.text(table.name)]
        ).column(String.self)
    }

    private func retire(_ lock: SnapshotFolder.Lock) throws -> [String] {
        let snapshots = try self.folder.ids().map { id in
            (id: id, createdAt: try? SnapshotFiles.manifest(in: self.folder.folder(id), id: id).createdAt)
        }
        let now = Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1_000))
        let expired = SnapshotRetention(days: self.retentionDays).expired(snapshots, now: now)
        for id in expired { try self.folder.remove(id, lock) }
        return expired
    }
}
