#!/usr/bin/env bash
# Measures how good the engine's answers are on labelled recordings and prints a table. DATA=DIR: any folder of the layout
# of Samples; OUT=FILE writes the figures as JSON; ONLY=market, faults, cases or servers. GRID=1: root causes under other
# parameters instead, one changed at a time, and what each set alone would choose.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
from=$PWD
cd "$root"
install_packages
need_swift
swift build -c release --product Accuracy --quiet
bin=$(swift build -c release --show-bin-path)
recordings=${DATA:-Samples}
# Paths are the caller's.
[[ -z ${DATA:-} || $DATA == /* ]] || recordings=$from/$DATA
[[ -z ${OUT:-} || $OUT == /* ]] || OUT=$from/$OUT
"$bin/Accuracy" "$recordings" ${OUT:+--out "$OUT"} ${ONLY:+--only "$ONLY"} ${GRID:+--grid}
