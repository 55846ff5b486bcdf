import Model
import Postgres

/// Follows `ingest_log`: every committed batch exactly once, none skipped, whatever the order of commits.
///
/// Only rows of transactions older than every running one are taken; a transaction that commits late has an id that no
/// reader has passed yet.
struct LogTail: Sendable {
    /// Batches taken at a time.
    static let pageSize: Int64 = 64

    struct Touched: Sendable {
        var node: NodeID
        var firstMs: Int64
        var lastMs: Int64
    }

    struct Page: Sendable {
        /// One entry per node, spans of several batches joined.
        var touched: [Touched]
        var batches: Int
        var tail: LogTail
        /// Rows behind the reader's place were purged before it came to them: anything may have been touched.
        var hasMissedRows = false
        /// Whether more may be waiting.
        var isFull: Bool { self.batches >= Int(LogTail.pageSize) }
    }

    /// The last row that was taken.
    private var xid: Int64
    private var batch: Int64

    /// Starts behind everything that is settled by now; what is read from the tables afterwards includes all of it.
    static func atHorizon(_ connection: PostgresConnection) async throws -> LogTail {
        let rows = try await connection.query("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        return LogTail(xid: try rows.column(Int64.self).first ?? 0, batch: -1)
    }

    func next(_ connection: PostgresConnection) async throws -> Page {
        let place: [PostgresValue] = [.text(String(self.xid)), .int64(self.batch)]
        // The horizon after the rows: what is purged between the two was read.
        let results = try await connection.pipeline([
            PostgresQuery(
                """
                SELECT xid::text::bigint, batch_id, node_ids, first_at, last_at FROM ingest_log
                WHERE xid >= $1::text::xid8 AND (xid > $1::text::xid8 OR batch_id > $2)
                  AND xid < pg_snapshot_xmin(pg_current_snapshot())
                ORDER BY xid, batch_id LIMIT $3
                """, place + [.int64(Self.pageSize)]),
            PostgresQuery("SELECT (xid, batch_id) > ($1::text::xid8, $2) FROM ingest_log_horizon", place),
        ])
        let rows = results[0]
        var tail = self
        var spans: [NodeID: Touched] = [:]
        for row in rows {
            let (xid, batch, nodes, first, last) = try row.decode(
                (Int64, Int64, [NodeID], [Timestamp], [Timestamp]).self)
            (tail.xid, tail.batch) = (xid, batch)
            for (index, node) in nodes.enumerated() where index < first.count && index < last.count {
                let (from, to) = (first[index].milliseconds, last[index].milliseconds)
                if let known = spans[node] {
                    spans[node] = Touched(node: node, firstMs: min(known.firstMs, from), lastMs: max(known.lastMs, to))
                } else {
                    spans[node] = Touched(node: node, firstMs: from, lastMs: to)
                }
            }
        }
        return Page(
            touched: spans.values.sorted { $0.node < $1.node }, batches: rows.count, tail: tail,
            hasMissedRows: try results[1].column(Bool.self).first ?? false)
    }

    /// Newest times in what was not taken yet, running transactions aside, by domain.
    func unread(_ connection: PostgresConnection) async throws -> [String: Timestamp] {
        let rows = try await connection.query(
            """
            SELECT n.domain, max(t.last_at) FROM ingest_log l
            CROSS JOIN LATERAL unnest(l.node_ids, l.last_at) AS t(node_id, last_at)
            JOIN nodes n ON n.node_id = t.node_id
            WHERE l.xid >= $1::text::xid8 AND (l.xid > $1::text::xid8 OR l.batch_id > $2)
            GROUP BY n.domain
            """, [.text(String(self.xid)), .int64(self.batch)])
        var newest: [String: Timestamp] = [:]
        for row in rows {
            let (domain, time) = try row.decode((String, Timestamp).self)
            newest[domain] = time
        }
        return newest
    }
}
