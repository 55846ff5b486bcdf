#!/usr/bin/env bash
# Makes what is derived from the chart and from monitoring/: k8s/, the chart's copies of rules and dashboards, and the names of
# settings in its schema. --check only compares.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
cd "$root"
install_packages python3-venv
python=$(python_with kubernetes -r Tests/Kubernetes/requirements.txt) || die "the chart cannot be rendered"
PYTHONDONTWRITEBYTECODE=1 "$python" scripts/kubernetes/generate.py "$@"
