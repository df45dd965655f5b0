#!/bin/sh
# Lays out what the image holds, for both Dockerfiles: the program with its other names, and the folders that a server may write.
#
#   layout.sh PROGRAM FOLDER      makes FOLDER/root and FOLDER/state anew
set -eu
umask 022
rm -rf "$2/root" "$2/state"
mkdir -p "$2/root/bin" "$2/root/usr/local/bin" "$2/state/data" "$2/state/run/tandem"
cp "$1" "$2/root/tandem"
for name in tandem-cache tandem-queue; do
    ln -s tandem "$2/root/$name"
done
# By these it is found without a path, and by health checks that call what Redis' image has.
for name in tandem tandem-cache tandem-queue redis-server redis-cli valkey-server valkey-cli; do
    ln -s /tandem "$2/root/usr/local/bin/$name"
done
ln -s /tandem "$2/root/bin/sh"
# Whom to trust when a repository of backups is reached over TLS: the system's certificates, of the package ca-certificates.
mkdir -p "$2/root/etc/ssl/certs"
cp -L /etc/ssl/certs/ca-certificates.crt "$2/root/etc/ssl/certs/ca-certificates.crt"
# For whatever user a server is told to run as.
chmod 1777 "$2/state/data" "$2/state/run/tandem"
