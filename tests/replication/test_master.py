"""Tandem as the master of real replicas: Redis 7.0, Redis 8.2 and Valkey 9.1."""

import os
import signal
import socket
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest
from conftest import SECONDS_MAX, Writer, assert_equal, eventually, in_step, info, master_of, replica_of, survive_cuts
from harness import wire


def test_a_replica_holds_what_its_master_holds(name, commands):
    """All types, in several databases: from the snapshot, written while it is sent, and as it is executed."""
    with master_of("server", "--rdb-key-save-delay", "300") as master, master.client() as m:
        writer = Writer(master, commands, f"{name}-whole")
        writer.play(2500)
        assert m.call("DBSIZE") > 5
        m.call("HSET", "large", *[f"{part}{n}" for n in range(3000) for part in "fv"])
        with replica_of(master, name) as replica:
            writer.play(1500)
            writer.mixed()
            assert_equal(master, replica)
            assert writer.play(1500) > 500
            writer.mixed()
            assert_equal(master, replica)
            told = info(m)
            assert told["slave0"].startswith(f"ip=127.0.0.1,port={replica.port},state=online,offset=")
            assert m.call("WAIT", 1, 2000) == 1
            line, = m.call("CLIENT", "LIST", "TYPE", "replica").decode().splitlines()
            assert " flags=S " in line
            assert info(m, "stats")["sync_full"] == "1"


def test_a_replica_goes_on_where_its_link_was_cut(name, commands):
    with master_of() as master:
        writer = Writer(master, commands, f"{name}-cut")
        writer.play(500)
        with replica_of(master, name) as replica:
            in_step(master, replica)
            survive_cuts(master, replica, writer)


def test_what_the_backlog_has_lost_is_copied_whole(commands):
    with master_of("server", "--repl-backlog-size", "16384") as master, master.client() as m:
        Writer(master, commands, "lost").play(500)
        with replica_of(master, "7.0") as replica:
            in_step(master, replica)
            replica.freeze()
            try:
                m.call("CLIENT", "KILL", "TYPE", "replica")
                eventually("it is gone", lambda: info(m)["connected_slaves"] == "0")
                m.call("SET", "long", "x" * 50_000)
            finally:
                replica.process.send_signal(signal.SIGCONT)
            eventually("a second copy", lambda: info(m, "stats")["sync_full"] == "2")
            assert_equal(master, replica)
            assert info(m, "stats")["sync_partial_ok"] == "0"


def test_several_replicas_at_once_and_one_is_killed_midway(commands):
    """The three kinds share a snapshot that takes a second; another that dies meanwhile holds up nobody."""
    with master_of("server", "--rdb-key-save-delay", "1000") as master, master.client() as m, ExitStack() as stack:
        m.call("DEBUG", "POPULATE", 800)
        writer = Writer(master, commands, "several")
        writer.play(500)
        lost = stack.enter_context(replica_of(master, "7.0"))
        eventually("its copy has begun", lambda: "state=send_bulk" in info(m).get("slave0", ""))
        replicas = [stack.enter_context(replica_of(master, kind)) for kind in ("7.0", "8.2", "valkey")]
        eventually("all have come", lambda: info(m)["connected_slaves"] == "4")
        writer.play(200)
        lost.kill()
        writer.play(300)
        for replica in replicas:
            assert_equal(master, replica)
        assert info(m)["connected_slaves"] == "3"
        assert "A snapshot is sent to 3 replicas" in master.log.read_text()


def as_replica(master, *, receive_bytes=None):
    """A connection that has asked for everything as a replica does, and has read nothing of it."""
    c = wire.Client("127.0.0.1", master.port)
    if receive_bytes:
        c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    for words in (("listening-port", 1), ("capa", "eof", "capa", "psync2")):
        assert c.call("REPLCONF", *words) == b"OK"
    c.send(wire.encode("PSYNC", "?", -1))
    return c


def loaded(c):
    """Reads the snapshot and acknowledges it; the position that it is of."""
    def line():
        while b"\r\n" not in c.buffer:
            c.buffer += c.socket.recv(1 << 16)
        text, _, rest = bytes(c.buffer).partition(b"\r\n")
        c.buffer[:] = rest
        return text.lstrip(b"\n")
    word, _, position = line().split()
    assert word == b"+FULLRESYNC"
    mark = line().removeprefix(b"$EOF:")
    assert len(mark) == 40
    while mark not in c.buffer:
        c.buffer += c.socket.recv(1 << 16)
    snapshot, _, rest = bytes(c.buffer).partition(mark)
    assert snapshot.startswith(b"REDIS00") and rest == b"", "nothing follows before it is acknowledged"
    c.buffer.clear()
    c.send(wire.encode("REPLCONF", "ACK", position))
    return int(position)


