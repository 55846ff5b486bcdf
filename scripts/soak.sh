#!/usr/bin/env bash
# A quarter of an hour of accelerated replay, over and over: memory of each service must be flat (last quarter of the time within
# 3 % of the second), and tables must not grow beyond what is kept: days older than OBSERVATION_RETENTION_DAYS (1) go every
# OBSERVATION_RETENTION_INTERVAL_SECONDS (5), and with them what was concluded from them. SECONDS_TO_RUN=N for another length.
# UNDERCURRENT_BIN=FOLDER: programs built before.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
cd "$root"
length=${SECONDS_TO_RUN:-900}
days=${OBSERVATION_RETENTION_DAYS:-1}
folder=$(mktemp -d /var/tmp/undercurrent-soak.XXXXXX)
chmod 0755 "$folder"
system=
sampler=
leave() {
    local status=$?
    trap - EXIT
    [[ -z $sampler ]] || kill "$sampler" 2>/dev/null || true
    if [[ -n $system ]]; then
        kill -TERM "$system" 2>/dev/null || true
        wait "$system" 2>/dev/null || true
    fi
    if ((status == 0)); then rm -rf "$folder"; else say "left for looking at: $folder"; fi
    exit "$status"
}
trap leave EXIT
trap 'exit 130' INT TERM
declare -A metrics=([graph-builder]=19681 [anomaly-propagation]=19682 [gateway]=19643)
EMPTY=1 UNDERCURRENT_DATA=$folder RATE_LIMITER_TOKENS=1000000 RATE_LIMITER_REFILL_RATE=1000000 \
    OBSERVATION_RETENTION_DAYS="$days" OBSERVATION_RETENTION_INTERVAL_SECONDS=5 GATEWAY_PORT=18643 GATEWAY_METRICS_PORT=${metrics[gateway]} GRAPH_BUILDER_PORT=18681 \
    GRAPH_BUILDER_METRICS_PORT=${metrics[graph-builder]} ANOMALY_PROPAGATION_PORT=18682 \
    ANOMALY_PROPAGATION_METRICS_PORT=${metrics[anomaly-propagation]} \
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
memory() { curl -fsS "http://127.0.0.1:${metrics[$1]}/metrics" | awk '$1 == "process_resident_memory_bytes" { print $2 }'; }
# Five events in each day, later than the one before, so that retention has something to do. Venues follow one another by a minute,
# after jumps, too: forecasts. One leaves them for two hours: anomalies.
recording=$folder/day.csv
make_day() {
    awk -v day="$1" 'BEGIN {
        print "ts,node,domain,event,market,venue,value"; srand(day + 1)
        for (minute = -4; minute < 1440; minute++) {
            common[minute] = 2 * rand() - 1
            if (minute % 17 == 5) common[minute] += rand() < 0.5 ? -6 : 6
        }
        for (minute = 0; minute < 1440; minute++)
            for (event = 0; event < 5; event++) for (venue = 0; venue < 4; venue++) {
                apart = venue == 3 && int(minute / 120) == (day + event) % 12
                printf "%.0f,x,soak,event-%d,load,venue-%d,%.6f\n", (1704067200 + day * 86400 + minute * 60) * 1000, event, venue,
                    apart ? 6 * rand() : common[minute - venue] + 0.3 * rand()
            }
    }' >"$recording"
}
say "replaying days for $length s"
began=$SECONDS
day=0
: >"$folder/memory"
(
    while sleep 2; do
        for service in "${!metrics[@]}"; do
            printf '%s %s %s\n' "$((SECONDS - began))" "$service" "$(memory "$service")" >>"$folder/memory"
        done
    done
) &
sampler=$!
# Tables that hold data of a day or what was concluded from them, with their rows. What lives by the wall clock (ingest_log and
# idempotency_keys a day, the audit log and minutes of performance longer) grows for longer than this lasts, and is only told.
bounded=(observations evaluations findings node_scores event_scores multi_layer_correlations anomalies)
counts() { sql "SELECT concat_ws(' '$(printf ", (SELECT count(*) FROM %s)" "$@"))"; }
: >"$folder/tables"
while ((SECONDS - began < length)); do
    make_day "$day"
    "$bin/graph-builder" replay --connection "$folder/connection.json" --wait "$recording" >>"$folder/replay.log" 2>&1 ||
        die "the replay of day $day failed"
    day=$((day + 1))
    printf '%s %s\n' "$((SECONDS - began))" "$(counts "${bounded[@]}")" >>"$folder/tables"
