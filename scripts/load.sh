#!/usr/bin/env bash
# On a private system that holds the samples: how many graphs a second 32 connections get (wrk; unchanged ones, and whole ones of
# up to 200 edges), then an open load of mixed routes: RATE (5000) requests a second for SECONDS_EACH (600).
# OUT=FILE writes the figures as JSON. UNDERCURRENT_BIN takes a folder of programs that are built already.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
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
# The event with the most edges.
most=-1 event=
for candidate in $(ask "$gateway/v1/events?limit=100" | jq -r '.items[].id'); do
    edges=$(ask "$gateway/v1/correlation-graph?eventId=$candidate&limit=200" | jq '.edges | length' || echo 0)
    ((edges > most)) && most=$edges event=$candidate
done
path="$gateway/v1/correlation-graph?eventId=$event&limit=200"
bytes=$(ask "$path" | wc -c)
tag=$(ask -D - -o /dev/null "$path" | tr -d '\r' | sed -n 's/^etag: //Ip')
say "graph of $event: $most edges, $bytes bytes"
for round in 1 2 3; do
    printf 'round %s, unchanged (304): ' "$round"
    wrk -t2 -c32 -d8s --latency -H "$authorization" -H "If-None-Match: $tag" "$path" |
        awk '/ (50|99)%/ { printf "p%s %s  ", $1, $2 } /Non-2xx|Socket/ { printf "%s  ", $0 } /Requests\/sec/ { print $2 " requests/s" }'
    printf 'round %s, whole (200): ' "$round"
    wrk -t2 -c32 -d8s --latency -H "$authorization" "$path" |
        awk '/ (50|99)%/ { printf "p%s %s  ", $1, $2 } /Non-2xx|Socket/ { printf "%s  ", $0 } /Requests\/sec/ { print $2 " requests/s" }'
done
"$load/Load" --connection "$folder/connection.json" --rate "${RATE:-5000}" --seconds "${SECONDS_EACH:-600}" ${OUT:+--out "$OUT"}
