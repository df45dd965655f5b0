"""Tandem as the replica of real masters: Redis 7.0, Redis 8.2 and Valkey 9.1."""

import json
import signal
import socket
import threading
import time
import urllib.request
from contextlib import contextmanager

import conftest
import pytest
from conftest import assert_equal, eventually, in_step, info, master_of, survive_cuts
from harness import servers, wire
from machine import references


class Writer(conftest.Writer):
    """Writes no strings that take seconds to copy."""

    def __init__(self, server, commands, seed):
        super().__init__(server, commands, seed)
        self.client.call("CONFIG", "SET", "proto-max-bulk-len", "1mb")


LIBRARY = ("#!lua name={}\nredis.register_function{{function_name='{}', callback=function() return {} end, "
           "flags={{'no-writes'}}}}")


@contextmanager
def replica_of(master, *extra, kind="server", directory=None):
    """A Tandem that follows from its start."""
    words = ("--replicaof", f"127.0.0.1 {master.port}", "--loglevel", "verbose", *extra)
    with servers.Server(kind, reference=False, tls=False, extra=words, directory=directory) as replica:
        yield replica


def with_base(server):
    """Waits until the log has a base of what was copied."""
    with server.client() as c:
        eventually("the log has a base", lambda: info(c, "persistence")["aof_enabled"] == "1"
                   and info(c, "persistence")["aof_rewrite_in_progress"] == "0")


def full_copies(server):
    with server.client() as c:
        return int(info(c, "stats")["sync_full"])


def test_all_that_a_master_writes_is_here(name, commands):
    """All types, from the copy and from the stream; scripts, transactions, expiry, random picks as they are told."""
    with references.server(name) as master, master.client() as m:
        writer = Writer(master, commands, f"{name}-replica")
        writer.play(1500)
        m.call("HSET", "large", *[f"{part}{n}" for n in range(3000) for part in "fv"])
        m.call("FUNCTION", "LOAD", LIBRARY.format("lib", "one", 1))
        with replica_of(master) as replica, replica.client() as r:
            in_step(master, replica)
            assert r.call("HLEN", "large") == 3000
            assert r.call("FCALL", "one", 0) == 1
            writer.play(1500)
            writer.mixed()
            m.call("FUNCTION", "LOAD", LIBRARY.format("other", "two", 2))
            assert_equal(master, replica)
            assert r.call("FCALL", "two", 0) == 2
            theirs, ours = info(m), info(r)
            assert (ours["role"], ours["master_port"]) == ("slave", str(master.port))
            assert ours["master_replid"] == theirs["master_replid"]
            assert f"port={replica.port},state=online" in theirs["slave0"]
            role = r.call("ROLE")
            assert role[:4] == [b"slave", b"127.0.0.1", master.port, b"connected"] and role[4] > 0
            # The master hears how far we are within a second, and at once if it asks.
            m.call("SET", "last", "1")
            assert m.call("WAIT", 1, 3000) == 1
            assert full_copies(master) == 1


@pytest.mark.parametrize("kind", ("8.2", "valkey", "tandem"))
def test_fields_that_expire_are_in_the_copy(kind):
    """Valkey sends them only to who has told that it reads them; a Tandem does not take another for a Valkey."""
    with master_of() if kind == "tandem" else references.server(kind) as master, master.client() as m:
        m.call("HSET", "hash", "soon", "1", "stays", "2")
        m.call("HEXPIRE", "hash", 1000, "FIELDS", 1, "soon")
        with replica_of(master) as replica, replica.client() as r:
            in_step(master, replica)
            assert r.call("HGETALL", "hash") == m.call("HGETALL", "hash")
            times = ("HPEXPIRETIME", "hash", "FIELDS", 2, "soon", "stays")
            assert r.call(*times) == m.call(*times)
            assert full_copies(master) == 1


