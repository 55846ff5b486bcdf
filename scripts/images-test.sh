#!/usr/bin/env bash
# Builds the three images with buildah and runs them with podman, read-only, as user 10001, with a memory limit; then the
# recordings are replayed and the report is printed by these containers. The builder stage is left out: its base image
# (swift:6.3-bookworm) is not to be had here, so programs built on this machine with static Swift libraries take its place.
# The Debian base is made by debootstrap. Root only.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
cd "$root"

((EUID == 0)) || die "buildah and debootstrap need root here"
install_packages buildah podman runc debootstrap iproute2 python3-venv
need_swift
# Not under .build: the swift build tool keeps one kind of product there.
scratch=.build-static
work=$(mktemp -d)
mkdir -p "$work/programs/out"
chmod 0755 "$work"
goal_bytes=$((60 * 1000 * 1000))

podman_() { podman --cgroup-manager cgroupfs --runtime /usr/sbin/runc "$@"; }

trap 'rm -rf "$work"' EXIT

say "building (release, static Swift libraries)"
for product in "${products[@]}"; do
    swift build -c release --static-swift-stdlib --scratch-path "$scratch" --product "$product" --quiet || die "the build of $product failed"
    install -s "$scratch/release/$product" "$work/programs/out/$product"
done

# base: Debian with what apt needs, under the name the Dockerfile asks for.
base=docker.io/library/debian:bookworm-slim
if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
    say "making the Debian base"
    mirror=$(apt-cache policy base-files | awk '$3 == "bookworm/main" { print $2; exit }')
    debootstrap --variant=minbase bookworm "$work/base" "${mirror:-http://deb.debian.org/debian}" >"$work/debootstrap.log" 2>&1 || {
        tail "$work/debootstrap.log" >&2
        die "debootstrap failed"
    }
    cp -r /etc/apt/apt.conf.d/. "$work/base/etc/apt/apt.conf.d/" 2>/dev/null || true
    made=$(buildah from scratch)
    buildah add -q "$made" "$work/base" / >/dev/null
    buildah commit -q "$made" "$base" >/dev/null
    buildah rm "$made" >/dev/null
fi
made=$(buildah from scratch)
buildah add -q "$made" "$work/programs" / >/dev/null
buildah commit -q "$made" localhost/undercurrent-programs >/dev/null
buildah rm "$made" >/dev/null

say "building the images"
# The Dockerfile without its first stage, which is replaced by the image of programs.
awk '/^FROM .* AS builder$/ { skip = 1; next } /^# hadolint ignore=DL3006$|^FROM / { if (!/DL3008/) skip = 0 } !skip' Dockerfile >"$work/Dockerfile"
! grep -q 'swift build' "$work/Dockerfile" || die "the builder stage was not left out"
for product in "${products[@]}"; do
    buildah bud --isolation chroot --pull=never --layers --format docker --target "$product" -f "$work/Dockerfile" \
        --build-arg PROGRAMS=localhost/undercurrent-programs --build-arg COMMIT="$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
        -t "localhost/undercurrent/$product:test" . >"$work/$product.log" 2>&1 || {
        tail -n 30 "$work/$product.log" >&2
        die "the image of $product cannot be built"
    }
    rm -rf "$work/archive.tar"
    podman_ save -q --format oci-archive -o "$work/archive.tar" "localhost/undercurrent/$product:test"
    bytes=$(stat -c %s "$work/archive.tar")
    printf 'image %s: %s MB compressed\n' "$product" "$(awk -v bytes="$bytes" 'BEGIN { printf "%.1f", bytes / 1e6 }')"
    ((bytes <= goal_bytes)) || die "$product is larger than $goal_bytes bytes"
    [[ $(podman_ inspect -f '{{.Config.User}}' "localhost/undercurrent/$product:test") == 10001:10001 ]] || die "$product has another user"
    [[ $(podman_ inspect -f '{{index .Config.Labels "org.opencontainers.image.title"}}' "localhost/undercurrent/$product:test") == "undercurrent $product" ]] ||
        die "$product has no title"
done

say "running the containers"
python=$(python_with kubernetes -r Tests/Kubernetes/requirements.txt) || die "the checkers cannot be installed"
export PYTHONDONTWRITEBYTECODE=1 BINARIES=$work/programs/out
unshare -n bash -c 'ip link set lo up && exec "$@"' alone "$python" Tests/Kubernetes/live_images.py
