#!/usr/bin/env bash
# HTTP/2 error handling and restarts (RFC 9113), TLS, changing keys and spans (OTLP) of the gateway, by tools from PyPI: h2, sslyze,
# opentelemetry-proto. GATEWAY_BIN takes a program that is built already; else it is built in release. Listeners are on
# 127.0.0.1: 18600, 18601, 18605-18611.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
cd "$root"
# shellcheck source=scripts/lib/bench-gateway.sh
source scripts/lib/bench-gateway.sh
install_packages nginx-light python3 python3-venv
folder=$(mktemp -d /var/tmp/undercurrent-conformance.XXXXXX)
chmod 0755 "$folder"
pids=()
leave() {
    local status=$? pid
    trap - EXIT
    for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$folder"
    exit "$status"
}
trap leave EXIT

venv=$root/.build/conformance
if ! "$venv/bin/python" -c 'import h2, sslyze, opentelemetry.proto' 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q h2 sslyze opentelemetry-proto || die "the tools cannot be installed"
fi
gateway=${GATEWAY_BIN:-}
if [[ -z $gateway ]]; then
    need_swift
    swift build -c release --product gateway --quiet
    gateway=$(swift build -c release --show-bin-path)/gateway
fi
make_bench_secrets
start_upstream
OTLP_ENDPOINT=http://127.0.0.1:18606 TRACE_SAMPLE_RATIO=1 start_gateway "$gateway"

# Two gateways are stopped and started in turn until RESTART_REQUESTS (100,000) are answered over connections that clients keep.
restarts() {
    local one=$gateway_pid two client turn=0
    start_gateway "$gateway" 18607 18608
    two=$gateway_pid
    "$venv/bin/python" Tests/Conformance/h2_restart.py "$folder/cert.pem" "$(cat "$folder/token")" /v1/events \
        "${RESTART_REQUESTS:-100000}" 18601 18607 &
    client=$!
    while kill -0 "$client" 2>/dev/null; do
        sleep 1
        if ((turn++ % 2 == 0)); then
            kill -TERM "$one"
            wait "$one" || return 1
            start_gateway "$gateway"
            one=$gateway_pid
        else
            kill -TERM "$two"
            wait "$two" || return 1
            start_gateway "$gateway" 18607 18608
            two=$gateway_pid
        fi
    done
    wait "$client"
}
failed=0
say "spans"
"$venv/bin/python" Tests/Conformance/otlp_check.py localhost 18601 "$folder/cert.pem" "$(cat "$folder/token")" 18606 || failed=1
say "HTTP/2"
"$venv/bin/python" Tests/Conformance/h2_cases.py 127.0.0.1 18601 "$folder/cert.pem" "$(cat "$folder/token")" || failed=1
say "TLS"
"$venv/bin/python" Tests/Conformance/tls_check.py 127.0.0.1 18601 || failed=1
say "restarts"
restarts || failed=1
say "keys of tokens"
JWKS=JWKS_URL=http://127.0.0.1:18610/jwks start_gateway "$gateway" 18609 18611
"$venv/bin/python" Tests/Conformance/key_rotation.py "$folder/cert.pem" 18609 18610 || failed=1
((failed == 0))
