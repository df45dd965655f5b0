#!/bin/sh
# Installs Tandem as two systemd services: program, units, user, passwords.
#
#   install.sh DIRECTORY-OF-THE-PROGRAM [--start]
#
# Running it again updates program and units and keeps passwords and data. DESTDIR=… installs into an
# image; then nothing is asked of the running system.
set -eu
umask 022

programs=${1:?"usage: install.sh DIRECTORY-OF-THE-PROGRAM [--start]"}
start=${2:-}
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=${DESTDIR:-}

if [ -z "$root" ] && [ "$(id -u)" -ne 0 ]; then
    echo "install.sh: must run as root" >&2
    exit 1
fi

install -d "$root/usr/local/bin" "$root/etc/systemd/system" "$root/etc/sysusers.d"
# A new file under a temporary name, then moved: the running program keeps its own.
install -m 0755 "$programs/tandem" "$root/usr/local/bin/.tandem.new"
mv -f "$root/usr/local/bin/.tandem.new" "$root/usr/local/bin/tandem"
for name in tandem-cache tandem-queue; do
    ln -sfn tandem "$root/usr/local/bin/.$name.new"
    mv -f "$root/usr/local/bin/.$name.new" "$root/usr/local/bin/$name"
done
for name in cache queue; do
    install -m 0644 "$here/tandem-$name.service" "$root/etc/systemd/system/tandem-$name.service"
done
install -m 0644 "$here/tandem.sysusers" "$root/etc/sysusers.d/tandem.conf"

install -d -m 0700 "$root/etc/tandem"
for name in cache queue; do
    secret="$root/etc/tandem/$name-password"
    if [ ! -s "$secret" ]; then
        (umask 077 && head -c 32 /dev/urandom | base64 | tr -d '=\n' | tr '+/' '-_' >"$secret.new")
        mv "$secret.new" "$secret"
        echo "made $secret"
    fi
done

if [ -n "$root" ]; then
    exit 0
fi
systemd-sysusers "$root/etc/sysusers.d/tandem.conf"
systemctl daemon-reload
if [ "$start" = --start ]; then
    systemctl enable --now tandem-cache.service tandem-queue.service
    tandem health cache
    tandem health queue
fi
