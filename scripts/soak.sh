#!/usr/bin/env bash
# A quarter of an hour of accelerated replay, over and over: memory of graph-builder must be flat (last quarter of the time within
# 3 % of the second), and tables must not grow beyond what is kept. SECONDS_TO_RUN=N for another length.
# UNDERCURRENT_BIN=FOLDER: programs built before.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
cd "$root"
length=${SECONDS_TO_RUN:-900}
folder=$(mktemp -d /var/tmp/undercurrent-soak.XXXXXX)
chmod 0755 "$folder"
system=
leave() {
    local status=$?
    trap - EXIT
    if [[ -n $system ]]; then
        kill -TERM "$system" 2>/dev/null || true
        wait "$system" 2>/dev/null || true
    fi
    if ((status == 0)); then rm -rf "$folder"; else say "left for looking at: $folder"; fi
    exit "$status"
}
trap leave EXIT
trap 'exit 130' INT TERM
metrics=19681
EMPTY=1 UNDERCURRENT_DATA=$folder RATE_LIMITER_TOKENS=1000000 RATE_LIMITER_REFILL_RATE=1000000 \
    OBSERVATION_RETENTION_DAYS=1 GATEWAY_PORT=18643 GATEWAY_METRICS_PORT=19643 GRAPH_BUILDER_PORT=18681 \
    GRAPH_BUILDER_METRICS_PORT=$metrics ANOMALY_PROPAGATION_PORT=18682 ANOMALY_PROPAGATION_METRICS_PORT=19682 \
    scripts/run.sh >"$folder/run.log" 2>&1 &
system=$!
is_up() { grep -q '^==> up at' "$folder/run.log" || ! kill -0 "$system" 2>/dev/null; }
wait_until 3600 is_up || true
grep -q '^==> up at' "$folder/run.log" || {
    cat "$folder/run.log" >&2
    die "the system does not start"
}
bin=${UNDERCURRENT_BIN:-$(swift build -c release --show-bin-path)}
url=$(sed -n 's/.*"databaseUrl": "\(.*\)",/\1/p' "$folder/connection.json")
sql() { psql -qAt "$url" -c "$1"; }
memory() { curl -fsS "http://127.0.0.1:$metrics/metrics" | awk '$1 == "process_resident_memory_bytes" { print $2 }'; }
# A day of two venues in each round, later than the one before, so that retention has something to do.
recording=$folder/day.csv
make_day() {
    awk -v day="$1" 'BEGIN {
        print "ts,node,domain,event,market,venue,value"; srand(day + 1)
        for (minute = 0; minute < 1440; minute++) {
            common = rand()
            for (event = 0; event < 5; event++) for (venue = 0; venue < 4; venue++)
                printf "%.0f,x,soak,event-%d,load,venue-%d,%.6f\n", (1704067200 + day * 86400 + minute * 60) * 1000, event, venue,
                    common + 0.3 * rand()
        }
    }' >"$recording"
}
say "replaying days for $length s"
began=$SECONDS
day=0
: >"$folder/memory"
(
    while sleep 2; do
        printf '%s %s\n' "$((SECONDS - began))" "$(memory)" >>"$folder/memory"
    done
) &
sampler=$!
while ((SECONDS - began < length)); do
    make_day "$day"
    "$bin/graph-builder" replay --connection "$folder/connection.json" --wait "$recording" >>"$folder/replay.log" 2>&1 ||
        die "the replay of day $day failed"
    day=$((day + 1))
done
kill "$sampler"
wait "$sampler" 2>/dev/null || true
say "$day days in $((SECONDS - began)) s"
awk -v length_s="$length" '
    $1 >= length_s / 4 && $1 < length_s / 2 { second += $2; seconds++ }
    $1 >= length_s * 3 / 4 { last += $2; lasts++ }
    END {
        if (!seconds || !lasts) { print "no samples"; exit 1 }
        second /= seconds; last /= lasts; growth = 100 * (last - second) / second
        printf "memory: second quarter %.1f MB, last quarter %.1f MB, %+.1f %%\n", second / 1e6, last / 1e6, growth
        exit growth > 3
    }' "$folder/memory" || die "memory grew"
kept=$(sql "SELECT count(DISTINCT observed_at::date) FROM observations")
printf 'days of observations: %s replayed, %s stored with OBSERVATION_RETENTION_DAYS=1 (looked at every hour)\n' "$day" "$kept"
printf 'graphs kept by id per event: %s (at most 128)\n' \
    "$(sql 'SELECT max(count) FROM (SELECT count(*) FROM graph_history GROUP BY shard, event_id) h')"
(($(sql 'SELECT coalesce(max(count), 0) FROM (SELECT count(*) FROM graph_history GROUP BY shard, event_id) h') <= 128)) ||
    die "graph_history grows beyond its bound"
