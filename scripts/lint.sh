#!/usr/bin/env bash
# Format of every Swift file, and every shell script.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
cd "$root"
need_swift
swift format lint --strict --parallel -r Package.swift Services Shared Tests
command -v shellcheck >/dev/null || install_packages shellcheck
shellcheck -x .ci/run scripts/*.sh scripts/lib/*.sh scripts/images/*.sh
say "lint passed"
