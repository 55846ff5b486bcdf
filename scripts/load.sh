#!/usr/bin/env bash
# An open load of mixed routes on a private system that holds the samples: RATE (5000) requests a second for SECONDS_EACH (600).
# OUT=FILE writes the figures as JSON. UNDERCURRENT_BIN takes a folder of programs that are built already.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
cd "$root"
# shellcheck source=scripts/lib/system.sh
source scripts/lib/system.sh
install_packages
need_swift
load=${UNDERCURRENT_BIN:-}
if [[ -z $load ]]; then
    swift build -c release --product Load --quiet
    load=$(swift build -c release --show-bin-path)
fi
start_system UNDERCURRENT_BIN="${UNDERCURRENT_BIN:-}" EMPTY=0
"$load/Load" --connection "$folder/connection.json" --rate "${RATE:-5000}" --seconds "${SECONDS_EACH:-600}" ${OUT:+--out "$OUT"}
