# A private PostgreSQL on a Unix socket, for `make run`; sourced after toolchain.sh.
# shellcheck shell=bash disable=SC2154

postgres_started=0

# The newest installed server's programs.
postgres_bin() {
    local newest
    newest=$(find /usr/lib/postgresql -maxdepth 3 -path '*/bin/initdb' 2>/dev/null | sort -V | tail -n 1)
    [[ -n $newest ]] || die "there is no PostgreSQL server: apt-get install postgresql"
    dirname "$newest"
}

# as_postgres COMMAND...: PostgreSQL refuses root, so root runs it as the user the package made.
as_postgres() {
    if ((EUID == 0)); then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}

# Chooses folders: normally .data/postgres; a place the user postgres cannot reach (a clone under /root) moves to /var/lib.
postgres_place() {
    local name
    name=undercurrent-$(printf '%s' "$data" | sha256sum | cut -c1-12)
    postgres_data=$data/postgres
    if ((EUID == 0)) && ! as_postgres test -x "$data"; then
        postgres_data=/var/lib/$name
    fi
    # A socket path has room for 107 bytes.
    postgres_socket=$postgres_data/socket
    ((${#postgres_socket} < 80)) || postgres_socket=/tmp/$name
    mkdir -p "$postgres_data" "$postgres_socket"
    chmod 0700 "$postgres_data" "$postgres_socket"
    ((EUID != 0)) || chown postgres: "$postgres_data" "$postgres_socket"
}

# start_postgres: sets DATABASE_URL.
start_postgres() {
    local bin
    bin=$(postgres_bin)
    postgres_place
    if [[ ! -e $postgres_data/cluster/PG_VERSION ]]; then
        say "making a private PostgreSQL in $postgres_data"
        as_postgres "$bin/initdb" -D "$postgres_data/cluster" -U undercurrent -A trust -E UTF8 --locale=C >/dev/null ||
            die "initdb failed"
    fi
    if ! as_postgres "$bin/pg_ctl" -D "$postgres_data/cluster" status >/dev/null 2>&1; then
        as_postgres "$bin/pg_ctl" -D "$postgres_data/cluster" -w -t 60 -l "$postgres_data/log" -o "\
-c listen_addresses='' -c unix_socket_directories='$postgres_socket' -c unix_socket_permissions=0700 \
-c shared_buffers=256MB -c max_wal_size=2GB -c max_connections=100" start >/dev/null 9>&- ||
            die "PostgreSQL does not start, see $postgres_data/log"
        postgres_started=1
    fi
    "$bin/psql" -qAt -h "$postgres_socket" -U undercurrent -d postgres \
        -c "SELECT 1 FROM pg_database WHERE datname = 'undercurrent'" | grep -q 1 ||
        "$bin/psql" -q -h "$postgres_socket" -U undercurrent -d postgres -c 'CREATE DATABASE undercurrent' ||
        die "the database cannot be made"
    export DATABASE_URL="postgresql://undercurrent@/undercurrent?host=$postgres_socket"
}

stop_postgres() {
    ((postgres_started)) || return 0
    as_postgres "$(postgres_bin)/pg_ctl" -D "$postgres_data/cluster" -w -t 60 -m fast stop >/dev/null ||
        printf 'PostgreSQL did not stop, see %s\n' "$postgres_data/log" >&2
    postgres_started=0
}
