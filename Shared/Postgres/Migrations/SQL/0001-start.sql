-- The first schema. The shard is part of every primary key, so that a distributed PostgreSQL can place rows by it.

CREATE TABLE nodes (
    shard smallint NOT NULL CHECK (shard BETWEEN 0 AND 63),
    node_id bigint NOT NULL,
    domain text NOT NULL,
    event_id text NOT NULL,
    market text NOT NULL,
    venue text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard, node_id),
    UNIQUE (shard, domain, event_id, market, venue)
);
CREATE INDEX nodes_by_event ON nodes (event_id);
-- Edges, anomalies and forecasts name nodes of other shards by number alone.
CREATE INDEX nodes_by_id ON nodes (node_id);

-- One partition a day, made for the days data has; there is no default partition.
CREATE TABLE observations (
    shard smallint NOT NULL,
    node_id bigint NOT NULL,
    observed_at timestamptz NOT NULL,
    value double precision NOT NULL,
    PRIMARY KEY (shard, node_id, observed_at, value)
) PARTITION BY RANGE (observed_at);

-- One row per committed batch. Readers take rows whose transaction id is below the oldest one still running, so a
-- transaction that commits late is never skipped.
CREATE TABLE ingest_log (
    batch_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    shard_mask bigint NOT NULL,
    node_ids bigint[] NOT NULL,
    first_at timestamptz[] NOT NULL,
    last_at timestamptz[] NOT NULL,
    row_count integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ingest_log_by_xid ON ingest_log (xid);

CREATE TABLE idempotency_keys (
    caller text NOT NULL,
    key text NOT NULL,
    payload_hash bytea NOT NULL,
    status integer NOT NULL,
    response bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE TABLE replicas (
    replica text PRIMARY KEY,
    service text NOT NULL,
    address text NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE TABLE shard_leases (
    shard smallint PRIMARY KEY CHECK (shard BETWEEN 0 AND 63),
    owner text,
    owner_address text,
    epoch bigint NOT NULL DEFAULT 0,
    revision bigint NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO shard_leases (shard) SELECT generate_series(0, 63);

CREATE TABLE domain_profiles (
    domain text PRIMARY KEY,
    profile jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- One row per shard, domain and closed bucket that was evaluated: the clock of episodes, and what an owner that takes over
-- continues from.
CREATE TABLE evaluations (
    shard smallint NOT NULL,
    domain text NOT NULL,
    window_end timestamptz NOT NULL,
    bucket_ms bigint NOT NULL,
    revision bigint NOT NULL,
    duration_us bigint NOT NULL,
    evaluated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard, domain, window_end)
);
CREATE INDEX evaluations_by_revision ON evaluations (shard, revision);

-- The current graph of each event; its edges are the rows of multi_layer_correlations that are not superseded.
CREATE TABLE event_graphs (
    shard smallint NOT NULL,
    event_id text NOT NULL,
    graph_id text NOT NULL,
    window_end timestamptz NOT NULL,
    layers jsonb NOT NULL,
    revision bigint NOT NULL,
    evaluated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard, event_id)
);
CREATE INDEX event_graphs_by_revision ON event_graphs (shard, revision);

-- Current edges (superseded_at IS NULL) and their history. A row is one version of an edge: detected_at is when the version
-- began, accepted_at when the edge was accepted first in its present unbroken life.
CREATE TABLE multi_layer_correlations (
    shard smallint NOT NULL,
    event_id text NOT NULL,
    layer smallint NOT NULL CHECK (layer BETWEEN 1 AND 4),
    source_node bigint NOT NULL,
    target_node bigint NOT NULL,
    estimator text NOT NULL,
    correlation_type text NOT NULL,
    correlation_score double precision NOT NULL CHECK (correlation_score BETWEEN -1 AND 1),
    latency_ms double precision NOT NULL CHECK (latency_ms >= 0),
    expected_propagation double precision NOT NULL,
    detected_at timestamptz NOT NULL,
    confidence double precision NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    severity_level text NOT NULL,
    lag_buckets integer NOT NULL,
    lag_source text NOT NULL,
    overlap integer NOT NULL,
    n_eff double precision NOT NULL,
    interval_low double precision NOT NULL,
    interval_high double precision NOT NULL,
    p_value double precision NOT NULL,
    q_value double precision NOT NULL,
    window_start timestamptz NOT NULL,
    window_end timestamptz NOT NULL,
    bucket_ms bigint NOT NULL,
    explained_by bigint,
    accepted_at timestamptz NOT NULL,
    revision bigint NOT NULL,
    superseded_at timestamptz,
    severity_band text NOT NULL GENERATED ALWAYS AS (
        CASE WHEN confidence > 0.9 THEN 'HIGH' WHEN confidence > 0.6 THEN 'MEDIUM' ELSE 'LOW' END) STORED,
    composite_severity text NOT NULL GENERATED ALWAYS AS (
        CASE WHEN confidence > 0.9 AND abs(correlation_score) > 0.7 THEN 'CRITICAL'
             WHEN confidence > 0.6 AND abs(correlation_score) > 0.5 THEN 'HIGH'
             WHEN confidence > 0.3 THEN 'MEDIUM' ELSE 'LOW' END) STORED,
    PRIMARY KEY (shard, event_id, layer, source_node, target_node, estimator, detected_at)
);
CREATE UNIQUE INDEX multi_layer_correlations_current
    ON multi_layer_correlations (shard, event_id, layer, source_node, target_node, estimator) WHERE superseded_at IS NULL;
CREATE INDEX multi_layer_correlations_by_band ON multi_layer_correlations (severity_band, detected_at);
CREATE INDEX multi_layer_correlations_by_severity ON multi_layer_correlations (composite_severity, detected_at);

-- What a person looks through for anomalies: every edge, current or past, with names and both severities.
CREATE VIEW anomaly_candidates AS
    SELECT c.event_id, c.layer, s.domain AS source_domain, s.event_id AS source_event, s.market AS source_market,
           s.venue AS source_venue, t.domain AS target_domain, t.event_id AS target_event, t.market AS target_market,
           t.venue AS target_venue, c.correlation_type, c.correlation_score, c.latency_ms, c.expected_propagation,
           c.confidence, c.severity_band, c.composite_severity, c.detected_at, c.window_end, c.superseded_at
    FROM multi_layer_correlations c
    JOIN nodes s ON s.node_id = c.source_node
    JOIN nodes t ON t.node_id = c.target_node;

-- What graph-builder saw beyond an alarm level at one closed bucket (target_node 0: a finding about a node).
CREATE TABLE findings (
    shard smallint NOT NULL,
    event_id text NOT NULL,
    kind text NOT NULL,
    node_id bigint NOT NULL,
    target_node bigint NOT NULL DEFAULT 0,
    window_end timestamptz NOT NULL,
    layer smallint,
    domain text NOT NULL,
    bucket_ms bigint NOT NULL,
    statistic double precision NOT NULL,
    level double precision NOT NULL,
    detail jsonb NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (shard, event_id, kind, window_end, node_id, target_node)
);
CREATE INDEX findings_by_revision ON findings (shard, revision);

CREATE TABLE node_scores (
    shard smallint NOT NULL,
    node_id bigint NOT NULL,
    window_end timestamptz NOT NULL,
    score real NOT NULL,
    level_surprise real NOT NULL,
    seasonal_surprise real NOT NULL,
    innovation_surprise real NOT NULL,
    neighbour_residual real NOT NULL,
    PRIMARY KEY (shard, node_id, window_end)
);

CREATE TABLE event_scores (
    shard smallint NOT NULL,
    event_id text NOT NULL,
    domain text NOT NULL,
    window_end timestamptz NOT NULL,
    score real NOT NULL,
    PRIMARY KEY (shard, event_id, domain, window_end)
);

-- What detectors have learnt, so that a new owner need not read days of observations.
CREATE TABLE detector_states (
    shard smallint NOT NULL,
    domain text NOT NULL,
    window_end timestamptz NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (shard, domain)
);

CREATE TABLE anomalies (
    shard smallint NOT NULL,
    id text NOT NULL,
    kind text NOT NULL,
    event_id text NOT NULL,
    node_id bigint NOT NULL,
    target_node bigint NOT NULL DEFAULT 0,
    layer smallint,
    started_at timestamptz NOT NULL,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    severity text NOT NULL,
    peak_statistic double precision NOT NULL,
    level double precision NOT NULL,
    values jsonb NOT NULL,
    reason text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard, id)
);
CREATE INDEX anomalies_by_opening ON anomalies (opened_at DESC, id);
CREATE INDEX anomalies_by_event ON anomalies (event_id, opened_at DESC);

CREATE TABLE forecasts (
    shard smallint NOT NULL,
    id text NOT NULL,
    event_id text NOT NULL,
    source_node bigint NOT NULL,
    target_node bigint NOT NULL,
    moved_at timestamptz NOT NULL,
    horizon_at timestamptz NOT NULL,
    latency_ms double precision NOT NULL,
    move double precision NOT NULL,
    source_sd double precision NOT NULL,
    beta double precision NOT NULL,
    expected_change double precision NOT NULL,
    interval_low double precision,
    interval_high double precision,
    confidence double precision NOT NULL,
    base_rate double precision,
    outcome double precision,
    covered boolean,
    sign_hit boolean,
    scored_at timestamptz,
    PRIMARY KEY (shard, id)
);
CREATE INDEX forecasts_pending ON forecasts (horizon_at) WHERE scored_at IS NULL;
CREATE INDEX forecasts_by_move ON forecasts (moved_at DESC, id);
CREATE INDEX forecasts_by_pair ON forecasts (source_node, target_node, horizon_at DESC);

-- How far the readers of findings have come, per shard.
CREATE TABLE reader_positions (
    shard smallint NOT NULL,
    reader text NOT NULL,
    revision bigint NOT NULL,
    state bytea,
    PRIMARY KEY (shard, reader)
);

CREATE TABLE topology (
    name text NOT NULL,
    caller text NOT NULL,
    callee text NOT NULL,
    PRIMARY KEY (name, caller, callee)
);

CREATE TABLE api_keys (
    id text PRIMARY KEY,
    secret_hash bytea NOT NULL,
    caller text NOT NULL,
    scopes text[] NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
