#!/usr/bin/env bash
# Compares the engine's statistics on random and adversarial series with scipy and statsmodels; ends with 1 when any differs.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
cd "$root"
install_packages python3-venv
need_swift
swift build -c release --product Calibration --quiet
bin=$(swift build -c release --show-bin-path)
python=$(python_with references numpy==2.2.6 "pandas<3" scipy==1.15.3 statsmodels==0.14.6) || die "scipy cannot be installed"
file=$(mktemp)
trap 'rm -f "$file"' EXIT
"$bin/Calibration" --references "$file"
"$python" scripts/references.py "$file"
