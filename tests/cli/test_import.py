"""`tandem import`: from real servers of three kinds into a running queue, by replication and by keys."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "differential")]

from harness import certs, servers  # noqa: E402
from machine import references  # noqa: E402

NAMES = ["7.0", "8.2", "valkey"]


def queue(*extra, password=None):
    return servers.Server("queue", reference=False, tls=False, extra=extra, password=password)


def run(old, new, *words, code=0, environment=None):
    scheme = "rediss" if new.tls else "redis"
    line = [servers.BINARIES / "tandem", "import", f"redis://127.0.0.1:{old.port}", "--into", f"{scheme}://127.0.0.1:{new.port}",
            "--json", *words]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60,
                          env={"PATH": "/usr/bin:/bin", **(environment or {})})
    assert done.returncode == code, (done.stdout, done.stderr)
    return [json.loads(told) for told in done.stdout.splitlines()], done.stderr


def until(holds):
    end = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def fill(client):
    client.pipeline([("SET", f"key:{n}", "x" * 100) for n in range(2000)])
    client.pipeline([("RPUSH", "list", n) for n in range(500)])
    client.call("HSET", "hash", *range(600))
    client.call("ZADD", "zset", 1, "a", 2, "b")
    client.call("SADD", "set", *range(300))
    client.call("XADD", "stream", "1-1", "f", "v")
    client.call("SET", "leaves", 1, "PX", 5_000_000)
    client.call("SELECT", 3)
    client.call("SET", "elsewhere", 1)
    client.call("SELECT", 0)


def is_whole(client):
    assert client.call("DBSIZE") >= 2006
    assert client.call("LLEN", "list") == 500 and client.call("HLEN", "hash") == 300 and client.call("SCARD", "set") == 300
    assert client.call("ZRANGE", "zset", 0, -1) == [b"a", b"b"]
    assert client.call("XRANGE", "stream", "-", "+") == [[b"1-1", [b"f", b"v"]]]
    assert 4_000_000 < client.call("PTTL", "leaves") <= 5_000_000 and client.call("PTTL", "list") == -1
    client.call("SELECT", 3)
    assert client.call("GET", "elsewhere") == b"1"
    client.call("SELECT", 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_server_is_followed_until_its_successor_takes_over(name):
    """Under a writer that never rests: what it was told to be written is at the new one."""
    with references.server(name) as old, queue() as new, old.client() as o, new.client() as n:
        fill(o)
        told, _ = run(old, new, "--once")
        assert {"event": "lag", "bytes": 0} in told
        is_whole(n)
        written, stopping = [], threading.Event()

        def write():
            with old.client() as c:
                c.socket.settimeout(3)
                try:
                    for number in range(1_000_000):
                        if stopping.is_set():
                            return
                        c.call("RPUSH", "jobs", number)
                        written.append(number)
                except (TimeoutError, OSError):
                    pass

        writer = threading.Thread(target=write)
        writer.start()
        try:
            time.sleep(0.3)
            told, _ = run(old, new, "--cutover", "--pause", "20")
            events = [line["event"] for line in told]
            assert events[-1] == "taken-over" and "paused" in events
            assert n.call("ROLE")[0] == b"master" and n.call("SET", "mine", 1) == b"OK"
            done = list(written)
        finally:
            stopping.set()
            writer.join(10)
        assert len(done) > 20 and n.call("LLEN", "jobs") >= len(done)
        assert n.call("CONFIG", "GET", "masterauth") == [b"masterauth", b""]


def test_a_password_is_on_no_command_line_and_not_kept(tmp_path):
    with servers.Server("server", reference=True, tls=False, password="old") as old, queue(password="new") as new:
        with old.client() as o, new.client() as n:
            fill(o)
            passwords = {"TANDEM_IMPORT_INTO_PASSWORD": "new"}
            _, why = run(old, new, code=1, environment=passwords)
            assert "NOAUTH" in why
            secret = tmp_path / "password"
            secret.write_text("old\n")
            secret.chmod(0o600)
            n.call("CONFIG", "SET", "masterauth", "of before")
            run(old, new, "--cutover", "--from-password-file", secret, environment=passwords)
            is_whole(n)
            assert n.call("CONFIG", "GET", "masterauth") == [b"masterauth", b"of before"]


def test_the_new_server_is_believed_by_an_authority_of_its_own():
    unasked = ("--tls-auth-clients", "no")
    with servers.Server("server", reference=True, tls=False) as old, old.client() as o:
        with servers.Server("queue", reference=False, tls=True, extra=unasked) as new, new.client() as n:
            fill(o)
            _, why = run(old, new, "--cacert", certs.made().authority, "--by-keys", code=1)
            assert "Could not negotiate a TLS connection" in why and n.call("DBSIZE") == 0
            run(old, new, "--into-cacert", certs.made().authority, "--by-keys")
            is_whole(n)


def test_a_later_run_guesses_no_settings_and_ends_nothing_that_it_has_not_begun():
    """Who follows already keeps following where there is no link, and what it was set to before is not known any more."""
    with servers.Server("server", reference=True, tls=False, password="old") as old, queue() as new:
        with old.client() as o, new.client() as n:
            fill(o)
            password = {"TANDEM_IMPORT_FROM_PASSWORD": "old"}
            n.call("CONFIG", "SET", "masterauth", "of before")
            run(old, new, "--once", environment=password)
            n.call("CONFIG", "SET", "masterauth", "wrong")
            o.call("CLIENT", "KILL", "TYPE", "replica")
            _, why = run(old, new, "--patience", "2", "--cutover", code=1, environment=password)
            assert "goes on following" in why and "Nothing was changed" not in why
            assert n.call("ROLE")[0] == b"slave"
            n.call("CONFIG", "SET", "masterauth", "old")
            told, _ = run(old, new, "--cutover", environment=password)
            assert any("CONFIG SET masteruser" in line.get("text", "") for line in told)
            assert n.call("CONFIG", "GET", "masterauth") == [b"masterauth", b"old"]
            is_whole(n)


def test_a_server_that_does_not_pause_is_taken_over_from_only_if_that_is_said():
    with servers.Server("server", reference=True, tls=False, extra=("--rename-command", "CLIENT", "")) as old, queue() as new:
        with old.client() as o, new.client() as n:
            fill(o)
            _, why = run(old, new, "--cutover", code=1)
            assert "--although-unpaused" in why and n.call("ROLE")[0] == b"slave"
            told, _ = run(old, new, "--cutover", "--although-unpaused")
            assert told[-1]["event"] == "taken-over" and n.call("ROLE")[0] == b"master"
            is_whole(n)


@pytest.mark.parametrize("name", NAMES)
def test_a_replica_whose_master_goes_on_is_taken_over_from_only_if_that_is_said(name):
    with references.server(name) as master, references.server(name) as old, queue() as new:
        with master.client() as m, old.client() as o, new.client() as n:
            m.call("SET", "k", "v")
            o.call("REPLICAOF", "127.0.0.1", master.port)
            until(lambda: o.call("GET", "k") == b"v")
            _, why = run(old, new, "--cutover", code=1)
            assert f"it follows 127.0.0.1:{master.port} itself" in why and "--although-unpaused" in why
            assert n.call("ROLE")[0] == b"slave" and m.call("SET", "k", "w") == b"OK"
            until(lambda: n.call("GET", "k") == b"w")
            run(old, new, "--cutover", "--although-unpaused")
            assert n.call("ROLE")[0] == b"master" and n.call("GET", "k") == b"w"


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_by_keys_keeps_times_to_live_and_goes_on_where_it_was(name, tmp_path):
    with references.server(name) as old, queue() as new, old.client() as o, new.client() as n:
        fill(o)
        state = tmp_path / "state"
        told, _ = run(old, new, "--by-keys", "--state", state)
        assert told[-1]["event"] == "keys" and told[-1]["copied"] == 2007
        is_whole(n)
        again, _ = run(old, new, "--by-keys", "--state", state)
        assert again[-1] == told[-1], "all that is noted was copied"
        assert n.call("ROLE")[0] == b"master"


def test_what_would_be_lost_is_not_touched():
    with references.server("7.0") as old, queue() as new, old.client() as o, new.client() as n:
        fill(o)
        n.call("SET", "mine", 1)
        for words in ((), ("--by-keys",)):
            _, why = run(old, new, "--once", *words, code=1)
            assert "Nothing was changed" in why and "--replace" in why
        assert n.call("DBSIZE") == 1 and n.call("ROLE")[0] == b"master"
        run(old, new, "--by-keys", "--replace")
        assert n.call("GET", "mine") == b"1"
        is_whole(n)


def test_a_service_that_forbids_replication_is_told_of_and_copied_by_keys():
    with servers.Server("server", reference=True, tls=False, extra=("--rename-command", "PSYNC", "", "--rename-command", "SYNC", "")) as old:
        with queue() as new, old.client() as o, new.client() as n:
            fill(o)
            _, why = run(old, new, "--patience", "3", code=1)
            assert "--by-keys" in why and n.call("ROLE")[0] == b"master" and n.call("DBSIZE") == 0
            run(old, new, "--by-keys")
            is_whole(n)


def test_types_that_there_are_none_of_here_are_named_before_anything_is_changed():
    with references.server("8.2") as old, queue() as new, old.client() as o, new.client() as n:
        fill(o)
        if "ERR unknown" in str(o.ask("VADD", "vectors", "VALUES", 3, 1, 2, 3, "element")):
            pytest.skip("this build has no vector sets")
        told, why = run(old, new, code=1)
        assert {"event": "unsupported", "database": 0, "key": "vectors", "type": "vectorset"} in told
        assert "--skip-unsupported" in why and n.call("DBSIZE") == 0 and n.call("ROLE")[0] == b"master"
        told, _ = run(old, new, "--by-keys", "--skip-unsupported")
        assert told[-2]["event"] == "keys" and "1 keys were left out" in told[-1]["text"]
        is_whole(n)