@pytest.mark.parametrize("diskless", ("yes", "no"))
def test_a_copy_comes_with_and_without_a_file_of_the_master(diskless):
    with references.server("7.0") as master, master.client() as m:
        m.call("CONFIG", "SET", "repl-diskless-sync", diskless)
        m.call("CONFIG", "SET", "repl-diskless-sync-delay", "0")
        m.call("DEBUG", "POPULATE", 20000)
        with replica_of(master) as replica:
            in_step(master, replica)
            assert_equal(master, replica)
            expected = "streamed RDB" if diskless == "yes" else " bytes from master"
            assert expected in replica.log.read_text()


def test_a_link_that_was_cut_goes_on_where_it_was(name, commands):
    with references.server(name) as master:
        writer = Writer(master, commands, f"{name}-cuts")
        with replica_of(master) as replica:
            in_step(master, replica)
            survive_cuts(master, replica, writer)


class Proxy:
    """Passes a connection to `port` on, and cuts it off behind so many bytes of the master's when it is told to."""

    def __init__(self, port):
        self.port, self.left = port, None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.own_port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            master = socket.create_connection(("127.0.0.1", self.port))
            threading.Thread(target=self.pass_on, args=(client, master, False), daemon=True).start()
            threading.Thread(target=self.pass_on, args=(master, client, True), daemon=True).start()

    def pass_on(self, source, target, is_masters):
        try:
            while data := source.recv(1 << 16):
                if is_masters and self.left is not None:
                    data = data[:self.left]
                    self.left -= len(data)
                    target.sendall(data)
                    if self.left == 0:
                        self.left = None
                        break
                else:
                    target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def test_a_transaction_that_was_cut_off_in_the_middle_is_run_once_and_whole():
    with references.server("7.0") as master, master.client() as m:
        proxy = Proxy(master.port)
        with servers.Server("server", reference=False, tls=False) as replica, replica.client() as r:
            r.call("REPLICAOF", "127.0.0.1", proxy.own_port)
            in_step(master, replica)
            m.call("SELECT", 3)
            m.call("SET", "n", 0)
            in_step(master, replica)
            r.call("SELECT", 3)
            for cut, bytes_left in enumerate((1, 16, 20, 40, 60, 80), 1):
                proxy.left = bytes_left
                m.pipeline([("MULTI",), ("INCR", "n"), ("RPUSH", "l", "x" * 30), ("INCR", "n"), ("EXEC",)])
                eventually("it has come back", lambda: int(info(m, "stats")["sync_partial_ok"]) >= cut)
                in_step(master, replica)
                assert r.call("GET", "n") == str(2 * cut).encode()
                assert r.call("LLEN", "l") == cut
            assert_equal(master, replica)
            assert full_copies(master) == 1


def test_a_replica_refuses_what_it_must_in_the_words_of_redis():
    """The same requests to a real replica and to ours."""
    script = "return redis.call('SET', 'k', 'v')"
    declared = "#!lua\nreturn redis.call('SET', 'k', 'v')"
    requests = [("SET", "k", "v"), ("BLPOP", "l", 0), ("EVAL", script, 0), ("EVAL", declared, 0), ("EVAL", "return 1", 0),
                ("EVAL_RO", "return 1", 0), ("GET", "k"), ("PUBLISH", "c", "m"), ("FLUSHALL",), ("DEL", "nothing"),
                ("MULTI",), ("SET", "k", "v"), ("EXEC",), ("REPLICAOF", "127.0.0.1", "x"), ("REPLICAOF", "a", "70000"),
                ("CONFIG", "GET", "replica-read-only"), ("MULTI",), ("GET", "k"), ("EXEC",), ("GETEX", "k"),
                ("CONFIG", "SET", "replicaof", "a 1")]
    with references.server("7.0") as master, references.server("7.0") as theirs, replica_of(master) as ours:
        with theirs.client() as t, ours.client() as o:
            t.call("REPLICAOF", "127.0.0.1", master.port)
            in_step(master, theirs)
            in_step(master, ours)
            for client in (t, o):
                client.call("CONFIG", "SET", "replica-serve-stale-data", "no")
            assert o.pipeline(requests) == t.pipeline(requests)
            assert t.call("REPLICAOF", "127.0.0.1", master.port) == o.call("REPLICAOF", "127.0.0.1", master.port)
            master.kill()
            for server in (t, o):
                eventually("the link is down", lambda: info(server)["master_link_status"] == "down")
            stale = [*requests, ("PING",), ("SELECT", 1), ("ECHO", "x"), ("EVAL", "return redis.call('GET', 'k')", 0)]
            replies = o.pipeline(stale), t.pipeline(stale)
            assert replies[0] == replies[1]
            assert str(replies[0][6]).startswith("MASTERDOWN Link with MASTER is down")
            assert o.call("ROLE")[3] in (b"connect", b"connecting")
            o.call("CONFIG", "SET", "replica-serve-stale-data", "yes")
            assert o.call("GET", "k") is None


