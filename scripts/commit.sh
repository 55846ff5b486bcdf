#!/usr/bin/env bash
# Prints which commit of ours these files are: 12 digits, with `-dirty` behind them where something differs from it or was added.
# Prints nothing where there is no checkout. Services show it as UNDERCURRENT_COMMIT, and evidence of readiness is bound to it.
set -euo pipefail
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# A checkout around us, as of who unpacked an archive inside another project, is not ours.
[[ $(git -C "$folder" rev-parse --show-toplevel 2>/dev/null) == "$folder" ]] || exit 0
commit=$(git -C "$folder" rev-parse --short=12 HEAD 2>/dev/null) || exit 0
[[ -z $(git -C "$folder" status --porcelain 2>/dev/null) ]] || commit+=-dirty
printf '%s\n' "$commit"
