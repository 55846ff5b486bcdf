#!/usr/bin/env bash
# Removes build products and the private database, after asking that nothing runs.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
cd "$root"
if [[ -e $data/lock ]]; then
    exec 9>"$data/lock"
    flock -n 9 || die "a run uses $data; stop it first"
fi
rm -rf "/var/lib/undercurrent-$(printf '%s' "$data" | sha256sum | cut -c1-12)" 2>/dev/null || true
rm -rf .build "$data"
