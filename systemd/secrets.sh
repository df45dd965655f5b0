# The passwords of both services, for install.sh and for the package, whose postinst has these lines in it.

# make_secrets ROOT: those that are not there yet, for root's eyes only
make_secrets() {
    install -d -m 0700 "$1/etc/tandem"
    for name in cache queue; do
        secret="$1/etc/tandem/$name-password"
        if [ ! -s "$secret" ]; then
            # Letters and digits only: such a password needs no quoting in any URL, shell or command line.
            (umask 077 && head -c 64 /dev/urandom | base64 | tr -dc 'A-Za-z0-9' | head -c 43 >"$secret.new")
            mv "$secret.new" "$secret"
            echo "made $secret"
        fi
    done
}
