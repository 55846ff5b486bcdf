#!/bin/sh
# assemble.sh PRODUCT: the files of one image in /image/PRODUCT: the program in /out, the shared libraries it names, the
# certificates of public authorities, name look-up, a user without rights, and the licences of what is copied. Runs in Debian.
set -eu
product=$1
image=/image/$product
mkdir -p "$image/usr/bin" "$image/etc" "$image/tmp"
chmod 1777 "$image/tmp"
install -m 0755 "/out/$product" "$image/usr/bin/$product"
libraries=$(ldd "/out/$product" | awk '/=> \// { print $3 } $1 ~ /^\// { print $1 }')
# Libraries of Swift in the list would mean that it was not linked statically.
case $libraries in *libswift*) echo "$product needs shared libraries of Swift" >&2 && exit 1 ;; esac
for library in $libraries; do
    cp --parents -L "$library" "$image"
    package=$(dpkg-query -S "$library" "/usr$library" "$(readlink -f "$library")" 2>/dev/null | head -n 1 | cut -d: -f1)
    if [ -n "$package" ] && [ -e "/usr/share/doc/$package/copyright" ]; then
        cp --parents -L "/usr/share/doc/$package/copyright" "$image"
    fi
done
cp --parents -L /etc/ssl/certs/ca-certificates.crt "$image"
printf 'hosts: files dns\n' >"$image/etc/nsswitch.conf"
printf 'undercurrent:x:10001:10001::/:/nonexistent\n' >"$image/etc/passwd"
printf 'undercurrent:x:10001:\n' >"$image/etc/group"
