-- The newest row of ingest_log that was ever purged: a reader that had not come so far has missed rows and must look at
-- everything.
CREATE TABLE ingest_log_horizon (
    is_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
    xid xid8 NOT NULL,
    batch_id bigint NOT NULL
);
INSERT INTO ingest_log_horizon (xid, batch_id) VALUES ('0', 0);
