#!/usr/bin/env bash
# Destroys and restores a private server, twice: from a dump, and from a base backup with the archived log. Compares counts and
# graph ids with what there was, and says how long each took and what was lost. Touches nothing outside a folder of its own.
# UNDERCURRENT_BIN=.build/debug uses debug builds that are there; RECORDING=FILE replays another recording.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
cd "$root"
install_packages
build_services

folder=$(mktemp -d /var/tmp/undercurrent-drill.XXXXXX)
chmod 0755 "$folder"
export UNDERCURRENT_DATA=$folder/data GATEWAY_PORT=${GATEWAY_PORT:-18543} GATEWAY_METRICS_PORT=${GATEWAY_METRICS_PORT:-19543}
export GRAPH_BUILDER_PORT=${GRAPH_BUILDER_PORT:-18181} GRAPH_BUILDER_METRICS_PORT=${GRAPH_BUILDER_METRICS_PORT:-19181}
export ANOMALY_PROPAGATION_PORT=${ANOMALY_PROPAGATION_PORT:-18182}
export ANOMALY_PROPAGATION_METRICS_PORT=${ANOMALY_PROPAGATION_METRICS_PORT:-19182}
data=$UNDERCURRENT_DATA
mkdir -p "$data"
recording=${RECORDING:-$folder/recording.csv}
if [[ -z ${RECORDING:-} ]]; then
    # Two venues of one market, some hours: enough for graphs, little enough for a debug build.
    for file in Samples/market-btcjpy/*.csv.gz; do zcat "$file"; break; done | awk 'NR <= 6001' >"$recording"
fi
# shellcheck source=scripts/lib/postgres.sh
source scripts/lib/postgres.sh
# shellcheck source=scripts/lib/secrets.sh
source scripts/lib/secrets.sh
# shellcheck source=scripts/lib/services.sh
source scripts/lib/services.sh

tools=$(postgres_bin)
server=$folder/server
archive=$folder/archive
leave() {
    local status=$?
    trap - EXIT
    stop_services || true
    as_postgres "$tools/pg_ctl" -D "$server/cluster" -m immediate stop >/dev/null 2>&1 || true
    if ((status == 0)); then rm -rf "$folder"; else say "left for looking at: $folder"; fi
    exit "$status"
}
trap leave EXIT
trap 'exit 130' INT TERM

own() { ((EUID != 0)) || chown -R postgres: "$@"; }
sql() { "$tools/psql" -qAt -v ON_ERROR_STOP=1 -h "$server" -U undercurrent -d "${database:-undercurrent}" -c "$1"; }
start_server() {
    as_postgres "$tools/pg_ctl" -D "$server/cluster" -w -t 120 -l "$server/log" -o "-c listen_addresses='' \
-c unix_socket_directories='$server' -c archive_mode=on -c archive_timeout=10 \
-c archive_command='test ! -f $archive/%f && cp %p $archive/%f.part && mv $archive/%f.part $archive/%f'" start >/dev/null
}
# What must come back: rows of every table of ours that is no scratch, and the graphs by their ids.
state() {
    local table
    for table in nodes observations ingest_log idempotency_keys evaluations findings multi_layer_correlations event_graphs \
        anomalies forecasts api_keys topology domain_profiles detector_states; do
        printf '%s %s\n' "$table" "$(sql "SELECT count(*) FROM $table")"
    done
    sql "SELECT 'graph ' || event_id || ' ' || graph_id FROM event_graphs ORDER BY 1"
}
rows() { awk '$1 != "graph" { sum += $2 } END { print sum }' "$1"; }
wipe() {
    local postmaster
    postmaster=$(head -n 1 "$server/cluster/postmaster.pid")
    kill -STOP "$postmaster"
    pkill -KILL -P "$postmaster" || true
    kill -KILL "$postmaster"
    # With the machine go its socket and its lock.
    rm -rf "$server/cluster" "$server"/.s.PGSQL.*
}

say "a private server that archives its log"
mkdir -p "$server" "$archive" "$folder/base"
own "$server" "$archive" "$folder/base"
as_postgres "$tools/initdb" -D "$server/cluster" -U undercurrent -A trust -E UTF8 --locale=C >/dev/null
start_server
database=postgres sql 'CREATE DATABASE undercurrent' >/dev/null
export DATABASE_URL="postgresql://undercurrent@/undercurrent?host=$server"
make_certificates
make_caller_secret
(with_settings graph-builder "$bin/graph-builder" migrate) >"$folder/migrate.log" 2>&1 || die "the migration failed"
check_ports
start_services
make_key
write_connection
replay() {
    "$bin/graph-builder" replay --connection "$data/connection.json" --domain-prefix "$1" --wait "$recording" \
        >>"$folder/replay.log" 2>&1 || die "the replay failed, see $folder/replay.log"
}
say "replaying $recording"
replay before-

say "taking a dump and a base backup"
began=$SECONDS
"$tools/pg_dump" -h "$server" -U undercurrent -d undercurrent -Fc -f "$folder/undercurrent.dump"
dump_seconds=$((SECONDS - began))
state >"$folder/state.dump"
began=$SECONDS
as_postgres "$tools/pg_basebackup" -h "$server" -U undercurrent -D "$folder/base" -c fast -X none >/dev/null
base_seconds=$((SECONDS - began))

say "going on after the backups"
replay after-
stop_services || die "services did not stop"
state >"$folder/state.last"
# The log is archived after archive_timeout at the latest: what is newer is lost with the machine.
last=$(sql 'SELECT pg_walfile_name(pg_current_wal_lsn())')
is_archived() { [[ -e $archive/$last ]]; }
sql "SELECT pg_create_restore_point('drill')" >/dev/null
wait_until 60 is_archived || die "the log is not archived within a minute"

say "destroying the server"
wipe

say "restoring from the dump"
began=$SECONDS
as_postgres "$tools/initdb" -D "$server/cluster" -U undercurrent -A trust -E UTF8 --locale=C >/dev/null
rm -rf "$folder/archive.old" && mv "$archive" "$folder/archive.old" && mkdir "$archive" && own "$archive"
start_server
database=postgres sql 'CREATE DATABASE undercurrent' >/dev/null
"$tools/pg_restore" -h "$server" -U undercurrent -d undercurrent --exit-on-error "$folder/undercurrent.dump"
dump_restored=$((SECONDS - began))
state >"$folder/state.restored"
diff -u "$folder/state.dump" "$folder/state.restored" || die "the dump did not bring back what it held"
wipe

say "restoring from the base backup and the log"
began=$SECONDS
rm -rf "$archive" && mv "$folder/archive.old" "$archive"
cp -a "$folder/base" "$server/cluster"
own "$server/cluster"
chmod 0700 "$server/cluster"
printf "restore_command = 'cp %s/%%f %%p'\nrecovery_target_action = 'promote'\n" "$archive" >>"$server/cluster/postgresql.auto.conf"
touch "$server/cluster/recovery.signal"
own "$server/cluster"
start_server
is_writable() { [[ $(sql 'SELECT pg_is_in_recovery()') == f ]]; }
wait_until 120 is_writable || die "the server does not end its recovery"
base_restored=$((SECONDS - began))
state >"$folder/state.restored"
diff -u "$folder/state.last" "$folder/state.restored" || die "the log did not bring back what was archived"

say "starting services on what was restored"
began=$SECONDS
start_services
serving=$((SECONDS - began))
mapfile -t ids < <(sql 'SELECT graph_id FROM event_graphs ORDER BY event_id LIMIT 20')
(with_settings graph-builder "$bin/graph-builder" verify "${ids[@]}") >"$folder/verify.log" 2>&1 ||
    die "restored graphs do not verify: $(tail -n 3 "$folder/verify.log")"

printf '%-24s %8s %10s %12s %s\n' backup taken restored 'rows' 'lost'
printf '%-24s %6s s %8s s %12s %s\n' 'pg_dump' "$dump_seconds" "$dump_restored" "$(rows "$folder/state.dump")" \
    "all since the dump: $(($(rows "$folder/state.last") - $(rows "$folder/state.dump"))) rows here"
printf '%-24s %6s s %8s s %12s %s\n' 'base backup and log' "$base_seconds" "$base_restored" "$(rows "$folder/state.last")" \
    'nothing that was archived; at most archive_timeout'
say "counts and $(grep -c '^graph ' "$folder/state.last") graph ids agree, ${#ids[@]} graphs verify, services ready after $serving s"
