#!/bin/sh
# Makes the passwords for compose.yaml, once. The directory is the owner's alone (0700), which is what
# protects them on this machine; the files inside are readable, because the container's user, who is
# not the owner, gets each file mounted by itself.
set -eu
cd -- "$(dirname -- "$0")"
umask 077
mkdir -p secrets
chmod 700 secrets
for name in cache queue; do
    secret=secrets/$name-password
    if [ ! -s "$secret" ]; then
        head -c 32 /dev/urandom | base64 | tr -d '=\n' | tr '+/' '-_' >"$secret.new"
        chmod 0444 "$secret.new"
        mv "$secret.new" "$secret"
        echo "made compose/$secret"
    fi
done
