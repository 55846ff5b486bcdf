# What scripts stand on: words, packages, Swift and its builds. Sourced, not run.
# shellcheck shell=bash disable=SC2034

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
data=${UNDERCURRENT_DATA:-$root/.data}
products=(graph-builder anomaly-propagation gateway)

say() { printf '==> %s\n' "$*"; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# What the build and the run need beyond a Swift toolchain, as Debian 12 names it.
packages=(
    ca-certificates curl git openssl postgresql util-linux
    libpq-dev libssl-dev zlib1g-dev
    binutils gcc libc6-dev libgcc-12-dev libstdc++-12-dev pkg-config tzdata
    libcurl4 libedit2 libncurses6 libsqlite3-0 libxml2
)

# install_packages [MORE...]: installs what is missing, saying so first; as another user prints the line to run.
install_packages() {
    local package missing=()
    for package in "${packages[@]}" "$@"; do
        [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    if ((EUID != 0)); then
        die "these Debian packages are missing; run: sudo apt-get install -y --no-install-recommends ${missing[*]}"
    fi
    say "installing Debian packages: ${missing[*]}"
    # The package of the server must not start a cluster of its own.
    mkdir -p /etc/postgresql-common
    [[ -e /etc/postgresql-common/createcluster.conf ]] ||
        printf 'create_main_cluster = false\n' >/etc/postgresql-common/createcluster.conf
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || die "apt-get update failed"
    # Nor may any other package start a service: Debian asks this file, and 101 means no.
    local policy=/usr/sbin/policy-rc.d made=0
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 0755 "$policy"
        made=1
    fi
    local status=0
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || status=$?
    ((!made)) || rm -f "$policy"
    ((status == 0)) || die "apt-get install failed"
}

need_swift() {
    command -v swift >/dev/null || die "there is no swift on the PATH: install Swift 6.3 from https://swift.org/install"
}

# build_services: sets bin to the folder of the three programs, built in release unless UNDERCURRENT_BIN names one.
build_services() {
    local product
    bin=${UNDERCURRENT_BIN:-}
    [[ -z $bin ]] || return 0
    need_swift
    say "building (release)"
    for product in "${products[@]}"; do
        swift build -c release --product "$product" --quiet || die "the build of $product failed"
    done
    bin=$(swift build -c release --show-bin-path)
}

# wait_until SECONDS COMMAND...: tries the command five times a second.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.2
    done
}

# python_with NAME PACKAGE...: a Python of our own with these packages from PyPI, made once under .build, and anew when the
# packages are others; prints its path.
python_with() {
    local folder=$root/.build/python-$1
    shift
    if [[ $(cat "$folder/ready" 2>/dev/null) != "$*" ]]; then
        rm -rf "$folder"
        python3 -m venv "$folder" && "$folder/bin/pip" install --quiet "$@" >&2 && echo "$*" >"$folder/ready" || return 1
    fi
    echo "$folder/bin/python"
}
