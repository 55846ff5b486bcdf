#!/usr/bin/env bash
# Compares the engine's statistics on random and adversarial series with scipy, statsmodels and scikit-learn; ends with 1 when any differs.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
cd "$root"
install_packages python3-venv
need_swift
swift build -c release --product Calibration --quiet
swift build -c release --product Accuracy --quiet
bin=$(swift build -c release --show-bin-path)
python=$(python_with references numpy==2.2.6 "pandas<3" scipy==1.15.3 statsmodels==0.14.6 scikit-learn==1.6.1) ||
    die "scipy, statsmodels and scikit-learn cannot be installed"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$bin/Calibration" --references "$folder/engine"
"$bin/Accuracy" --references "$folder/scores"
"$python" scripts/references "$folder/engine" "$folder/scores"
