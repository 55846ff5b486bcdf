# Development certificates and secrets under .data; sourced after toolchain.sh.
# shellcheck shell=bash disable=SC2154

# make_certificates: an authority and a certificate for localhost, renewed a week before they end.
make_certificates() {
    local tls=$data/tls
    mkdir -p "$tls"
    if [[ -e $tls/server.pem ]] && openssl x509 -in "$tls/server.pem" -noout -checkend 604800 >/dev/null; then return; fi
    say "making a development authority and certificate in $tls"
    (
        umask 077
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -sha256 \
            -subj '/CN=Undercurrent development authority' -keyout "$tls/ca-key.pem" -out "$tls/ca.pem" \
            -addext 'basicConstraints=critical,CA:TRUE,pathlen:0' -addext 'keyUsage=critical,keyCertSign'
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256 -subj '/CN=localhost' \
            -keyout "$tls/server-key.pem" -out "$tls/server.csr"
        openssl x509 -req -in "$tls/server.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca-key.pem" -CAcreateserial -days 365 \
            -sha256 -out "$tls/server.pem" -extfile <(printf '%s\n' \
            'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1' 'basicConstraints=critical,CA:FALSE' \
            'keyUsage=critical,digitalSignature' 'extendedKeyUsage=serverAuth')
    ) >/dev/null 2>&1 || die "openssl could not make the certificates"
    rm -f "$tls/server.csr"
}

# make_caller_secret: what gateway and services sign and check the caller token with.
make_caller_secret() {
    [[ -s $data/caller-token-secret ]] ||
        (umask 077 && openssl rand -base64 48 | tr -d '\n' >"$data/caller-token-secret")
}
