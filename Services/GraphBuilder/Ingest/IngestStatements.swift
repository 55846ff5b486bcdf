import Postgres

/// Every statement of the ingest path; each is run by a test on a real server.
enum IngestStatements {
    /// Adds unknown nodes and returns those whose id is taken by other names.
    static let storeNodes: PostgresStatement = """
        WITH given AS (
            SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
                AS g (shard, node_id, domain, event_id, market, venue)
        ), added AS (
            INSERT INTO nodes (shard, node_id, domain, event_id, market, venue)
            SELECT shard, node_id, domain, event_id, market, venue FROM given ORDER BY shard, node_id
            ON CONFLICT DO NOTHING
        )
        SELECT n.node_id FROM given JOIN nodes n USING (shard, node_id)
        WHERE (n.domain, n.event_id, n.market, n.venue) IS DISTINCT FROM
              (given.domain, given.event_id, given.market, given.venue)
        """

    static let copyObservations: PostgresStatement =
        "COPY observations (shard, node_id, observed_at, value) FROM STDIN (FORMAT binary)"

    /// Adds what is not there yet and returns which times of which nodes are new.
    static let mergeObservations: PostgresStatement = """
        WITH added AS (
            INSERT INTO observations (shard, node_id, observed_at, value)
            SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::timestamptz[], $4::double precision[])
            ON CONFLICT DO NOTHING
            RETURNING shard, node_id, observed_at
        )
        SELECT shard, node_id, min(observed_at), max(observed_at), count(*) FROM added GROUP BY shard, node_id
        """

    static let log: PostgresStatement = """
        INSERT INTO ingest_log (shard_mask, node_ids, first_at, last_at, row_count) VALUES ($1, $2, $3, $4, $5)
        """

    static let findKey: PostgresStatement =
        "SELECT payload_hash, status, response FROM idempotency_keys WHERE caller = $1 AND key = $2"

    static let storeKey: PostgresStatement = """
        INSERT INTO idempotency_keys (caller, key, payload_hash, status, response) VALUES ($1, $2, $3, $4, $5)
        """

    static let purgeKeys: PostgresStatement = """
        DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM idempotency_keys WHERE created_at < now() - $1 * interval '1 second' LIMIT 10000))
        """

    static let notify: PostgresStatement = "NOTIFY ingest"
}