def test_a_slow_replica_is_dropped_and_slows_nobody():
    limits = ("--client-output-buffer-limit", "replica 4mb 0 0", "--repl-timeout", "300")
    with master_of("server", *limits) as master, master.client() as m, as_replica(master) as slow:
        loaded(slow)
        eventually("it is online", lambda: "state=online" in info(m)["slave0"])
        value = b"x" * 10_000
        longest = before = 0
        for n in range(3000):
            begun = time.monotonic()
            m.call("SET", n % 10, value)
            longest = max(longest, time.monotonic() - begun)
            if info(m)["connected_slaves"] == "0":
                break
            before = int(info(m, "memory")["used_memory"])
        assert info(m)["connected_slaves"] == "0", "30 MB are more than its buffers and the limit hold"
        assert longest < 1 and before < 24 << 20
        assert slow.at_end()


def test_what_is_kept_for_a_replica_that_does_not_load_is_bounded():
    limits = ("--client-output-buffer-limit", "replica 2mb 0 0", "--repl-timeout", "300")
    with master_of("server", *limits) as master, master.client() as m, as_replica(master) as silent:
        eventually("it has been sent all", lambda: silent.socket.recv(1 << 16, socket.MSG_PEEK)[-40:].isalnum())
        m.call("SET", "in", "x" * 900_000)
        assert int(info(m, "memory")["mem_total_replication_buffers"]) > 800_000
        assert info(m)["connected_slaves"] == "1"
        m.pipeline([("SET", "in", "x" * 900_000)] * 2)
        eventually("it is closed", lambda: info(m)["connected_slaves"] == "0")
        assert silent.at_end()


def stream_behind(c, count):
    """Reads what follows a snapshot, up to the last of so many values with numbers; the numbers, in their order."""
    chunks, left = [bytes(c.buffer)], b"number:%d:" % (count - 1)
    while left not in b"".join(chunks[-2:]):
        chunks.append(c.socket.recv(1 << 20))
        assert chunks[-1], "it is closed"
    return [int(part.partition(b":")[0]) for part in b"".join(chunks).split(b"number:")[1:]]


@pytest.mark.parametrize("is_online", [False, True], ids=["loading", "online"])
def test_what_waits_for_several_replicas_is_in_memory_once(is_online):
    """Four that do not load, or that load and read nothing: each gets all of it, when it reads, and nobody pays for it four times."""
    count, value = 240, b"x" * 100_000
    with ExitStack() as stack, master_of("server", "--repl-timeout", "300") as master, master.client() as m:
        replicas = [stack.enter_context(as_replica(master, receive_bytes=1 << 16)) for _ in range(4)]
        has_mark = lambda c: c.socket.recv(1 << 16, socket.MSG_PEEK)[-40:].isalnum()  # noqa: E731
        eventually("they have been sent all", lambda: all(has_mark(c) for c in replicas))
        if is_online:
            for c in replicas:
                loaded(c)
            eventually("they are online", lambda: all("state=online" in info(m)[f"slave{n}"] for n in range(4)))
        before = int(info(m, "memory")["used_memory"])
        for n in range(count):
            m.call("SET", "k", b"number:%d:%s" % (n, value))
        taken = int(info(m, "memory")["used_memory"]) - before
        # An online one has some in its output, too.
        assert 0.7 < taken / (count * len(value)) < 1.6
        assert int(info(m, "memory")["mem_total_replication_buffers"]) < 1.6 * count * len(value)
        begun = time.monotonic()
        for c in replicas:
            if not is_online:
                loaded(c)
            assert stream_behind(c, count) == list(range(count))
        assert time.monotonic() - begun < 10, "each part follows the last at once"
        assert info(m, "stats")["sync_full"] == "4"
        eventually("it is given back", lambda: int(info(m, "memory")["used_memory"]) < before + (4 << 20))


def test_wait_counts_who_has_applied_what_the_client_wrote(name):
    with master_of() as master, master.client() as m, master.client() as other:
        assert m.call("WAIT", 0, 0) == 0
        with replica_of(master, name) as replica:
            in_step(master, replica)
            m.call("SET", "k", 1)
            begun = time.monotonic()
            assert m.call("WAIT", 1, 5000) == 1
            assert time.monotonic() - begun < 0.5, "it was asked, and not only heard of after a second"
            replica.freeze()
            try:
                assert other.call("WAIT", 1, 100) == 1, "this client has written nothing"
                m.call("SET", "k", 2)
                begun = time.monotonic()
                assert m.call("WAIT", 1, 200) == 0
                assert 0.2 <= time.monotonic() - begun < 2
                m.send(wire.encode("WAIT", 1, 0))
                time.sleep(0.1)
                assert other.call("PING") == b"PONG"
                assert info(other, "clients")["blocked_clients"] == "1"
            finally:
                replica.process.send_signal(signal.SIGCONT)
            assert m.read() == 1
            assert m.call("WAIT", 2, 50) == 1
            assert m.pipeline([("MULTI",), ("SET", "k", 3), ("WAIT", 1, 0), ("EXEC",)])[3] == [b"OK", 1]


