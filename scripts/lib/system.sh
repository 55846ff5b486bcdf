# A private system for a measurement or a check: own folder, database and ports (18443, 18081, 18082; metrics 19443, 19081, 19082).
# Ends with the script that sources this, after toolchain.sh.
# shellcheck shell=bash

system=
folder=
# Processes that end before it.
beside=()

# start_system [NAME=VALUE...]: no samples, and no limit on requests unless told.
start_system() {
    # The user of the database must be able to reach the folder.
    folder=$(mktemp -d /var/tmp/undercurrent-private.XXXXXX)
    chmod 0755 "$folder"
    trap stop_system EXIT
    say "starting a private system"
    env EMPTY=1 UNDERCURRENT_DATA="$folder" RATE_LIMITER_TOKENS=1000000 RATE_LIMITER_REFILL_RATE=1000000 \
        GATEWAY_PORT=18443 GATEWAY_METRICS_PORT=19443 GRAPH_BUILDER_PORT=18081 GRAPH_BUILDER_METRICS_PORT=19081 \
        ANOMALY_PROPAGATION_PORT=18082 ANOMALY_PROPAGATION_METRICS_PORT=19082 "$@" \
        scripts/run.sh >"$folder/run.log" 2>&1 &
    system=$!
    wait_until 1800 system_is_up || true
    grep -q '^==> up at' "$folder/run.log" || {
        cat "$folder/run.log" >&2
        die "the private system does not start"
    }
}

system_is_up() { grep -q '^==> up at' "$folder/run.log" || ! kill -0 "$system" 2>/dev/null; }

stop_system() {
    local status=$?
    trap - EXIT
    if ((${#beside[@]})); then
        kill -TERM "${beside[@]}" 2>/dev/null || true
        wait "${beside[@]}" 2>/dev/null || true
    fi
    if [[ -n $system ]]; then
        kill -TERM "$system" 2>/dev/null || true
        wait "$system" 2>/dev/null || true
    fi
    [[ -z $folder ]] || rm -rf "$folder"
    exit "$status"
}
