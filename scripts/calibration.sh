#!/usr/bin/env bash
# Checks the engine's statistics on series whose truth is known and prints tables; ends with 1 when a promise is surely
# broken. ONLY=SECTION, SCALE=FACTOR times the trials, OUT=FILE writes the figures as JSON.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
from=$PWD
cd "$root"
install_packages
need_swift
swift build -c release --product Calibration --quiet
bin=$(swift build -c release --show-bin-path)
# Paths are the caller's.
[[ -z ${OUT:-} || $OUT == /* ]] || OUT=$from/$OUT
exec "$bin/Calibration" ${ONLY:+--only "$ONLY"} ${SCALE:+--scale "$SCALE"} ${OUT:+--out "$OUT"}
