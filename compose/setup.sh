#!/bin/sh
# Makes what compose.yaml needs, once: passwords, .env, compose.override.yaml. Then it tells how applications connect.
# The directory of the passwords is the owner's alone (0700), which is what protects them on this machine; the files inside
# are readable, because the container's user, who is not the owner, gets each file mounted by itself.
set -eu
cd -- "$(dirname -- "$0")"
if [ ! -e .env ]; then
    name=tandem
    if [ -d secrets ]; then
        # An earlier setup had no name: its volumes are called after this folder, and must be found again.
        name=$(basename "$PWD" | tr 'A-Z' 'a-z' | tr -cd 'a-z0-9_-')
    fi
    sed "s/^COMPOSE_PROJECT_NAME=.*/COMPOSE_PROJECT_NAME=$name/" .env.example >.env.new
    mv .env.new .env
    echo "made compose/.env"
fi
if [ ! -e compose.override.yaml ]; then
    cp compose.override.example.yaml compose.override.yaml
    echo "made compose/compose.override.yaml"
fi
umask 077
mkdir -p secrets
chmod 700 secrets
# The third is Grafana's, of monitoring/compose.yaml.
for name in cache queue grafana; do
    secret=secrets/$name-password
    if [ ! -s "$secret" ]; then
        # Letters and digits only: such a password needs no quoting in any URL, shell or command line.
        head -c 64 /dev/urandom | base64 | tr -dc 'A-Za-z0-9' | head -c 43 >"$secret.new"
        chmod 0444 "$secret.new"
        mv "$secret.new" "$secret"
        echo "made compose/$secret"
    fi
done
# The passwords themselves are shown to somebody who looks, and not to a file.
shown() {
    if [ -t 1 ]; then cat "secrets/$1-password"; else echo "<compose/secrets/$1-password>"; fi
}
echo "Applications that join the network connect to"
echo "  redis://default:$(shown cache)@cache:6379"
echo "  redis://default:$(shown queue)@queue:6380"
echo "app.example.yaml is such an application. Start: docker compose up -d --build"