def test_waitaof_counts_the_logs_of_replicas():
    with master_of("queue") as master, master.client() as m:
        with replica_of(master, "8.2", "appendonly", "yes", "appendfsync", "always") as replica:
            in_step(master, replica)
            m.call("SET", "k", 1)
            assert m.call("WAITAOF", 1, 1, 10_000) == [1, 1]


def test_writes_are_refused_where_too_few_replicas_keep_up():
    refused = wire.ReplyError("NOREPLICAS Not enough good replicas to write.")
    with master_of() as master, master.client() as m:
        m.call("SET", "k", 1)
        m.call("CONFIG", "SET", "min-replicas-to-write", 1, "min-replicas-max-lag", 2)
        assert m.ask("SET", "k", 2) == refused
        assert m.ask("EVAL", "return redis.call('SET', 'k', 2)", 0).args[0].startswith("NOREPLICAS ")
        assert m.call("EVAL", "return redis.call('GET', 'k')", 0) == b"1"
        assert m.ask("EVAL", "#!lua\nreturn 1", 0) == refused, "it may write"
        assert m.call("EVAL", "#!lua flags=no-writes\nreturn 1", 0) == 1
        assert m.call("GET", "k") == b"1"
        with replica_of(master, "7.0") as replica:
            in_step(master, replica)
            assert m.call("SET", "k", 3) == b"OK"
            assert info(m)["min_slaves_good_slaves"] == "1"
            replica.freeze()
            try:
                eventually("its lag is seen", lambda: m.ask("SET", "k", 4) == refused, seconds=6)
            finally:
                replica.process.send_signal(signal.SIGCONT)
            eventually("it counts again", lambda: m.ask("SET", "k", 5) == b"OK")


@pytest.mark.parametrize("kind", ["cache", "queue"])
def test_a_profile_feeds_replicas(kind):
    """A cache has no log, and tells of what it evicts; a queue's log has lines that no replica may see."""
    memory = ("--maxmemory", "24mb") if kind == "cache" else ()
    with master_of(kind, *memory) as master, master.client() as m, replica_of(master, "7.0") as replica:
        in_step(master, replica)
        with replica.client() as r:
            r.call("CONFIG", "SET", "maxmemory", 0)
        value = os.urandom(5000)
        for start in range(0, 5000, 500):
            m.pipeline([("SET", f"key:{n}", value) for n in range(start, start + 500)])
        evicted = int(info(m, "stats")["evicted_keys"])
        assert (evicted > 100) == (kind == "cache")
        in_step(master, replica)
        with replica.client() as r:
            eventually("as many keys", lambda: r.call("DBSIZE") == m.call("DBSIZE"))


def test_a_replica_that_is_silent_is_given_up():
    with master_of("server", "--repl-timeout", "2", "--repl-ping-replica-period", "1") as master, master.client() as m:
        with as_replica(master) as silent:
            loaded(silent)
            eventually("it is pinged", lambda: silent.read() == [b"PING"])
            eventually("it is closed", lambda: info(m)["connected_slaves"] == "0", seconds=6)
            assert silent.at_end()


def test_a_replica_may_not_touch_the_keyspace_and_role_tells_of_it():
    with master_of() as master, master.client() as m, as_replica(master) as c:
        position = loaded(c)
        eventually("it is online", lambda: "state=online" in info(m)["slave0"])
        assert m.call("ROLE") == [b"master", position, [[b"127.0.0.1", b"1", str(position).encode()]]]
        assert c.ask("GET", "k") == wire.ReplyError("ERR Replica can't interact with the keyspace")
        assert m.call("CLIENT", "KILL", "TYPE", "replica") == 1
        assert c.at_end() and m.call("ROLE")[2] == []


def test_only_who_cannot_read_the_data_is_refused():
    """Fields that expire need a later version of RDB; Valkey tells its own, and reads none of those."""
    with master_of() as master, master.client() as m:
        m.call("HSET", "h", "f", "v", "g", "w")
        m.call("HEXPIRE", "h", 1000, "FIELDS", 1, "f")
        with replica_of(master, "valkey"), replica_of(master, "8.2") as replica:
            assert_equal(master, replica)
            eventually("a refusal", lambda: "cannot read" in master.log.read_text())