def test_replicaof_no_one_keeps_the_data_and_takes_writes():
    with references.server("7.0") as master, master.client() as m:
        m.call("SET", "k", "theirs")
        with servers.Server("server", reference=False, tls=False) as replica, replica.client() as r:
            r.call("SET", "own", "dropped")
            assert r.call("REPLICAOF", "127.0.0.1", master.port) == b"OK"
            assert r.call("CONFIG", "GET", "replicaof") == [b"replicaof", f"127.0.0.1 {master.port}".encode()]
            in_step(master, replica)
            assert (r.call("GET", "k"), r.call("EXISTS", "own")) == (b"theirs", 0)
            followed = info(r)["master_replid"]
            assert r.call("SLAVEOF", "NO", "ONE") == b"OK"
            told = info(r)
            assert told["role"] == "master" and told["master_replid"] != followed and "master_host" not in told
            assert r.call("ROLE")[0] == b"master"
            assert r.call("CONFIG", "GET", "replicaof") == [b"replicaof", b""]
            assert r.call("SET", "k", "ours") == b"OK"
            m.call("SET", "k", "later")
            eventually("the link is gone", lambda: info(m)["connected_slaves"] == "0")
            assert r.call("GET", "k") == b"ours"
            # And back again: what was written meanwhile is another history.
            r.call("REPLICAOF", "127.0.0.1", master.port)
            in_step(master, replica)
            assert r.call("GET", "k") == b"later"
            assert full_copies(master) == 2


def test_clients_that_wait_are_told_when_their_server_becomes_a_replica():
    with references.server("7.0") as master:
        found = []
        for server in (references.server("7.0"), servers.Server("server", reference=False, tls=False)):
            with server, server.client() as admin, server.client() as waiting:
                waiting.send(wire.encode("BLPOP", "l", 0))
                eventually("it waits", lambda: info(admin, "clients")["blocked_clients"] == "1")
                admin.call("REPLICAOF", "127.0.0.1", master.port)
                reply = waiting.read()
                try:
                    waiting.call("PING")
                    found.append((reply, "open"))
                except (OSError, EOFError):
                    found.append((reply, "closed"))
        assert found[0] == found[1] and "UNBLOCKED" in str(found[0][0])


