#!/usr/bin/env bash
# On a private system that holds the samples: how many graphs a second 32 connections get (wrk; unchanged ones, and whole ones of
# up to 200 edges), what the audit log of every request costs, then an open load of mixed routes: RATE (5000) requests a second
# for SECONDS_EACH (600).
# OUT=FILE writes the figures as JSON. UNDERCURRENT_BIN takes a folder of programs that are built already.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
cd "$root"
# shellcheck source=scripts/lib/system.sh
source scripts/lib/system.sh
install_packages jq wrk
need_swift
load=${UNDERCURRENT_BIN:-}
if [[ -z $load ]]; then
    swift build -c release --product Load --quiet
    load=$(swift build -c release --show-bin-path)
fi
start_system UNDERCURRENT_BIN="${UNDERCURRENT_BIN:-}" EMPTY=0

authorization="X-API-Key: $(<"$folder/api-key")"
ask() { curl -fsS --cacert "$folder/tls/ca.pem" -H "$authorization" "$@"; }
gateway=https://localhost:18443
# An event with 200 edges: none of the samples has as many.
for domain in broad broader; do
    ask -o /dev/null -X PUT "$gateway/v1/domains/$domain" -H 'Content-Type: application/json' -d '{"bucketMs":1000}'
done
awk -v end="$(date +%s)000" -f scripts/lib/broad-event.awk |
    ask -o /dev/null "$gateway/v1/observations" -H 'Content-Type: application/x-ndjson' --data-binary @-
unchanged="/v1/correlation-graph?eventId=broad&limit=200"
path=$gateway$unchanged
# shellcheck disable=SC2317
is_broad() { [[ $(ask "$path" 2>/dev/null | jq '.edges | length') == 200 ]]; }
wait_until 60 is_broad || die "the event has no graph of 200 edges after a minute"
bytes=$(ask "$path" | wc -c)
# The tag of the graph once nothing is evaluated any more: after that it stays.
tag=
# shellcheck disable=SC2317
is_still() {
    local before=$tag
    tag=$(ask -D - -o /dev/null "$path" | tr -d '\r' | sed -n 's/^etag: //Ip')
    sleep 3
    [[ -n $tag && $tag == "$before" ]]
}
wait_until 120 is_still || die "the graph of 200 edges is still revised after two minutes"
say "graph of 200 edges: $bytes bytes"

# asked PATH HEADER...: requests a second that 32 connections get, after a line with percentiles on stderr.
asked() {
    local path=$1 out
    shift
    out=$(wrk -t2 -c32 -d"${ASK_SECONDS:-8}s" -s scripts/lib/percentiles.lua -H "$authorization" "$@" "$path")
    awk '/^p50/ { printf "  %s", $0 } /Non-2xx|Socket/ { printf "  %s", $0 } /Requests\/sec/ { print "  " $2 " requests/s" }' \
        <<<"$out" >&2
    awk '/Requests\/sec/ { print $2 }' <<<"$out"
}
for round in 1 2 3; do
    say "round $round, unchanged (304), then whole (200)"
    asked "$path" -H "If-None-Match: $tag" >/dev/null
    asked "$path" >/dev/null
done

# A gateway more on the same system, which keeps another part of what it does in audit_log.
start_gateway() {
    (
        export AUDIT_LEVEL=$1 GATEWAY_PORT=$2 GATEWAY_METRICS_PORT=$3 GRAPH_BUILDER_PORT=18081 ANOMALY_PROPAGATION_PORT=18082
        export RATE_LIMITER_TOKENS=1000000 RATE_LIMITER_REFILL_RATE=1000000
        # shellcheck disable=SC2034
        data=$folder
        DATABASE_URL=$(jq -r .databaseUrl "$folder/connection.json")
        export DATABASE_URL
        # shellcheck source=scripts/lib/services.sh
        source scripts/lib/services.sh
        with_settings gateway "$load/gateway" serve
    ) >"$folder/gateway-$1.log" 2>&1 &
    beside+=($!)
    # shellcheck disable=SC2317
    is_up() { curl -fs --cacert "$folder/tls/ca.pem" -o /dev/null "https://localhost:$1/readyz"; }
    wait_until 30 is_up "$2" || die "the gateway with AUDIT_LEVEL=$1 does not start: $(tail -n 3 "$folder/gateway-$1.log")"
}
start_gateway OFF 18444 19444
start_gateway ALL 18445 19445
off=() all=()
for round in 1 2 3 4 5; do
    say "round $round, audit log OFF, then ALL"
    off+=("$(asked "https://localhost:18444$unchanged" -H "If-None-Match: $tag")")
    all+=("$(asked "https://localhost:18445$unchanged" -H "If-None-Match: $tag")")
done
middle() { printf '%s\n' "$@" | sort -n | sed -n 3p; }
say "audit log: $(middle "${off[@]}") requests/s without, $(middle "${all[@]}") with every request kept, ratio $(
    awk "BEGIN { printf \"%.2f\", $(middle "${all[@]}") / $(middle "${off[@]}") }")"

"$load/Load" --connection "$folder/connection.json" --rate "${RATE:-5000}" --seconds "${SECONDS_EACH:-600}" ${OUT:+--out "$OUT"}
