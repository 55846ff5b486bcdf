#!/usr/bin/env bash
# Runs the benchmarks in release, those of ingest on a private system; OUT=FILE writes the figures as JSON, ONLY=NAME runs one
# group.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
cd "$root"
install_packages
need_swift
swift build -c release --product Benchmarks --quiet
# The real program is measured too.
swift build -c release --product graph-builder --quiet
bin=$(swift build -c release --show-bin-path)

system=
folder=
leave() {
    local status=$?
    trap - EXIT
    if [[ -n $system ]]; then
        kill -TERM "$system" 2>/dev/null || true
        wait "$system" 2>/dev/null || true
    fi
    [[ -z $folder ]] || rm -rf "$folder"
    exit "$status"
}
trap leave EXIT

if [[ -z ${ONLY:-} || $ONLY == ingest ]]; then
    # The user of the database must be able to reach the folder.
    folder=$(mktemp -d /var/tmp/undercurrent-bench.XXXXXX)
    chmod 0755 "$folder"
    say "starting a private system for ingest"
    # No limit on requests: it is not what is measured.
    EMPTY=1 UNDERCURRENT_DATA=$folder RATE_LIMITER_TOKENS=1000000 RATE_LIMITER_REFILL_RATE=1000000 \
        GATEWAY_PORT=18443 GATEWAY_METRICS_PORT=19443 GRAPH_BUILDER_PORT=18081 GRAPH_BUILDER_METRICS_PORT=19081 \
        ANOMALY_PROPAGATION_PORT=18082 ANOMALY_PROPAGATION_METRICS_PORT=19082 \
        scripts/run.sh >"$folder/run.log" 2>&1 &
    system=$!
    is_up() { grep -q '^==> up at' "$folder/run.log" || ! kill -0 "$system" 2>/dev/null; }
    wait_until 1800 is_up || true
    grep -q '^==> up at' "$folder/run.log" || {
        cat "$folder/run.log" >&2
        die "the private system does not start"
    }
    export UNDERCURRENT_CONNECTION=$folder/connection.json UNDERCURRENT_CALLER_SECRET=$folder/caller-token-secret
fi
if [[ -z ${ONLY:-} || $ONLY == screen ]]; then
    install_packages python3-venv
    # One thread each.
    export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
    UNDERCURRENT_PYTHON=$(python_with peers numpy==2.2.6) || die "numpy cannot be installed"
    export UNDERCURRENT_PYTHON UNDERCURRENT_PEERS=$root/Tests/Benchmarks/peers.py
fi
"$bin/Benchmarks" ${OUT:+--out "$OUT"} ${ONLY:+--only "$ONLY"}
