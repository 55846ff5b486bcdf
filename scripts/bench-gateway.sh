#!/usr/bin/env bash
# Measures the gateway beside nginx and Envoy: same machine, same upstream (nginx, 1 kB), same certificate, interleaved rounds,
# medians. OUT=FILE writes the figures as JSON. ROUNDS (5), SECONDS_EACH (8) and MEMORY_REQUESTS (0: left out) change its length;
# ONLY=throughput,latency,handshakes,goodput,memory runs a part. GATEWAY_BIN takes a program that is built already.
# All listeners are on 127.0.0.1: 18600-18607.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
cd "$root"
# shellcheck source=scripts/lib/bench-gateway.sh
source scripts/lib/bench-gateway.sh
install_packages nginx-light wrk nghttp2-client python3 python3-venv
rounds=${ROUNDS:-5}
each=${SECONDS_EACH:-8}
only=${ONLY:-throughput,latency,handshakes,goodput,memory}
part() { [[ ,$only, == *,$1,* ]]; }

# Linux shares processors between sessions, whatever the niceness inside them: let this one come first where it may.
if [[ -w /proc/self/autogroup ]]; then (echo -15 >/proc/self/autogroup) 2>/dev/null || true; fi

folder=$(mktemp -d /var/tmp/undercurrent-bench-gateway.XXXXXX)
chmod 0755 "$folder"
pids=()
leave() {
    local status=$? pid
    trap - EXIT
    for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    if [[ -w /proc/self/autogroup ]]; then (echo 0 >/proc/self/autogroup) 2>/dev/null || true; fi
    [[ -n ${KEEP:-} ]] || rm -rf "$folder"
    exit "$status"
}
trap leave EXIT

gateway=${GATEWAY_BIN:-}
if [[ -z $gateway ]]; then
    need_swift
    # As in the images: with Swift's own libraries linked statically. In a folder of its own, as in images-test.sh.
    swift build -c release --static-swift-stdlib --scratch-path .build-static --product gateway --quiet
    gateway=.build-static/release/gateway
fi
envoy=$(need_envoy)
make_bench_secrets
start_upstream
start_nginx_proxy
start_envoy
start_gateway "$gateway"
authorization="Authorization: Bearer $(cat "$folder/token")"
declare -A port=([gateway]=18601 [nginx]=18602 [envoy]=18603)
declare -A samples=()

# load NAME SECONDS: one run of wrk; appends requests a second and milliseconds of p50 and p99.
load() {
    local out failed
    out=$(wrk -t2 -c32 -d"$2"s --latency -H "$authorization" "https://127.0.0.1:${port[$1]}/v1/events")
    failed=$(awk '/Non-2xx/ { print $NF } /Socket errors/ { print }' <<<"$out")
    [[ -z $failed ]] || die "$1 did not answer everything: $failed"
    read -r p50 p99 rate <<<"$(awk '
        function ms(text) { if (text ~ /us$/) return text / 1000; if (text ~ /ms$/) return text + 0; return text * 1000 }
        $1 == "50%" { p50 = ms($2) } $1 == "99%" { p99 = ms($2) } /Requests\/sec/ { rate = $2 }
        END { print p50, p99, rate }' <<<"$out")"
    samples[$1.rate]+=" $rate"
    samples[$1.p50]+=" $p50"
    samples[$1.p99]+=" $p99"
}

