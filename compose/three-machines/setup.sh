#!/bin/sh
# Makes what three machines need to be one queue that survives the loss of any of them: for each a folder `machines/ADDRESS`, which is to be
# copied there. Run it once, on one machine, with the addresses by which the three reach each other; the first is the master at first:
#
#   ./setup.sh 10.0.0.11 10.0.0.12 10.0.0.13
#
# With two addresses there are no Sentinels: which of the two is the master is said by hand.
# All have one password and certificates of one authority. Keep `authority` in a safe place: certificates of further machines are made with it.
set -eu
cd -- "$(dirname -- "$0")"
[ $# = 2 ] || [ $# = 3 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ ! -e machines ] || { echo "the folder machines is there already" >&2; exit 1; }
umask 077
mkdir authority machines
# Letters and digits only: such a password needs no quoting anywhere.
head -c 64 /dev/urandom | base64 | tr -dc 'A-Za-z0-9' | head -c 43 >authority/password

new_key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null || openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

new_key authority/ca.key
openssl req -x509 -new -key authority/ca.key -days 3650 -out authority/ca.crt -subj "/CN=Tandem on three machines" \
    -addext keyUsage=critical,keyCertSign,cRLSign
for address in "$@"; do
    folder=machines/$address
    mkdir -p "$folder/tls"
    new_key "$folder/tls/server.key"
    printf 'subjectAltName=IP:%s,IP:127.0.0.1,DNS:localhost\n' "$address" >authority/names
    openssl req -new -key "$folder/tls/server.key" -subj "/CN=$address" |
        openssl x509 -req -days 3650 -CA authority/ca.crt -CAkey authority/ca.key -CAcreateserial -extfile authority/names \
            -out "$folder/tls/server.crt" 2>/dev/null
    cp authority/ca.crt "$folder/tls/"
    cp authority/password "$folder/password"
    cp compose.yaml "$folder/"
    printf 'SELF=%s\n' "$address" >"$folder/.env"
    # By a file: what stands on a command line can be read by everybody on the machine.
    printf 's/@SELF@/%s/; s/@FIRST@/%s/; s/@PASSWORD@/%s/\n' "$address" "$1" "$(cat authority/password)" >authority/changes
    for file in sentinel.conf tandem-queue.conf; do
        sed -f authority/changes "$file" >"$folder/$file"
    done
    # Who may enter the folder, its owner, may read them; so may the containers' users, who get each file by itself.
    chmod 0444 "$folder"/tls/* "$folder/password" "$folder/sentinel.conf"
    [ $# = 3 ] || rm -f "$folder/sentinel.conf"
done
rm authority/names authority/changes
echo "made authority and machines: copy machines/ADDRESS to each of $*, and look after authority"
