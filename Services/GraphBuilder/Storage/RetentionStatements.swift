import Postgres

/// Every statement of ``ObservationRetention``; each is run by a test on a real server.
enum RetentionStatements {
    static let newest: PostgresStatement = """
        SELECT n.domain, max(o.observed_at) FROM nodes n
        CROSS JOIN LATERAL (
            SELECT observed_at FROM observations o WHERE o.shard = n.shard AND o.node_id = n.node_id
            ORDER BY observed_at DESC LIMIT 1) o
        GROUP BY n.domain
        """

    static let widths: PostgresStatement = "SELECT domain, max(bucket_ms) FROM evaluations GROUP BY domain"

    static let pending: PostgresStatement = """
        SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'observations'::regclass AND i.inhdetachpending
        """

    /// Tables of days that are no partitions.
    static let detached: PostgresStatement = """
        SELECT c.relname::text FROM pg_class c
        WHERE c.relkind = 'r' AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'observations'::regclass)
          AND c.relname ~ '^observations_[0-9]{8}$' AND NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhrelid = c.oid)
        """

    // Names are made from a number; nothing from outside can reach the text.

    static func detach(_ day: ObservationPartitions.Day) -> PostgresStatement {
        PostgresStatement(composed: "ALTER TABLE observations DETACH PARTITION \(day.partition) CONCURRENTLY")
    }

    static func finalize(_ day: ObservationPartitions.Day) -> PostgresStatement {
        PostgresStatement(composed: "ALTER TABLE observations DETACH PARTITION \(day.partition) FINALIZE")
    }

    static func drop(_ day: ObservationPartitions.Day) -> PostgresStatement {
        PostgresStatement(composed: "DROP TABLE \(day.partition)")
    }

    /// Domains with observations in a detached partition, and their newest there.
    static func held(_ day: ObservationPartitions.Day) -> PostgresStatement {
        PostgresStatement(
            composed: """
                SELECT n.domain, max(o.observed_at) FROM \(day.partition) o JOIN nodes n USING (shard, node_id)
                GROUP BY n.domain
                """)
    }

    /// Nobody reads behind the running transactions. Readers that are slower than that learn from the horizon what they missed. Rows
    /// another replica is deleting are left to it: both waiting for each other's rows and the horizon would be a deadlock.
    static let purgeLog: PostgresStatement = """
        WITH gone AS (
            DELETE FROM ingest_log WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM ingest_log WHERE created_at < now() - $1 * interval '1 second'
                  AND xid < pg_snapshot_xmin(pg_current_snapshot())
                LIMIT $2 FOR UPDATE SKIP LOCKED))
            RETURNING xid, batch_id
        ), moved AS (
            UPDATE ingest_log_horizon h SET xid = newest.xid, batch_id = newest.batch_id
            FROM (SELECT xid, batch_id FROM gone ORDER BY xid DESC, batch_id DESC LIMIT 1) newest
            WHERE (newest.xid, newest.batch_id) > (h.xid, h.batch_id)
        )
        SELECT FROM gone
        """

    /// Each takes domains, the times before which they keep nothing, and the most rows to delete.
    static let purges = [Self.purgeEvaluations, Self.purgeFindings, Self.purgeNodeScores, Self.purgeEventScores]

    /// The newest of a shard stays: it says how far evaluation has got.
    private static let purgeEvaluations: PostgresStatement = """
        DELETE FROM evaluations WHERE ctid = ANY (ARRAY(
            SELECT e.ctid FROM unnest($1::text[], $2::timestamptz[]) AS k (domain, start)
            JOIN evaluations e ON e.domain = k.domain AND e.window_end < k.start
            WHERE e.window_end < (
                SELECT max(n.window_end) FROM evaluations n WHERE n.shard = e.shard AND n.domain = e.domain)
              AND e.revision <= (SELECT coalesce(min(r.revision), 0) FROM reader_positions r WHERE r.shard = e.shard)
            LIMIT $3))
        """

    /// What a reader has not taken in yet stays, however old.
    private static let purgeFindings: PostgresStatement = """
        DELETE FROM findings WHERE ctid = ANY (ARRAY(
            SELECT f.ctid FROM unnest($1::text[], $2::timestamptz[]) AS k (domain, start)
            JOIN findings f ON f.domain = k.domain AND f.window_end < k.start
            WHERE f.revision <= (SELECT coalesce(min(r.revision), 0) FROM reader_positions r WHERE r.shard = f.shard)
            LIMIT $3))
        """

    private static let purgeNodeScores: PostgresStatement = """
        DELETE FROM node_scores WHERE ctid = ANY (ARRAY(
            SELECT s.ctid FROM unnest($1::text[], $2::timestamptz[]) AS k (domain, start)
            JOIN nodes n ON n.domain = k.domain
            JOIN node_scores s ON s.shard = n.shard AND s.node_id = n.node_id AND s.window_end < k.start
            LIMIT $3))
        """

    private static let purgeEventScores: PostgresStatement = """
        DELETE FROM event_scores WHERE ctid = ANY (ARRAY(
            SELECT s.ctid FROM unnest($1::text[], $2::timestamptz[]) AS k (domain, start)
            JOIN event_scores s ON s.domain = k.domain AND s.window_end < k.start
            LIMIT $3))
        """
}
