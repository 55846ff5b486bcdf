#!/usr/bin/env bash
# Prints which commit of ours these files are: 12 digits, with `-dirty` behind them where something differs from it or was added.
# Prints nothing where there is no checkout. Services show it as UNDERCURRENT_COMMIT, and evidence of readiness is bound to it.
set -euo pipefail
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# Whoever runs this, as root does on installing, trusts the files it lies among.
ask() { git -c safe.directory="$folder" -C "$folder" "$@" 2>/dev/null; }
# A checkout around us, as of who unpacked an archive inside another project, is not ours.
[[ $(ask rev-parse --show-toplevel) == "$folder" ]] || exit 0
commit=$(ask rev-parse --short=12 HEAD) || exit 0
[[ -z $(ask status --porcelain) ]] || commit+=-dirty
printf '%s\n' "$commit"