results=()
# report NAME UNIT KEY [PEER PEER_KEY [less]]: prints a line and keeps it as JSON. With `less` the smaller figure is better.
report() {
    local line
    line=$(awk -v name="$1" -v unit="$2" -v own="${samples[$3]:-}" -v peer="${4:-}" -v other="${samples[${5:-none}]:-}" -v less="${6:-}" '
        function sort(list, n,   i, j, x) {
            for (i = 2; i <= n; i++) { x = list[i]; for (j = i - 1; j >= 1 && list[j] > x; j--) list[j + 1] = list[j]; list[j + 1] = x }
        }
        BEGIN {
            n = split(own, a, " "); for (i = 1; i <= n; i++) a[i] += 0; sort(a, n)
            median = n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
            spread = median ? (a[n] - a[1]) / median : 0
            json = sprintf("{\"name\":\"%s\",\"spread\":%.4f,\"unit\":\"%s\",\"value\":%.4f", name, spread, unit, median)
            text = sprintf("%-64s %10.2f %-6s spread %.2f", name, median, unit, spread)
            m = split(other, b, " ")
            if (m) {
                for (i = 1; i <= m; i++) b[i] += 0; sort(b, m)
                value = m % 2 ? b[(m + 1) / 2] : (b[m / 2] + b[m / 2 + 1]) / 2
                ratio = less == "less" ? (median ? value / median : 0) : (value ? median / value : 0)
                json = json sprintf(",\"peer\":\"%s\",\"peerValue\":%.4f,\"ratio\":%.4f", peer, value, ratio)
                text = text sprintf("   %s %.2f   ratio %.2f", peer, value, ratio)
            }
            print text "\t" json "}"
        }')
    printf '%s\n' "${line%%$'\t'*}"
    results+=("${line#*$'\t'}")
}

say "$(nproc) processors, $rounds rounds of $each s, 32 connections, 1 kB answers"
if part throughput; then
    for name in gateway nginx envoy; do load "$name" 2; done
    samples=()
    for ((round = 0; round < rounds; round++)); do
        for name in nginx envoy gateway; do load "$name" "$each"; done
    done
    report "TLS, JWT, limit, trace, metrics, access log to a file" 1/s gateway.rate "Envoy: TLS, JWT, local limit" envoy.rate
    report "the same against nginx as TLS proxy without policies" 1/s gateway.rate "nginx: TLS" nginx.rate
    report "its p99 at that rate" ms gateway.p99 "Envoy" envoy.p99 less
    report "its p99 at that rate against nginx" ms gateway.p99 "nginx" nginx.p99 less
fi

if part latency; then
    # Half of what the gateway carries, open loop.
    load gateway 2
    half=$(awk '{ printf "%d", $NF / 64 }' <<<"${samples[gateway.rate]}")
    for ((round = 0; round < rounds; round++)); do
        for name in direct gateway nginx; do paced "$name" "$half"; done
    done
    report "added latency at half load (32 x $half/s), p50" ms added.gateway.p50 "nginx" added.nginx.p50 less
    report "added latency at half load, p99" ms added.gateway.p99 "nginx" added.nginx.p99 less
fi

if part handshakes; then
    for ((round = 0; round < rounds; round++)); do
        for name in nginx gateway; do
            samples[$name.new]+=" $(handshakes "${port[$name]}" -new)"
            samples[$name.reuse]+=" $(handshakes "${port[$name]}" -reuse)"
        done
    done
    report "new TLS connections, one request each" 1/s gateway.new nginx nginx.new
    report "resumed TLS connections, one request each" 1/s gateway.reuse nginx nginx.reuse
fi

# An open load of what a service can do, and of three times that, on a thousand connections.
if part goodput; then
    start_gateway "$gateway" 18606 18607 18604
    for ((round = 0; round < rounds; round++)); do
        for name in direct gateway; do
            for times in 1 3; do samples[goodput.$name.$times]+=" $(goodput "$name" $((service_rate * 95 * times / 100)))"; done
        done
    done
    report "answers within 500 ms at three times the load" 1/s goodput.gateway.3 "at the load a service takes" goodput.gateway.1
    report "the same without the gateway" 1/s goodput.direct.3 "at the load a service takes" goodput.direct.1
fi

if part memory && ((${MEMORY_REQUESTS:-0} > 0)); then
    memory_run "$MEMORY_REQUESTS"
    report "resident memory in the last quarter of $MEMORY_REQUESTS requests" MB memory.last "its second quarter" memory.second less
fi

if [[ -n ${OUT:-} ]]; then
    {
        printf '[\n'
        for index in "${!results[@]}"; do
            ((index == 0)) || printf ',\n'
            printf '  %s' "${results[index]}"
        done
        printf '\n]\n'
    } >"$OUT"
    say "wrote $OUT"
fi
