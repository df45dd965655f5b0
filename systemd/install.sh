#!/bin/sh
# Installs Tandem as two systemd services: program, units, users, passwords.
#
#   install.sh DIRECTORY-OF-THE-PROGRAM [--start]
#   install.sh --remove                             takes all of it away but passwords, settings and data
#
# Running it again updates program and units, keeps passwords and data, and with --start has the services run what is
# installed: a service is restarted if its program or its unit is another one. DESTDIR=… installs into an image; then nothing
# is asked of the running system. Where the Debian package is installed it does nothing: that has the same services.
set -eu
umask 022

usage="usage: install.sh DIRECTORY-OF-THE-PROGRAM [--start] | --remove"
programs=${1:?"$usage"}
start=${2:-}
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=${DESTDIR:-}
# Where what is not a program, a unit or a user goes: a page of the manual, or what a shell completes, if they are beside the program.
share="$root/usr/local/share"

# give_up REASON
give_up() {
    echo "install.sh: $1" >&2
    exit 1
}

# uninstall: also from a system that does not run
uninstall() {
    for name in cache queue; do
        if [ -z "$root" ]; then systemctl disable --quiet --now "tandem-$name.service" 2>/dev/null || true; fi
        rm -f "$root/etc/systemd/system/tandem-$name.service" "$root/etc/systemd/system/multi-user.target.wants/tandem-$name.service" \
            "$root/usr/local/bin/tandem-$name"
    done
    if [ -z "$root" ]; then systemctl disable --quiet --now tandem-backup-verify.timer 2>/dev/null || true; fi
    rm -f "$root"/etc/systemd/system/tandem-backup-verify.service "$root"/etc/systemd/system/tandem-backup-verify.timer \
        "$root"/etc/systemd/system/timers.target.wants/tandem-backup-verify.timer
    if [ "$(readlink "$root/usr/local/bin/redis-cli")" = tandem ]; then rm -f "$root/usr/local/bin/redis-cli"; fi
    rm -f "$root/usr/local/bin/tandem" "$root/etc/sysusers.d/tandem.conf" "$share"/man/man1/tandem.1 "$share"/man/man1/tandem-*.1 \
        "$share/bash-completion/completions/tandem" "$share/zsh/site-functions/_tandem" "$share/fish/vendor_completions.d/tandem.fish"
    if [ -z "$root" ]; then systemctl daemon-reload; fi
    echo "removed; passwords are in $root/etc/tandem, data in $root/var/lib/tandem-cache and $root/var/lib/tandem-queue"
}

if [ "$programs" != -h ] && [ "$programs" != --help ] && [ -z "$root" ] && [ "$(id -u)" -ne 0 ]; then
    give_up "must run as root"
fi
case $programs in
-h | --help)
    echo "$usage"
    exit 0
    ;;
--remove)
    uninstall
    exit 0
    ;;
esac
if [ ! -f "$programs/tandem" ]; then
    give_up "there is no program $programs/tandem; nothing is installed"
fi
if [ -e "$root/usr/lib/systemd/system/tandem-queue.service" ]; then
    give_up "the package tandem is installed: update that (apt install ./tandem_….deb), or remove it first (apt remove tandem)"
fi

# put MODE FROM TO: a new file under a temporary name, then moved, so that a running program keeps its own; no change, no file
put() {
    if [ -e "$3" ] && cmp -s "$2" "$3"; then return 1; fi
    install -m "$1" "$2" "$3.new"
    mv -f "$3.new" "$3"
}

install -d "$root/usr/local/bin" "$root/etc/systemd/system" "$root/etc/sysusers.d" "$root/etc/default"
changed=
if put 0755 "$programs/tandem" "$root/usr/local/bin/tandem"; then changed="cache queue"; fi
for name in cache queue; do
    ln -sfn tandem "$root/usr/local/bin/.tandem-$name.new"
    mv -f "$root/usr/local/bin/.tandem-$name.new" "$root/usr/local/bin/tandem-$name"
    unit=tandem-$name.service
    if put 0644 "$here/$unit" "$root/etc/systemd/system/$unit"; then changed="$changed $name"; fi
    # Settings are the administrator's from the first time on.
    if [ ! -e "$root/etc/default/tandem-$name" ]; then
        put 0644 "$here/tandem-$name.default" "$root/etc/default/tandem-$name"
    fi
done
for unit in tandem-backup-verify.service tandem-backup-verify.timer; do
    put 0644 "$here/$unit" "$root/etc/systemd/system/$unit" || true
done
if [ ! -e "$root/etc/default/tandem-backup-verify" ]; then
    put 0644 "$here/tandem-backup-verify.default" "$root/etc/default/tandem-backup-verify"
fi
# `tandem cli` by the name that scripts call, where no package brings another one.
if [ ! -e "$root/usr/bin/redis-cli" ] && [ ! -e "$root/usr/local/bin/redis-cli" ]; then
    ln -s tandem "$root/usr/local/bin/redis-cli"
fi
put 0644 "$here/tandem.sysusers" "$root/etc/sysusers.d/tandem.conf" || true

# beside FOLDER FROM: what lies beside the program, as in the archive
beside() {
    if [ -e "$2" ]; then
        install -d "$1"
        install -m 0644 "$2" "$1"
    fi
}
for page in "$programs"/man/*.1; do beside "$share/man/man1" "$page"; done
beside "$share/zsh/site-functions" "$programs/completions/_tandem"
beside "$share/fish/vendor_completions.d" "$programs/completions/tandem.fish"
if [ -e "$programs/completions/tandem.bash" ]; then
    install -D -m 0644 "$programs/completions/tandem.bash" "$share/bash-completion/completions/tandem"
fi

. "$here/secrets.sh"
make_secrets "$root"

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
