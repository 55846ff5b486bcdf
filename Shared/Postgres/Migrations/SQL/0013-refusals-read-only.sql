-- A caller over a shared limit makes its gateways ask again and again: where there is no token, asking is a read.
CREATE OR REPLACE FUNCTION take_rate_lease(
    key text, wanted bigint, burst bigint, interval_ns bigint,
    OUT granted bigint, OUT remaining bigint, OUT retry_ns bigint, OUT reset_ns bigint
) LANGUAGE plpgsql AS $$
DECLARE
    arrival bigint;
    now_ns bigint;
BEGIN
    SELECT arrival_ns INTO arrival FROM rate_leases WHERE limit_key = key;
    now_ns := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000;
    IF arrival - now_ns > (burst - 1) * interval_ns THEN
        granted := 0;
        remaining := 0;
        retry_ns := arrival - now_ns - (burst - 1) * interval_ns;
        reset_ns := arrival - now_ns;
        RETURN;
    END IF;
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
