-- What every operation of every instance did in each minute, from the histograms the instance keeps anyway.
CREATE TABLE audit_performance_metrics (
    recorded_at timestamptz NOT NULL,
    service text NOT NULL,
    instance text NOT NULL,
    operation text NOT NULL,
    window_seconds double precision NOT NULL CHECK (window_seconds > 0),
    count bigint NOT NULL CHECK (count > 0),
    throughput_per_second double precision NOT NULL,
    mean_ms double precision NOT NULL,
    p50_ms double precision NOT NULL,
    p99_ms double precision NOT NULL,
    memory_bytes bigint NOT NULL,
    cpu_share double precision NOT NULL,
    PRIMARY KEY (recorded_at, service, instance, operation)
);
CREATE INDEX audit_performance_metrics_by_operation ON audit_performance_metrics (service, operation, recorded_at DESC);

-- Which instances run, and as what: evidence is bound to it.
CREATE TABLE service_instances (
    service text NOT NULL,
    instance text NOT NULL,
    version text NOT NULL,
    configuration_hash text NOT NULL,
    profile text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (service, instance)
);
