#!/usr/bin/env bash
# Runs the benchmarks in release, those of ingest on a private system; OUT=FILE writes the figures as JSON, ONLY=NAME runs one
# group.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
cd "$root"
# shellcheck source=scripts/lib/system.sh
source scripts/lib/system.sh
install_packages
need_swift
swift build -c release --product Benchmarks --quiet
# The real program is measured too.
swift build -c release --product graph-builder --quiet
bin=$(swift build -c release --show-bin-path)

if [[ -z ${ONLY:-} || $ONLY == ingest || $ONLY == deadlines ]]; then
    start_system
    export UNDERCURRENT_CONNECTION=$folder/connection.json UNDERCURRENT_CALLER_SECRET=$folder/caller-token-secret
fi
if [[ -z ${ONLY:-} || $ONLY == screen ]]; then
    install_packages python3-venv
    # One thread each.
    export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
    UNDERCURRENT_PYTHON=$(python_with peers numpy==2.2.6) || die "numpy cannot be installed"
    export UNDERCURRENT_PYTHON UNDERCURRENT_PEERS=$root/Tests/Benchmarks/peers.py
fi
if [[ -z ${ONLY:-} || $ONLY == path-peers ]]; then
    install_packages python3-venv
    UNDERCURRENT_GRAPH_PYTHON=$(python_with graphs numpy==2.2.6 scipy==1.15.3 rustworkx==0.16.0 igraph==0.11.8) ||
        die "rustworkx, igraph and scipy cannot be installed"
    export UNDERCURRENT_GRAPH_PYTHON UNDERCURRENT_GRAPH_PEERS=$root/Tests/Benchmarks/graph_peers.py
fi
"$bin/Benchmarks" ${OUT:+--out "$OUT"} ${ONLY:+--only "$ONLY"}
