#!/usr/bin/env bash
# Builds, starts everything, replays the samples through the gateway and prints the report. Stays up until Ctrl-C;
# ONCE=1 ends after the report, with 0 only if every step worked; EMPTY=1 leaves samples and report out. See README.md for the settings.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
cd "$root"
# shellcheck source=scripts/lib/postgres.sh
source scripts/lib/postgres.sh
# shellcheck source=scripts/lib/secrets.sh
source scripts/lib/secrets.sh
# shellcheck source=scripts/lib/services.sh
source scripts/lib/services.sh
# shellcheck source=scripts/lib/samples.sh
source scripts/lib/samples.sh

stop_all() {
    local status=$?
    trap - EXIT
    trap '' INT TERM
    rm -f "$data/connection.json"
    if ((${#pid[@]})); then say "stopping"; fi
    stop_services || status=1
    stop_postgres
    exit "$status"
}

install_packages
need_swift
mkdir -p "$data"
chmod 0755 "$data"
exec 9>"$data/lock"
flock -n 9 || die "another run uses $data; stop it first, or set UNDERCURRENT_DATA to another folder"
check_ports

set_commit
build_services

trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
started=$SECONDS

if [[ -z ${DATABASE_URL:-} ]]; then start_postgres; else say "using the database of DATABASE_URL"; fi
make_certificates
make_caller_secret
say "migrating"
(with_settings graph-builder "$bin/graph-builder" migrate) >"$data/migrate.log" 2>&1 9>&- || {
    cat "$data/migrate.log" >&2
    die "the migration failed"
}
say "starting ${products[*]}"
start_services
make_key
write_connection
if [[ ${EMPTY:-0} != 1 ]]; then
    put_profiles
    put_topology
    replay_samples

    say "the report"
    "$bin/graph-builder" report --connection "$data/connection.json" --samples Samples \
        --replays "$data/replays.jsonl" --answers "$data/root-cause-answers.json" --wait 9>&- ||
        die "the report failed"
fi
say "ready after $((SECONDS - started)) s"

[[ -z ${ONCE:-} || ${ONCE:-} == 0 ]] || exit 0
say "up at $url; Ctrl-C stops everything this started"
while true; do
    for product in "${products[@]}"; do
        is_running "$product" || service_died "$product"
    done
    sleep 1
done
