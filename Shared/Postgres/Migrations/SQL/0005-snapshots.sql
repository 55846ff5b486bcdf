-- What is known of the snapshots of results that lie in files: which there are, when one was checked last, when it was removed.
-- The files are the truth; the rows are for people and for checks.
CREATE TABLE multi_layer_snapshots (
    id text PRIMARY KEY,
    created_at timestamptz NOT NULL,
    host text NOT NULL,
    directory text NOT NULL,
    program_version text NOT NULL,
    schema_number integer NOT NULL,
    row_count bigint NOT NULL CHECK (row_count >= 0),
    byte_count bigint NOT NULL CHECK (byte_count >= 0),
    tables jsonb NOT NULL,
    manifest_sha256 text NOT NULL,
    duration_ms bigint NOT NULL,
    verified_at timestamptz,
    verified_ok boolean,
    verified_detail text,
    restored_at timestamptz,
    removed_at timestamptz,
    removed_because text
);
CREATE INDEX multi_layer_snapshots_by_age ON multi_layer_snapshots (created_at DESC);
