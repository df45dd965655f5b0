#!/bin/sh
# Prints a Secret with two new passwords. `create` does not exchange those that are there:
#
#   ./secret.sh | kubectl create -f -
set -eu
# Letters and digits only: such a password needs no quoting in any URL, shell or command line.
password() { head -c 64 /dev/urandom | base64 | tr -dc 'A-Za-z0-9' | head -c 43; }
cat <<SECRET
apiVersion: v1
kind: Secret
metadata:
  name: tandem-passwords
  labels:
    app.kubernetes.io/name: tandem
type: Opaque
stringData:
  cache-password: $(password)
  queue-password: $(password)
SECRET
