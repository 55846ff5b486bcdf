-- The last graphs of each event under their ids: what they were made from, and their edges as arrays side by side. A slot is
-- taken again after 128 window ends, so an event never has more rows than that.
CREATE TABLE graph_history (
    shard smallint NOT NULL,
    event_id text NOT NULL,
    slot smallint NOT NULL,
    graph_id text NOT NULL,
    window_end timestamptz NOT NULL,
    layers jsonb NOT NULL,
    recipe jsonb NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    layer smallint[] NOT NULL,
    source_node bigint[] NOT NULL,
    target_node bigint[] NOT NULL,
    estimator text[] NOT NULL,
    correlation_type text[] NOT NULL,
    correlation_score double precision[] NOT NULL,
    lag_buckets integer[] NOT NULL,
    latency_ms double precision[] NOT NULL,
    expected_propagation double precision[] NOT NULL,
    confidence double precision[] NOT NULL,
    n_eff double precision[] NOT NULL,
    interval_low double precision[] NOT NULL,
    interval_high double precision[] NOT NULL,
    PRIMARY KEY (shard, event_id, slot)
);
CREATE INDEX graph_history_by_id ON graph_history (graph_id);