def test_a_password_is_given_and_one_that_is_wrong_is_told(tmp_path):
    password = tmp_path / "master-password"
    password.write_text("hunter2\n")
    password.chmod(0o600)
    with references.server("7.0") as master, master.client() as m:
        m.call("SET", "k", "v")
        m.call("ACL", "SETUSER", "repl", "on", ">other", "+psync", "+replconf", "+ping")
        m.call("CONFIG", "SET", "requirepass", "hunter2")
        with replica_of(master, "--masterauth-file", str(password)) as replica, replica.client() as r:
            eventually("the link is up", lambda: info(r)["master_link_status"] == "up")
            assert r.call("GET", "k") == b"v"
            assert b"hunter2" not in replica.log.read_bytes()
        with replica_of(master, "--masterauth", "wrong") as replica, replica.client() as r:
            eventually("it is told", lambda: "Unable to AUTH to MASTER" in replica.log.read_text())
            assert info(r)["master_link_status"] == "down"
            r.call("CONFIG", "SET", "masteruser", "repl")
            r.call("CONFIG", "SET", "masterauth", "other")
            eventually("the link is up", lambda: info(r)["master_link_status"] == "up")
            assert r.call("GET", "k") == b"v"


def test_the_old_data_serves_until_the_new_is_whole():
    with references.server("7.0") as master, master.client() as m:
        m.call("DEBUG", "POPULATE", 3000, "new")
        m.call("CONFIG", "SET", "repl-diskless-sync", "yes")
        m.call("CONFIG", "SET", "repl-diskless-sync-delay", "0")
        m.call("CONFIG", "SET", "rdb-key-save-delay", "500")
        with servers.Server("server", reference=False, tls=False) as replica, replica.client() as r:
            r.call("SET", "old", "1")
            r.call("WATCH", "old")
            r.call("REPLICAOF", "127.0.0.1", master.port)
            looks = told = 0
            while info(r)["master_link_status"] == "down":
                if info(r)["master_sync_in_progress"] == "1":
                    looks += 1
                    told += info(r, "persistence")["async_loading"] == "1"
                    keys = r.call("DBSIZE")
                    assert keys in (1, 3000), "one or the other, never a mix"
                time.sleep(0.01)
            assert looks > 10 and told > 0
            assert info(r, "persistence")["async_loading"] == "0"
            assert (r.call("DBSIZE"), r.call("EXISTS", "old")) == (3000, 0)
            r.call("MULTI")
            r.call("GET", "new:1")
            assert r.call("EXEC") is None, "what was watched is another data set now"


def test_what_cannot_be_held_is_refused_and_nothing_is_dropped():
    """A vector set of Redis 8.2: told by its key, and the old data stays."""
    with references.server("8.2") as master, master.client() as m:
        if isinstance(m.pipeline([("VADD", "vectors", "VALUES", "2", "0.1", "0.2", "a")])[0], wire.ReplyError):
            pytest.skip("this server has no vector sets")
        m.call("SET", "k", "v")
        with servers.Server("server", reference=False, tls=False) as replica, replica.client() as r:
            r.call("SET", "old", "1")
            r.call("REPLICAOF", "127.0.0.1", master.port)
            eventually("it is told", lambda: "vectors" in replica.log.read_text())
            assert r.call("GET", "old") == b"1" and r.call("EXISTS", "k") == 0
            assert "The data set that was here before is kept" in replica.log.read_text()
            m.call("DEL", "vectors")
            eventually("the link is up", lambda: info(r)["master_link_status"] == "up")
            assert r.call("GET", "k") == b"v" and r.call("EXISTS", "old") == 0


def test_keys_expire_when_the_master_says_so():
    with references.server("7.0") as master, master.client() as m:
        with replica_of(master) as replica, replica.client() as r:
            in_step(master, replica)
            m.call("DEBUG", "SET-ACTIVE-EXPIRE", 0)
            m.pipeline([("SET", "k", "v", "PX", 50), ("HSET", "h", "f", "v"), ("PEXPIRE", "h", 50), ("SADD", "s", 1)])
            in_step(master, replica)
            time.sleep(0.2)
            assert (r.call("GET", "k"), r.call("EXISTS", "h"), r.call("TTL", "k")) == (None, 0, -2)
            assert r.call("DBSIZE") == 3, "they are hidden, not gone"
            assert int(info(r, "stats")["expired_keys"]) == 0
            assert m.call("GET", "k") is None
            in_step(master, replica)
            eventually("the master has said so", lambda: r.call("DBSIZE") == 2)


