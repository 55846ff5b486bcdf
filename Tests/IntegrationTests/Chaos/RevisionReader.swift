import Model
import Postgres

/// Reads evaluations and findings as anomaly-propagation does: of each shard what is above the last revision seen, again and
/// again. What it missed once it never sees.
actor RevisionReader {
    private static let tables: [String: PostgresStatement] = [
        "evaluations": """
        SELECT e.shard, e.revision, e.domain || ' ' || e.window_end
        FROM unnest($1::smallint[], $2::bigint[]) AS p(shard, last)
        JOIN evaluations e ON e.shard = p.shard AND e.revision > p.last
        """,
        "findings": """
        SELECT f.shard, f.revision, concat_ws(' ', f.event_id, f.kind, f.node_id, f.target_node, f.window_end)
        FROM unnest($1::smallint[], $2::bigint[]) AS p(shard, last)
        JOIN findings f ON f.shard = p.shard AND f.revision > p.last
        """,
    ]

    private let evidence: Evidence
    private var last: [String: [Shard: Int64]] = [:]
    private var seen: Set<String> = []
    private var isStopped = false

    init(_ evidence: Evidence) { self.evidence = evidence }

    func stop() { self.isStopped = true }

    /// Rounds until it is stopped.
    func follow() async throws {
        try await self.evidence.connected { connection in
            while !self.isStopped, !Task.isCancelled {
                try await self.round(connection)
                try? await Task.sleep(for: .milliseconds(50))
            }
        }
    }

    private func round(_ connection: PostgresConnection) async throws {
        for (table, statement) in Self.tables {
            let last = self.last[table] ?? [:]
            for (shard, revision, row) in try await Self.rows(statement, above: last, connection) {
                self.last[table, default: [:]][shard] = max(revision, self.last[table]?[shard] ?? 0)
                self.seen.insert("\(table) \(shard.rawValue) \(row)")
            }
        }
    }

    /// What the tables hold that was never read.
    func missed() async throws -> Set<String> {
        try await self.evidence.connected { connection in
            // What came after the last round counts as seen.
            try await self.round(connection)
            var all: Set<String> = []
            for (table, statement) in Self.tables {
                for (shard, _, row) in try await Self.rows(statement, above: [:], connection) {
                    all.insert("\(table) \(shard.rawValue) \(row)")
                }
            }
            return all.subtracting(self.seen)
        }
    }

    private static func rows(
        _ statement: PostgresStatement, above last: [Shard: Int64], _ connection: PostgresConnection
    ) async throws -> [(Shard, Int64, String)] {
        let rows = try await connection.query(
            statement, [.shardArray(Shard.all), .int64Array(Shard.all.map { last[$0] ?? 0 })])
        return try rows.map { try $0.decode((Shard, Int64, String).self) }
    }
}
