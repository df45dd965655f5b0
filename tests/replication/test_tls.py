"""A link to a master over TLS: its certificate must come from a believed authority, and nothing is said in the clear."""

import socket
import subprocess

import pytest
from conftest import eventually, in_step, info
from harness import certs, servers

# What the harness says of real servers.
OPEN = ("--tls-auth-clients", "no")


def replica_of(master, authority, *extra):
    words = ("--replicaof", f"127.0.0.1 {master.tls_port}", "--tls-replication", "yes",
             "--tls-ca-cert-file", str(authority), *extra)
    return servers.Server("server", reference=False, tls=False, extra=words)


def link(client):
    told = info(client)
    return told["master_link_status"], told.get("master_link_error", "")


@pytest.mark.parametrize("name", ["tandem", "7.0"])
def test_a_master_is_followed_over_tls(name):
    extra = () if name != "tandem" else OPEN
    with servers.Server("server", reference=name != "tandem", tls=True, password="secret", extra=extra) as master:
        with master.client() as m, replica_of(master, certs.made().authority, "--masterauth", "secret") as replica:
            m.pipeline([("SET", f"k{n}", "x" * 1000) for n in range(3000)])
            in_step(master, replica)
            with replica.client() as r:
                assert r.call("DBSIZE") == 3000 and r.call("GET", "k7") == b"x" * 1000
                assert link(r) == ("up", "")
                m.pipeline([("RPUSH", "live", n) for n in range(1000)])
                in_step(master, replica)
                assert r.call("LLEN", "live") == 1000


def test_a_master_that_wants_certificates_is_shown_one():
    files = certs.made()
    wants = ("--tls-auth-clients", "yes", "--tls-ca-cert-file", str(files.authority))
    with servers.Server("server", reference=True, tls=True, extra=wants) as master:
        with replica_of(master, files.authority) as nobody, nobody.client() as r:
            eventually("it is refused", lambda: link(r)[1])
            assert link(r)[0] == "down"
        shown = ("--tls-client-cert-file", str(files.client_certificate), "--tls-client-key-file", str(files.client_key))
        with replica_of(master, files.authority, *shown) as replica, replica.client() as r:
            eventually("it is let in", lambda: link(r) == ("up", ""))


def test_a_master_of_another_authority_is_refused_in_words(tmp_path):
    other = tmp_path / "other.crt"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-keyout", str(tmp_path / "other.key"), "-out", str(other), "-subj", "/CN=Somebody else",
                    "-addext", "basicConstraints=critical,CA:TRUE"], check=True, capture_output=True)
    with servers.Server("server", reference=False, tls=True, extra=OPEN) as master, replica_of(master, other) as replica:
        with replica.client() as r:
            eventually("it is refused", lambda: "none of the authorities in tls-ca-cert-file" in link(r)[1])
            assert link(r)[0] == "down" and r.call("DBSIZE") == 0
            assert "No TLS connection to MASTER" in replica.log.read_text()
            r.call("CONFIG", "SET", "tls-ca-cert-file", str(certs.made().authority))
            eventually("it is believed", lambda: link(r) == ("up", ""), seconds=40)


def test_nothing_is_told_to_a_master_that_speaks_no_tls():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        words = ("--replicaof", f"127.0.0.1 {port}", "--tls-replication", "yes", "--masterauth", "secret",
                 "--tls-ca-cert-file", str(certs.made().authority))
        with servers.Server("server", reference=False, tls=False, extra=words) as replica, replica.client() as r:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                heard = connection.recv(4096)
                assert heard[0] == 0x16 and b"secret" not in heard and b"PING" not in heard
                connection.sendall(b"-NOAUTH Authentication required.\r\n")
            eventually("it is told why", lambda: "does not speak TLS" in link(r)[1])
