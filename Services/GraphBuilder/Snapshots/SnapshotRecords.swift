import Foundation
import Model
import Postgres

/// The table `multi_layer_snapshots`: what the files are, told to whoever cannot see them.
struct SnapshotRecords: Sendable {
    let configuration: PostgresConfiguration

    private func connected<Result>(_ body: (PostgresConnection) async throws -> Result) async throws -> Result {
        let connection = try await PostgresConnection.connect(self.configuration)
        do {
            let result = try await body(connection)
            await connection.close()
            return result
        } catch {
            await connection.close()
            throw error
        }
    }

    /// Makes the table agree with the folder: adds what is missing, marks what was removed by us or is gone.
    func reconcile(_ folder: SnapshotFolder, removed: [String]) async throws {
        let host = ProcessInfo.processInfo.hostName
        let ids = try folder.ids()
        let manifests = ids.compactMap { try? SnapshotFiles.manifest(in: folder.folder($0), id: $0) }
        try await self.connected { connection in
            try await connection.transaction { connection in
                for manifest in manifests { try await Self.insert(manifest, folder, host, connection) }
                _ = try await connection.query(
                    """
                    UPDATE multi_layer_snapshots
                    SET removed_at = now(),
                        removed_because = CASE WHEN id = ANY($3::text[]) THEN 'RETENTION_DAYS' ELSE 'its folder is gone' END
                    WHERE host = $1 AND directory = $2 AND removed_at IS NULL AND NOT (id = ANY($4::text[]))
                    """, [.text(host), .text(folder.path), .textArray(removed), .textArray(ids)])
            }
        }
    }

    private static func insert(
        _ manifest: SnapshotManifest, _ folder: SnapshotFolder, _ host: String, _ connection: PostgresConnection
    ) async throws {
        let tables = Dictionary(manifest.files.map { ($0.table, $0.rows) }, uniquingKeysWith: { $0 + $1 })
        let sum = SnapshotFiles.sum(try manifest.encoded())
        try await connection.query(
            """
            INSERT INTO multi_layer_snapshots (id, created_at, host, directory, program_version, schema_number, row_count,
                byte_count, tables, manifest_sha256, duration_ms, verified_at, verified_ok, verified_detail)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, now(), true, 'read back when it was made')
            ON CONFLICT (id) DO NOTHING
            """,
            [
                .text(manifest.id), .timestamp(manifest.createdAt), .text(host), .text(folder.path),
                .text(manifest.programVersion), .int32(Int32(manifest.schemaNumber)), .int(manifest.rowCount),
                .int(manifest.byteCount), try .jsonb(encoding: tables), .text(sum), .int64(manifest.durationMs),
            ])
    }

    /// Puts down what a check of the files found.
    func note(id: String, problem: String?) async throws {
        try await self.connected { connection in
            _ = try await connection.query(
                """
                UPDATE multi_layer_snapshots SET verified_at = now(), verified_ok = $2, verified_detail = $3 WHERE id = $1
                """, [.text(id), .bool(problem == nil), .text(problem ?? "all files are what was written")])
        }
    }
}
