# Starting, watching and stopping the three services; sourced after toolchain.sh.
# shellcheck shell=bash disable=SC2154

declare -A port=(
    [gateway]=${GATEWAY_PORT:-8443} [graph-builder]=${GRAPH_BUILDER_PORT:-8081}
    [anomaly-propagation]=${ANOMALY_PROPAGATION_PORT:-8082}
)
declare -A metrics_port=(
    [gateway]=${GATEWAY_METRICS_PORT:-9443} [graph-builder]=${GRAPH_BUILDER_METRICS_PORT:-9081}
    [anomaly-propagation]=${ANOMALY_PROPAGATION_METRICS_PORT:-9082}
)
declare -A pid=()
url=https://localhost:${port[gateway]}
key_file=$data/api-key

port_is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

check_ports() {
    local name variable
    for name in "${products[@]}"; do
        variable=${name^^}
        variable=${variable//-/_}
        ! port_is_taken "${port[$name]}" ||
            die "port ${port[$name]} for $name is in use; set ${variable}_PORT to a free one"
        ! port_is_taken "${metrics_port[$name]}" ||
            die "port ${metrics_port[$name]} for the metrics of $name is in use; set ${variable}_METRICS_PORT to a free one"
    done
}

# set_commit: says which build this is to whoever asks, unless it is said already.
set_commit() {
    UNDERCURRENT_COMMIT=${UNDERCURRENT_COMMIT:-$("$root/scripts/commit.sh")}
    [[ -n $UNDERCURRENT_COMMIT ]] || UNDERCURRENT_COMMIT=unknown
    export UNDERCURRENT_COMMIT
}

# with_settings NAME COMMAND...: runs a product with the settings of one service. Our own variables are taken away, because
# services refuse keys they do not know.
with_settings() {
    local name=$1
    shift
    local settings=(
        "HTTP_PORT=${port[$name]}" "METRICS_PORT=${metrics_port[$name]}" "DATABASE_URL=$DATABASE_URL"
        "CALLER_TOKEN_SECRET_FILE=$data/caller-token-secret"
        # Replay and reading share these cores; the limit for production is a tenth of it.
        "QUERY_TIMEOUT_MS=${QUERY_TIMEOUT_MS:-500}"
    )
    if [[ $name == gateway ]]; then
        settings+=(
            "TLS_CERTIFICATE_FILE=$data/tls/server.pem" "TLS_KEY_FILE=$data/tls/server-key.pem"
            "UPSTREAM_GRAPH_BUILDER=http://127.0.0.1:${port[graph-builder]}"
            "UPSTREAM_ANOMALY_PROPAGATION=http://127.0.0.1:${port[anomaly-propagation]}"
        )
    fi
    local own=()
    for name in GATEWAY GRAPH_BUILDER ANOMALY_PROPAGATION; do
        own+=(-u "${name}_PORT" -u "${name}_METRICS_PORT")
    done
    exec env "${own[@]}" -u UNDERCURRENT_DATA -u UNDERCURRENT_BIN -u ONCE -u EMPTY "${settings[@]}" "$@"
}

start_service() {
    local name=$1
    # A session of its own: Ctrl-C reaches this script, which then stops the services in order.
    (with_settings "$name" setsid "$bin/$name" serve) >>"$data/logs/$name.log" 2>&1 </dev/null 9>&- &
    pid[$name]=$!
}

is_running() { [[ -n ${pid[$1]:-} ]] && kill -0 "${pid[$1]}" 2>/dev/null; }

is_ready() {
    local name=$1 address=http://127.0.0.1:${port[$1]}
    is_running "$name" || service_died "$name"
    [[ $name != gateway ]] || address=$url
    curl -fs --max-time 2 --cacert "$data/tls/ca.pem" -o /dev/null "$address/readyz"
}

service_died() {
    tail -n 20 "$data/logs/$1.log" >&2
    die "$1 has ended; the last lines of $data/logs/$1.log are above"
}

start_services() {
    local name
    mkdir -p "$data/logs"
    for name in "${products[@]}"; do
        : >"$data/logs/$name.log"
        start_service "$name"
    done
    for name in "${products[@]}"; do
        wait_until 60 is_ready "$name" || {
            tail -n 20 "$data/logs/$name.log" >&2
            die "$name is not ready after 60 s; the last lines of $data/logs/$name.log are above"
        }
    done
}

# Clean stop, the door first; a service that does not end by itself within 30 s is killed, which is an error.
stop_services() {
    local name failed=0
    for name in gateway anomaly-propagation graph-builder; do
        is_running "$name" && kill -TERM "${pid[$name]}" 2>/dev/null
    done
    for name in gateway anomaly-propagation graph-builder; do
        [[ -n ${pid[$name]:-} ]] || continue
        if ! wait_until 30 has_ended "$name"; then
            printf '%s did not stop within 30 s and is killed\n' "$name" >&2
            kill -KILL "${pid[$name]}" 2>/dev/null
            failed=1
        fi
        unset "pid[$name]"
    done
    return "$failed"
}

has_ended() { ! kill -0 "${pid[$1]}" 2>/dev/null; }

# api METHOD PATH [BODY-FILE]: one call of the public API with our key, which stays out of the process list.
api() {
    local answer=$data/answer.json status
    local body=()
    [[ -z ${3:-} ]] || body=(-H 'Content-Type: application/json' --data-binary "@$3")
    status=$(curl -sS --max-time 30 --cacert "$data/tls/ca.pem" -H "@$data/api-key-header" -X "$1" "${body[@]}" \
        -o "$answer" -w '%{http_code}' "$url$2") || return 1
    [[ $status == 2?? ]] || {
        printf '%s %s: %s %s\n' "$1" "$2" "$status" "$(head -c 500 "$answer")" >&2
        return 1
    }
}

key_works() { api GET '/v1/domains' 2>/dev/null; }

# make_key: keeps the key of an earlier run while it works.
make_key() {
    if [[ -s $key_file ]]; then
        write_key_header
        key_works && return
    fi
    (umask 077 && with_settings gateway "$bin/gateway" keys create --caller make-run \
        --scopes ingest,read,configure >"$key_file.new" 2>"$data/logs/keys.log" 9>&-) || {
        cat "$data/logs/keys.log" >&2
        die "gateway keys create failed"
    }
    grep -oE 'uc_[A-Za-z0-9_-]+' "$key_file.new" | head -n 1 >"$key_file"
    rm -f "$key_file.new"
    chmod 0600 "$key_file"
    [[ -s $key_file ]] || die "gateway keys create printed no key"
    write_key_header
    wait_until 10 key_works || die "the gateway does not accept the new key"
}

write_key_header() {
    (umask 077 && printf 'X-API-Key: %s\n' "$(<"$key_file")" >"$data/api-key-header")
}

write_connection() {
    (
        umask 077
        printf '{\n  "url": "%s",\n  "caFile": "%s",\n  "apiKey": "%s",\n  "databaseUrl": "%s",\n  "services": {\n' \
            "$url" "$data/tls/ca.pem" "$(<"$key_file")" "$DATABASE_URL"
        local name separator=
        for name in "${products[@]}"; do
            printf '%s    "%s": {"port": %s, "metricsPort": %s}' "$separator" "$name" "${port[$name]}" \
                "${metrics_port[$name]}"
            separator=$',\n'
        done
        printf '\n  }\n}\n'
    ) >"$data/connection.json.new"
    mv "$data/connection.json.new" "$data/connection.json"
}
