-- The buckets of callers whose limit counts over all gateways: the theoretical arrival time of the next request, in nanoseconds
-- since 1970 by the clock of this server. Not logged: after a crash all buckets are full, which harms less than a write to the
-- log for each slice.
CREATE UNLOGGED TABLE rate_leases (
    limit_key text PRIMARY KEY CHECK (octet_length(limit_key) BETWEEN 1 AND 1024),
    arrival_ns bigint NOT NULL
);

-- Takes up to `wanted` tokens of a bucket. `remaining` tokens are left, one more comes back in `retry_ns`, it is full in
-- `reset_ns`.
CREATE FUNCTION take_rate_lease(
    key text, wanted bigint, burst bigint, interval_ns bigint,
    OUT granted bigint, OUT remaining bigint, OUT retry_ns bigint, OUT reset_ns bigint
) LANGUAGE plpgsql AS $$
DECLARE
    arrival bigint;
    now_ns bigint;
BEGIN
    INSERT INTO rate_leases VALUES (key, 0) ON CONFLICT DO NOTHING;
    SELECT arrival_ns INTO arrival FROM rate_leases WHERE limit_key = key FOR UPDATE;
    -- The clock is read behind the lock, so that nobody counts with a time before the last taker's.
    now_ns := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000;
    arrival := greatest(coalesce(arrival, 0), now_ns);
    granted := greatest(0, least(wanted, (now_ns + burst * interval_ns - arrival) / interval_ns));
    arrival := arrival + granted * interval_ns;
    IF granted > 0 THEN
        UPDATE rate_leases SET arrival_ns = arrival WHERE limit_key = key;
    END IF;
    remaining := greatest(0, (now_ns + burst * interval_ns - arrival) / interval_ns);
    retry_ns := greatest(0, arrival + interval_ns - burst * interval_ns - now_ns);
    reset_ns := arrival - now_ns;
END
$$;
