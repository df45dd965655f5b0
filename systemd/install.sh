#!/bin/sh
# Installs Tandem as two systemd services: program, units, users, passwords.
#
#   install.sh DIRECTORY-OF-THE-PROGRAM [--start]
#
# Running it again updates program and units, keeps passwords and data, and with --start has the services run what is
# installed: a service is restarted if its program or its unit is another one. DESTDIR=… installs into an image; then nothing
# is asked of the running system.
set -eu
umask 022

programs=${1:?"usage: install.sh DIRECTORY-OF-THE-PROGRAM [--start]"}
start=${2:-}
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=${DESTDIR:-}

case $programs in
-h | --help)
    echo "usage: install.sh DIRECTORY-OF-THE-PROGRAM [--start]"
    exit 0
    ;;
esac
if [ ! -f "$programs/tandem" ]; then
    echo "install.sh: there is no program $programs/tandem; nothing is installed" >&2
    exit 1
fi
if [ -z "$root" ] && [ "$(id -u)" -ne 0 ]; then
    echo "install.sh: must run as root" >&2
    exit 1
fi

# put MODE FROM TO: a new file under a temporary name, then moved, so that a running program keeps its own; no change, no file
put() {
    if [ -e "$3" ] && cmp -s "$2" "$3"; then return 1; fi
    install -m "$1" "$2" "$3.new"
    mv -f "$3.new" "$3"
}

install -d "$root/usr/local/bin" "$root/etc/systemd/system" "$root/etc/sysusers.d"
changed=
if put 0755 "$programs/tandem" "$root/usr/local/bin/tandem"; then changed="cache queue"; fi
for name in cache queue; do
    ln -sfn tandem "$root/usr/local/bin/.tandem-$name.new"
    mv -f "$root/usr/local/bin/.tandem-$name.new" "$root/usr/local/bin/tandem-$name"
    unit=tandem-$name.service
    if put 0644 "$here/$unit" "$root/etc/systemd/system/$unit"; then changed="$changed $name"; fi
done
# `tandem cli` by the name that scripts call, where no package brings another one.
if [ ! -e "$root/usr/bin/redis-cli" ] && [ ! -e "$root/usr/local/bin/redis-cli" ]; then
    ln -s tandem "$root/usr/local/bin/redis-cli"
fi
put 0644 "$here/tandem.sysusers" "$root/etc/sysusers.d/tandem.conf" || true

install -d -m 0700 "$root/etc/tandem"
for name in cache queue; do
    secret="$root/etc/tandem/$name-password"
    if [ ! -s "$secret" ]; then
        # Letters and digits only: such a password needs no quoting in any URL, shell or command line.
        (umask 077 && head -c 64 /dev/urandom | base64 | tr -dc 'A-Za-z0-9' | head -c 43 >"$secret.new")
        mv "$secret.new" "$secret"
        echo "made $secret"
    fi
done

if [ -n "$root" ]; then
    exit 0
fi
systemd-sysusers "$root/etc/sysusers.d/tandem.conf"
systemctl daemon-reload

# runs_another NAME: the service is on, and what it runs is not what is installed
runs_another() {
    systemctl is-active --quiet "tandem-$1.service" || return 1
    case " $changed " in *" $1 "*) return 0 ;; esac
    pid=$(systemctl show --property=MainPID --value "tandem-$1.service")
    [ "$(readlink "/proc/$pid/exe")" != "$(readlink -f /usr/local/bin/tandem)" ]
}

for name in cache queue; do
    if [ "$start" = --start ]; then
        systemctl enable --quiet "tandem-$name.service"
        if runs_another "$name"; then
            echo "restarting tandem-$name"
            systemctl restart "tandem-$name.service"
        else
            systemctl start "tandem-$name.service"
        fi
    elif runs_another "$name"; then
        echo "tandem-$name still runs what was there before: systemctl restart tandem-$name"
    fi
done

# The passwords themselves are shown to somebody who looks, and not to a file.
shown() {
    if [ -t 1 ]; then cat "/etc/tandem/$1-password"; else echo "<$1-password of /etc/tandem>"; fi
}
if [ "$start" = --start ]; then
    tandem health cache
    tandem health queue
fi
echo "Applications on this machine connect to"
echo "  redis://default:$(shown cache)@127.0.0.1:6379"
echo "  redis://default:$(shown queue)@127.0.0.1:6380"
echo "Other ports and addresses: systemctl edit tandem-cache, systemctl edit tandem-queue"