def test_the_log_of_a_replica_holds_what_it_has_taken(commands):
    """After kill -9 and without its master it has the data; with it, it goes on."""
    with references.server("7.0") as master, master.client() as m:
        writer = Writer(master, commands, "restart")
        writer.play(800)
        with replica_of(master, "--enable-debug-command", "yes", kind="queue") as replica:
            in_step(master, replica)
            writer.play(400)
            writer.mixed()
            assert_equal(master, replica)
            with_base(replica)
            m.call("SET", "last", "1")
            in_step(master, replica)
            time.sleep(0.1)
            port, directory = replica.port, replica.directory
            replica.kill()
            with references.server("7.0") as nobody:
                nobody.stop()
                replica.extra[1] = f"127.0.0.1 {nobody.port}"
                replica.restart()
                with replica.client() as r, master.client() as again:
                    assert (info(r)["role"], info(r)["master_link_status"]) == ("slave", "down")
                    for db in (0, 3, 9, 12):
                        r.call("SELECT", db), again.call("SELECT", db)
                        assert sorted(r.call("KEYS", "*")) == sorted(again.call("KEYS", "*"))
                    r.call("SELECT", 0)
                    assert r.call("GET", "last") == b"1"
                    r.call("REPLICAOF", "127.0.0.1", master.port)
                writer.play(200)
                assert_equal(master, replica)
            # As Redis, it does not stop while its first base is being written.
            with_base(replica)
            assert (replica.port, replica.directory) == (port, directory)


def test_a_silent_master_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.listen()
        with servers.Server("server", reference=False, tls=False, extra=("--repl-timeout", "1")) as replica:
            with replica.client() as r:
                r.call("SET", "k", "v")
                r.call("REPLICAOF", "127.0.0.1", silent.getsockname()[1])
                eventually("it is told", lambda: "MASTER timeout" in replica.log.read_text(), seconds=10)
                assert r.call("GET", "k") == b"v"


# What a master answers in front of a copy: to PING, to three REPLCONF and to PSYNC.
GREETING = b"+PONG\r\n" * 4 + b"+FULLRESYNC " + b"a" * 40 + b" 1\r\n"


@pytest.mark.parametrize("answer", (GREETING + b"$99999999999999\r\nREDIS0011garbage",
                                    GREETING + b"$9000000000000000000\r\nREDIS0011\x00\x01k\x81" + (1 << 62).to_bytes(8, "big") + b"some of it",
                                    b"x" * 100_000, b"$-1\r\n", b"\x00\xff" * 5000 + b"\r\n", b"+PONG\r\n*1\r\n$4\r\nPING\r\n",
                                    GREETING + b"$5\r\nhello*1\r\n"))
def test_a_hostile_master_does_no_harm(answer):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            while True:
                try:
                    client, _ = listener.accept()
                    client.sendall(answer)
                    client.close()
                except OSError:
                    return
        threading.Thread(target=serve, daemon=True).start()
        with servers.Server("server", reference=False, tls=False) as replica, replica.client() as r:
            r.call("SET", "k", "v")
            r.call("REPLICAOF", "127.0.0.1", listener.getsockname()[1])
            eventually("it has tried", lambda: "Trying again" in replica.log.read_text())
            assert r.call("GET", "k") == b"v" and info(r)["master_link_status"] == "down"


def test_a_master_that_is_away_is_told_once_and_in_health():
    with conftest.master_of() as master, replica_of(master) as replica:
        in_step(master, replica)
        health = f"http://127.0.0.1:{replica.metrics_port}/readyz"

        def link():
            with urllib.request.urlopen(health, timeout=5) as answer:
                return json.load(answer)["link"]

        assert link() is None
        before = len(replica.log.read_text())
        master.stop()
        eventually("it has tried again and again", lambda: "for 4 s" in (link() or ""))
        assert f"no link to the master 127.0.0.1:{master.port}" in link()
        told = replica.log.read_text()[before:]
        # That it was closed, and that nobody listens there.
        assert told.count("Trying again") <= 2 and told.count("Connecting to MASTER") == 0, told
        master.restart()
        in_step(master, replica)
        assert link() is None and "The link is up again" in replica.log.read_text()