def test_many_clients_are_fed_in_the_order_of_execution(commands):
    """Writers on several threads of the server: the stream is one order."""
    with master_of("server", "--io-threads", "3") as master, replica_of(master, "7.0") as replica:
        in_step(master, replica)
        writers = [Writer(master, commands, f"many-{n}") for n in range(6)]
        threads = [threading.Thread(target=writer.play, args=(1000, (0,))) for writer in writers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert_equal(master, replica)


def test_a_data_set_that_was_read_again_is_another_one():
    with master_of() as master, master.client() as m, replica_of(master, "7.0") as replica:
        in_step(master, replica)
        m.call("SET", "k", 1)
        m.call("SAVE")
        m.call("SET", "k", 2)
        m.call("DEBUG", "RELOAD", "NOSAVE")
        assert m.call("GET", "k") == b"1"
        eventually("a second copy", lambda: info(m, "stats")["sync_full"] == "2")
        assert_equal(master, replica)


def test_who_reads_no_mark_is_told_the_length():
    """As Redis' own test suite attaches to the stream. A cache writes no file for that."""
    with master_of() as master, master.client() as m, wire.Client("127.0.0.1", master.port) as c:
        m.call("SET", "k", "v")
        c.send(b"SYNC\r\n")
        while b"\r\n" not in c.buffer.lstrip(b"\n"):
            c.buffer += c.socket.recv(1 << 16)
        del c.buffer[:len(c.buffer) - len(c.buffer.lstrip(b"\n"))]
        size = int(c.buffer[1:c.buffer.index(b"\r\n")])
        begin = c.buffer.index(b"\r\n") + 2
        while len(c.buffer) < begin + size:
            c.buffer += c.socket.recv(1 << 16)
        snapshot = c.buffer[begin:begin + size]
        assert c.buffer[:1] == b"$" and snapshot[:9] == b"REDIS0010" and snapshot[-9] == 0xff
        del c.buffer[:begin + size]
        m.call("SET", "k", "w")
        stream = [words for words in iter(c.read, [b"SET", b"k", b"w"]) if words != [b"PING"]]
        assert stream == [[b"SELECT", b"0"]]
        assert not [path for path in master.data().iterdir() if path.name.startswith("temp-")]
    with master_of("cache") as master, wire.Client("127.0.0.1", master.port) as c:
        assert c.ask("SYNC").args[0].startswith("ERR nothing is written to a disk here")


def test_messages_reach_the_subscribers_of_replicas_in_their_place():
    with master_of("queue") as master, master.client() as m, as_replica(master) as c:
        loaded(c)
        m.call("SET", "k", 1)
        m.call("PUBLISH", "news", "one")
        m.pipeline([("MULTI",), ("SET", "k", 2), ("PUBLISH", "news", "two"), ("SET", "k", 3), ("EXEC",)])
        m.call("EVAL", "redis.call('SPUBLISH', 'news', 'three') redis.call('SET', 'k', 4)", 0)
        stream = [words for words in iter(c.read, [b"SET", b"k", b"4"]) if words != [b"PING"]]
        expected = ["SELECT 0", "SET k 1", "PUBLISH news one", "MULTI", "SET k 2", "PUBLISH news two", "SET k 3", "EXEC",
                    "SPUBLISH news three"]
        assert [b" ".join(words).decode() for words in stream] == expected
        logs = [path.read_bytes() for path in (master.data() / "appendonlydir").glob("*.aof")]
        assert b"SET" in b"".join(logs) and b"PUBLISH" not in b"".join(logs)
        with replica_of(master, "7.0") as replica, replica.client() as listener:
            in_step(master, replica)
            listener.call("SUBSCRIBE", "news")
            m.call("PUBLISH", "news", "four")
            assert listener.read() == [b"message", b"news", b"four"]


@pytest.mark.parametrize("kind", ["logged", "evicting"])
def test_links_that_are_cut_again_and_again_under_load(kind, commands):
    """Three kinds of replicas, several writers: partial and full resynchronisations as they come."""
    extra = {"logged": ("--appendonly", "yes", "--appendfsync", "always", "--repl-backlog-size", "65536"),
             "evicting": ("--maxmemory", "6mb", "--maxmemory-policy", "allkeys-lru", "--repl-backlog-size", "1mb")}[kind]
    with master_of("server", "--io-threads", "2", *extra) as master, master.client() as m, ExitStack() as stack:
        replicas = [stack.enter_context(replica_of(master, each, "maxmemory", 0)) for each in ("7.0", "8.2", "valkey")]
        end = time.monotonic() + 4

        def write(writer):
            while time.monotonic() < end:
                writer.play(50)
                if kind == "evicting":
                    writer.client.pipeline([("SET", f"more:{writer.random.randrange(3000)}", writer.random.randbytes(3000))
                                            for _ in range(40)])
        threads = [threading.Thread(target=write, args=(Writer(master, commands, f"cuts-{n}"),)) for n in range(3)]
        for thread in threads:
            thread.start()
        while time.monotonic() < end:
            time.sleep(0.3)
            m.call("CLIENT", "KILL", "TYPE", "replica")
        for thread in threads:
            thread.join()
        for replica in replicas:
            assert_equal(master, replica)
        counts = info(m, "stats")
        assert int(counts["sync_partial_ok"]) > 3
        assert (int(counts["evicted_keys"]) > 100) == (kind == "evicting")


@contextmanager
def a_master_whose_replica_lags(*extra):
    """Both, and a client of the master; the replica is stopped, and lacks a key."""
    with master_of("server", *extra) as master, master.client() as m, replica_of(master, "7.0") as replica:
        m.call("SET", "k", 1)
        in_step(master, replica)
        replica.freeze()
        try:
            m.call("SET", "k", 2)
            yield master, replica, m
        finally:
            replica.process.send_signal(signal.SIGCONT)


def waits_for_replicas(client):
    return eventually("it waits", lambda: info(client, "server").get("shutdown_in_milliseconds"))


@pytest.mark.parametrize("how", ["SIGTERM", "SHUTDOWN"])
def test_a_stop_waits_for_what_a_replica_lacks(how):
    with a_master_whose_replica_lags() as (master, replica, m), master.client() as asks, master.client() as writes:
        if how == "SIGTERM":
            master.process.send_signal(signal.SIGTERM)
        else:
            asks.send(wire.encode("SHUTDOWN"))
        assert 0 < int(waits_for_replicas(m)) <= 10_000
        writes.send(wire.encode("SET", "k", "never"))
        assert m.call("GET", "k") == b"2"
        assert master.process.poll() is None
        replica.process.send_signal(signal.SIGCONT)
        assert master.process.wait(SECONDS_MAX) == 0
        log = master.log.read_text()
        assert "1 of 1 replicas are in sync" in log and "Lagging replica" not in log
        with replica.client() as r:
            assert r.call("GET", "k") == b"2"


def test_what_keeps_clients_waiting_is_done_while_a_stop_waits(tmp_path):
    users = tmp_path / "users.acl"
    users.write_text("user default on nopass ~* &* +@all\n")
    with a_master_whose_replica_lags("--aclfile", str(users)) as (master, _, m), master.client() as asks:
        asks.send(wire.encode("SHUTDOWN"))
        waits_for_replicas(m)
        assert m.call("ACL", "SETUSER", "late", "on", "nopass") == b"OK"
        assert m.call("ACL", "SAVE") == b"OK" and "user late" in users.read_text()
        assert "shutdown_in_milliseconds" in info(m, "server")
        assert m.call("SHUTDOWN", "ABORT") == b"OK"


def test_a_stop_waits_no_longer_than_it_may():
    with a_master_whose_replica_lags("--shutdown-timeout", "1") as (master, replica, _):
        began = time.monotonic()
        master.process.send_signal(signal.SIGTERM)
        assert master.process.wait(SECONDS_MAX) == 0
        assert 0.9 < time.monotonic() - began
        log = master.log.read_text()
        assert f"Lagging replica 127.0.0.1:{replica.port} " in log and "0 of 1 replicas are in sync" in log


@pytest.mark.parametrize("how", ["ABORT", "NOW"])
def test_who_waits_for_a_stop_hears_what_becomes_of_it(how):
    with a_master_whose_replica_lags() as (master, _, m), master.client() as one, master.client() as other:
        one.send(wire.encode("SHUTDOWN"))
        waits_for_replicas(m)
        other.send(wire.encode("SHUTDOWN", "NOW") if how == "NOW" else wire.encode("SHUTDOWN"))
        if how == "NOW":
            assert master.process.wait(5) == 0
            return
        m.call("PING")
        assert m.call("SHUTDOWN", "ABORT") == b"OK"
        for client in (one, other):
            assert "Errors trying to SHUTDOWN. Check logs." in str(client.read())
        assert m.call("SET", "k", 3) == b"OK"
        assert "shutdown_in_milliseconds" not in info(m, "server")
        assert "Shutdown manually aborted" in master.log.read_text()
