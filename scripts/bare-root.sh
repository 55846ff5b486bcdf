#!/usr/bin/env bash
# Proves that no install step is missing: makes a bare Debian 12 root, gives it nothing but the Swift toolchain, clones this
# repository into it and runs `make run ONCE=1` and `make test` there. Needs root and debootstrap.
#   scripts/bare-root.sh [FOLDER]        FOLDER is made, and removed at the end unless KEEP=1
# Git rules of this machine that send package URLs to local folders (url.<folder>.insteadOf) are taken over, and those folders
# are mounted read-only; so are the package sources of apt.
set -euo pipefail
# shellcheck source=scripts/lib/toolchain.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"
cd "$root"
((EUID == 0)) || die "this needs root, for chroot and mounts"
command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"
need_swift

bare=${1:-$(mktemp -d /var/tmp/bare-root.XXXXXX)}
steps=${STEPS:-run test}
# The dollar belongs to apt's own format.
# shellcheck disable=SC2016
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Codename: bookworm' | head -n 1)
toolchain=$(dirname "$(dirname "$(dirname "$(readlink -f "$(command -v swift)")")")")
[[ -n $mirror ]] || die "apt knows no Debian mirror: run apt-get update"
[[ $toolchain != / && $toolchain != /usr ]] || die "the Swift toolchain must lie in a folder of its own, not in /usr"

mounts=()
mount_into() {
    mkdir -p "$bare$1"
    mount --bind "$1" "$bare$1"
    mount -o remount,bind,ro "$bare$1"
    mounts+=("$bare$1")
}
leave() {
    local status=$? index
    # What the last step started may take a moment to end.
    for ((index = ${#mounts[@]} - 1; index >= 0; index--)); do
        wait_until 10 umount -q "${mounts[index]}" || status=1
    done
    # Never remove through a mount that is still there.
    if [[ ${KEEP:-0} != 1 ]] && ! grep -qF " $bare/" /proc/mounts; then rm -rf "$bare"; fi
    exit "$status"
}
trap leave EXIT

# The folder becomes `/`, which every user must be able to pass.
mkdir -p "$bare"
chmod 0755 "$bare"
say "making a bare root in $bare from $mirror"
debootstrap --variant=minbase --include=ca-certificates,git,make bookworm "$bare" "$mirror" >"$bare.log" 2>&1 ||
    { tail -n 20 "$bare.log"; die "debootstrap failed"; }
rm -f "$bare.log"
mount -t proc proc "$bare/proc"
mounts+=("$bare/proc")
mount -t tmpfs tmpfs "$bare/dev/shm" 2>/dev/null && mounts+=("$bare/dev/shm")
printf 'deb %s bookworm main\n' "$mirror" >"$bare/etc/apt/sources.list"
for file in /etc/resolv.conf /etc/hosts; do [[ ! -e $file ]] || cp -L "$file" "$bare$file"; done
apt-config dump --format '%f "%v";%n' | grep -E '^Acquire::(http|https|Check)' >"$bare/etc/apt/apt.conf.d/90machine" || true
if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
    cp /usr/local/share/ca-certificates/*.crt "$bare/usr/local/share/ca-certificates/"
    chroot "$bare" update-ca-certificates >/dev/null 2>&1
fi

mount_into "$toolchain"
: >"$bare/root/.gitconfig"
while read -r key value; do
    folder=${key#url.}
    folder=${folder%.insteadof}
    [[ -d $folder ]] || continue
    mountpoint -q "$bare$folder" || mount_into "${folder%/}"
    git config -f "$bare/root/.gitconfig" --add "$key" "$value"
done < <(git config --get-regexp '^url\..*\.insteadof$' || true)
# Mirrors belong to another user there; reading them is what we want.
git config -f "$bare/root/.gitconfig" safe.directory '*'

say "cloning"
git clone -q --no-hardlinks "$root" "$bare/srv/undercurrent"
inside() {
    chroot "$bare" /usr/bin/env -i HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" \
        PATH="$toolchain/usr/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
        bash -c "cd /srv/undercurrent && $1"
}
for step in $steps; do
    case $step in
    run) say "make run ONCE=1" && inside 'make run ONCE=1' ;;
    test) say "make test" && inside 'make test' ;;
    *) die "STEPS may hold run and test" ;;
    esac
done
say "the bare root passed: $steps"
