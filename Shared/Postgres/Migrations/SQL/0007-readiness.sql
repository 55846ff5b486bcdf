-- What a run of the readiness checks saw, newest by component, check and environment. `seal` is made with the secret the services
-- share over all the other columns: a row that was written or changed by hand is not believed.
CREATE TABLE production_readiness_matrix (
    component text NOT NULL,
    check_name text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('CRITICAL', 'HIGH', 'MEDIUM', 'LOW')),
    status text NOT NULL CHECK (status IN ('PASS', 'FAIL', 'WARN', 'PENDING')),
    description text NOT NULL,
    last_checked timestamptz NOT NULL,
    evidence jsonb NOT NULL,
    version text NOT NULL,
    configuration_hash text NOT NULL,
    environment text NOT NULL,
    seal text NOT NULL,
    PRIMARY KEY (component, check_name, environment)
);