def test_two_that_follow_each_other_are_told_so():
    with conftest.master_of() as one, replica_of(one) as other, one.client() as c:
        in_step(one, other)
        c.call("REPLICAOF", "127.0.0.1", other.port)
        eventually("it is told", lambda: "the two follow each other" in one.log.read_text())


def test_whoever_promotes_hears_what_the_next_start_does():
    with conftest.master_of() as master:
        with replica_of(master) as replica, replica.client() as r:
            in_step(master, replica)
            r.call("REPLICAOF", "NO", "ONE")
            eventually("it is told", lambda: "the next start will follow that master again" in replica.log.read_text())
        with servers.Server("server", reference=False, tls=False) as other, other.client() as c:
            c.call("REPLICAOF", "127.0.0.1", master.port)
            eventually("it is told", lambda: "That holds until the server ends" in other.log.read_text())


def test_a_new_password_for_the_master_is_read_on_sighup(tmp_path):
    secret = tmp_path / "masterauth"
    secret.write_text("wrong")
    secret.chmod(0o600)
    with servers.Server("server", reference=False, tls=False, password="right") as master:
        with replica_of(master, "--masterauth-file", str(secret)) as replica, replica.client() as r:
            eventually("it is refused", lambda: "Trying again" in replica.log.read_text())
            secret.write_text("right")
            replica.process.send_signal(signal.SIGHUP)
            eventually("it is in", lambda: info(r)["master_link_status"] == "up")
            assert "The password for the master is the new one" in replica.log.read_text()
            r.call("CONFIG", "SET", "masterauth", "other")
            secret.write_text("third")
            replica.process.send_signal(signal.SIGHUP)
            time.sleep(0.3)
            assert r.call("CONFIG", "GET", "masterauth") == [b"masterauth", b"other"]


def test_a_tandem_follows_a_tandem(commands):
    with conftest.master_of() as master, master.client() as m:
        writer = Writer(master, commands, "both")
        writer.play(500)
        with replica_of(master) as replica:
            in_step(master, replica)
            writer.play(500)
            writer.mixed()
            assert_equal(master, replica)
            assert m.call("CLIENT", "KILL", "TYPE", "replica") == 1
            writer.play(300)
            eventually("it has come back", lambda: info(m, "stats")["sync_partial_ok"] == "1")
            assert_equal(master, replica)
            assert full_copies(master) == 1


def test_a_replica_has_replicas_of_its_own(commands):
    """A copy that it takes makes them take one, too."""
    with references.server("7.0") as master, references.server("7.0") as last:
        with servers.Server("server", reference=False, tls=False) as middle, middle.client() as c, last.client() as r:
            r.call("REPLICAOF", "127.0.0.1", middle.port)
            in_step(middle, last)
            c.call("SET", "own", "1")
            c.call("REPLICAOF", "127.0.0.1", master.port)
            writer = Writer(master, commands, "middle")
            writer.play(500)
            in_step(master, middle)
            writer.play(300)
            writer.mixed()
            assert_equal(master, middle)
            assert_equal(middle, last)


def test_a_replica_of_a_replica_of_real_servers(commands):
    with references.server("7.0") as master, references.server("valkey") as middle:
        with middle.client() as c:
            c.call("REPLICAOF", "127.0.0.1", master.port)
        writer = Writer(master, commands, "chain")
        writer.play(300)
        with replica_of(middle) as replica:
            writer.play(300)
            in_step(master, middle)
            assert_equal(middle, replica)
            assert_equal(middle, replica)
