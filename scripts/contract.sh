#!/usr/bin/env bash
# Asks a private system through its gateway what openapi.yaml allows and what it does not, and compares every answer with it
# (schemathesis: examples, edge cases, fuzzing, and calls that follow each other). EXAMPLES (20) per operation and phase; SEED
# repeats a run. UNDERCURRENT_BIN takes a folder of programs that are built already.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
cd "$root"
# shellcheck source=scripts/lib/system.sh
source scripts/lib/system.sh
install_packages python3 python3-venv
venv=$root/.build/contract
if [[ ! -x $venv/bin/st ]]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q schemathesis==4.32 || die "schemathesis cannot be installed"
fi
# Requests without a credential are part of it, and so many of them are not to be limited.
start_system UNDERCURRENT_BIN="${UNDERCURRENT_BIN:-}" STRANGER_LIMITER_TOKENS=1000000 STRANGER_LIMITER_REFILL_RATE=1000000
bin=${UNDERCURRENT_BIN:-$(swift build -c release --show-bin-path)}
DATABASE_URL=$(sed -n 's/.*"databaseUrl": "\(.*\)",/\1/p' "$folder/connection.json")
key=$(env -u UNDERCURRENT_BIN DATABASE_URL="$DATABASE_URL" "$bin/gateway" keys create --caller contract --scopes ingest,read,configure,admin)
# A schema cannot say what a line of NDJSON is, nor how fields depend on each other (two nodes must differ, one kind of chaos needs a layer).
for operation in "POST /v1/observations" "POST /v1/propagation" "POST /v1/root-causes" "PUT /v1/domains/{id}" "PUT /v1/topology" \
    "POST /v1/chaos"; do
    printf '[[operations]]\ninclude-name = "%s"\nchecks.positive_data_acceptance.enabled = false\n\n' "$operation"
done >"$folder/schemathesis.toml"
# A writer of its own for NDJSON. And a deadline of a millisecond is allowed and missed, as it should be: not what is asked here.
cat >"$folder/hooks.py" <<'PYTHON'
import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")


@schemathesis.hook
def before_call(context, case, kwargs):
    asked = str((case.headers or {}).get("X-Request-Timeout-Ms", ""))
    if asked.isdecimal() and 0 < int(asked) < 20_000:
        case.headers["X-Request-Timeout-Ms"] = "20000"
    # Only an answer can tell a cursor.
    (case.query or {}).pop("cursor", None)
PYTHON
cd "$folder" # where the tool may leave what it likes
SCHEMATHESIS_HOOKS=$folder/hooks.py "$venv/bin/st" --config-file "$folder/schemathesis.toml" run "$root/openapi.yaml" --url https://localhost:18443 \
    --tls-verify "$folder/tls/ca.pem" --header "X-API-Key: $key" --seed "${SEED:-1}" --max-examples "${EXAMPLES:-20}" \
    --phases examples,coverage,fuzzing,stateful --request-timeout 30 --continue-on-failure --no-color \
    --generation-with-security-parameters false --generation-codec latin-1