done
kill "$sampler"
wait "$sampler" 2>/dev/null || true
sampler=
say "$day days in $((SECONDS - began)) s"
# The newest day goes on being retired behind the last replay.
keeps_days() { (($(sql "SELECT count(DISTINCT observed_at::date) FROM observations") <= days + 1)); }
if wait_until 60 keeps_days; then has_gone=1; else has_gone=0; fi
printf 'days of observations: %s replayed, %s stored with OBSERVATION_RETENTION_DAYS=%s\n' "$day" \
    "$(sql "SELECT count(DISTINCT observed_at::date) FROM observations")" "$days"
# Rows in the middle of the last quarter against the second, in which some days had gone already; random data differ by some. Not at
# their most: a look may fall between two days that went in quickly and the next visit of retention.
awk -v length_s="$length" -v names="${bounded[*]}" '
    function middle(rows, count,    i, j, row) {
        for (i = 2; i <= count; i++) {
            row = rows[i]
            for (j = i - 1; j > 0 && rows[j] > row; j--) rows[j + 1] = rows[j]
            rows[j + 1] = row
        }
        return rows[int((count + 1) / 2)]
    }
    BEGIN { columns = split(names, name, " ") }
    $1 >= length_s / 4 && $1 < length_s / 2 { seconds++; for (i = 1; i <= columns; i++) second[i, seconds] = $(i + 1) }
    $1 >= length_s * 3 / 4 { lasts++; for (i = 1; i <= columns; i++) last[i, lasts] = $(i + 1) }
    END {
        if (!seconds || !lasts) { print "no looks at tables"; exit 1 }
        for (i = 1; i <= columns; i++) {
            for (k = 1; k <= seconds; k++) rows[k] = second[i, k]
            before = middle(rows, seconds)
            for (k = 1; k <= lasts; k++) rows[k] = last[i, k]
            after = middle(rows, lasts)
            printf "rows of %s: %d in the second quarter, %d in the last (medians)\n", name[i], before, after
            if (after > 1.25 * before + 200) { print "  grows"; grown = 1 }
        }
        exit grown
    }' "$folder/tables" || die "tables grow beyond what is kept"
((has_gone == 1)) || die "days beyond OBSERVATION_RETENTION_DAYS are stored"
printf 'by the wall clock: ingest_log and idempotency_keys have %s rows (kept for a day)\n' "$(counts ingest_log idempotency_keys)"
printf 'graphs kept by id per event: %s (at most 128)\n' \
    "$(sql 'SELECT max(count) FROM (SELECT count(*) FROM graph_history GROUP BY shard, event_id) h')"
# Of forecasts the newest hundred of a pair stay for what they teach, and older ones until as many were covered as missed of each five.
most_forecasts=$(sql 'SELECT coalesce(max(count), 0) FROM (SELECT count(*) FROM forecasts GROUP BY source_node, target_node) p')
printf 'forecasts: %s, of one pair at most %s (at most 100 and some, and those of the days that are kept)\n' "$(counts forecasts)" "$most_forecasts"
((most_forecasts > 0)) || die "no forecast was made: nothing is shown about them"
((most_forecasts <= 200 + 100 * days)) || die "forecasts grow beyond what they teach"
(($(sql 'SELECT coalesce(max(count), 0) FROM (SELECT count(*) FROM graph_history GROUP BY shard, event_id) h') <= 128)) ||
    die "graph_history grows beyond its bound"
awk -v length_s="$length" '
    { service[$2] }
    $1 >= length_s / 4 && $1 < length_s / 2 { second[$2] += $3; seconds[$2]++ }
    $1 >= length_s * 3 / 4 { last[$2] += $3; lasts[$2]++ }
    END {
        for (name in service) {
            if (!seconds[name] || !lasts[name]) { print "no samples of " name; exit 1 }
            before = second[name] / seconds[name]; after = last[name] / lasts[name]; growth = 100 * (after - before) / before
            printf "memory of %s: second quarter %.1f MB, last quarter %.1f MB, %+.1f %%\n", name, before / 1e6, after / 1e6, growth
            if (growth > 3) grown = 1
        }
        exit grown
    }' "$folder/memory" || die "memory grew"
