#!/usr/bin/env bash
# Runs the benchmarks in release; OUT=FILE writes the figures as JSON.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
cd "$root"
install_packages
need_swift
swift build -c release --product Benchmarks --quiet
# The real program is measured too.
swift build -c release --product graph-builder --quiet
exec "$(swift build -c release --show-bin-path)/Benchmarks" ${OUT:+--out "$OUT"}
