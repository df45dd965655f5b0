"""FAILOVER: a master hands over to a replica, as Redis 7.0 does, with real servers on either side."""

import signal
import socket
import threading
import time

import conftest
import pytest
from conftest import assert_equal, eventually, in_step, info, replica_of
from harness import wire
from machine import references
from test_history import all_at_one_place, counts, follow, tandem
from test_replica import Writer


def state(server):
    with server.client() as c:
        return info(c)["master_failover_state"]


def role(server):
    with server.client() as c:
        return info(c)["role"]


def to(server):
    return "TO", "127.0.0.1", server.port


def to_listener(listener):
    return "TO", "127.0.0.1", listener.getsockname()[1]


def refusals(subject, nobody, follower):
    """What FAILOVER says where it is wrong: without replicas, with one, and on it."""
    told = []
    requests = [(), ("ABORT",), ("TIMEOUT", 0), ("TIMEOUT", -1), ("TIMEOUT", "x"), ("TIMEOUT",), ("FORCE",), ("FORCE", "FORCE"), ("WHAT",),
                ("TO", "127.0.0.1", "x"), ("TO", "127.0.0.1"), ("ABORT", "TIMEOUT", 5), to(nobody), (*to(nobody), "FORCE"),
                ("TIMEOUT", 5, "FORCE"), (*to(nobody), "TIMEOUT", 5, "FORCE"), (*to(nobody), *to(nobody))]
    with subject.client() as c, follower.client() as f:
        told += [c.ask("FAILOVER", *words) for words in requests]
        follow(follower, subject)
        in_step(subject, follower)
        told += [c.ask("FAILOVER", *words) for words in requests if words]
        told += [f.ask("FAILOVER", *words) for words in [(), ("ABORT",), to(nobody)]]
        told += [c.ask("PSYNC", "?", -1, "FAILOVER")]
        told += [f.ask("PSYNC", "0" * 40, 1, "FAILOVER")]
    return told


def test_what_is_refused_is_refused_in_the_words_of_redis():
    with references.server("7.0") as redis, references.server("7.0") as theirs, tandem() as subject, tandem() as ours:
        expected = refusals(redis, redis, theirs)
        assert refusals(subject, redis, ours) == expected


@pytest.mark.parametrize("new", [*references.NAMES, "tandem"])
def test_a_master_hands_over_and_nothing_is_lost(new, commands):
    """Who writes meanwhile waits, and is told that this is a replica now."""
    with tandem() as old:
        writer = Writer(old, commands, f"over {new}")
        writer.play(200)
        like = "7.0" if new == "tandem" else new
        with (tandem() if new == "tandem" else references.server(new)) as heir, replica_of(old, like) as brother:
            follow(heir, old)
            in_step(old, heir), in_step(old, brother)
            writer.play(200, databases=(9,))
            acknowledged, last = [], []

            def write():
                with old.client() as c:
                    for n in range(100_000):
                        reply = c.ask("SET", f"n{n}", n)
                        if reply != b"OK":
                            last.append(reply)
                            return
                        acknowledged.append(n)

            thread = threading.Thread(target=write)
            thread.start()
            eventually("it writes", lambda: acknowledged)
            with old.client() as c:
                assert c.call("FAILOVER", *to(heir), "TIMEOUT", 20_000) == b"OK"
                assert c.ask("REPLICAOF", "NO", "ONE") == wire.ReplyError("ERR REPLICAOF not allowed while failing over.")
                assert c.ask("FAILOVER") == wire.ReplyError("ERR FAILOVER already in progress.")
                assert info(c, "clients").get("paused_reason", "failover_in_progress") == "failover_in_progress"
                eventually("it is over", lambda: info(c)["master_failover_state"] == "no-failover")
            thread.join(20)
            assert not thread.is_alive()
            assert (role(old), role(heir)) == ("slave", "master")
            assert last == [wire.ReplyError("READONLY You can't write against a read only replica.")]
            with heir.client() as c:
                assert c.call("GET", f"n{acknowledged[-1]}") == str(acknowledged[-1]).encode()
                c.call("SET", "after", "1")
            in_step(heir, old)
            assert_equal(heir, old)
            assert counts(heir) == (0, 1)
            assert_equal(old, brother)
            all_at_one_place(heir, old, brother)


def test_a_real_master_hands_over_to_it(name, commands):
    with references.server(name) as old, tandem() as heir:
        writer = Writer(old, commands, f"from {name}")
        writer.play(200, databases=(9,))
        follow(heir, old)
        in_step(old, heir)
        with old.client() as c:
            assert c.call("FAILOVER") == b"OK"
            eventually("it is over", lambda: info(c)["master_failover_state"] == "no-failover" and info(c)["role"] == "slave")
        assert role(heir) == "master"
        writer = Writer(heir, commands, "the heir")
        writer.play(100)
        assert_equal(heir, old)
        assert counts(heir) == (0, 1)


def test_a_replica_that_does_not_keep_up_takes_over_nothing():
    with tandem() as old, tandem() as heir, old.client() as c:
        follow(heir, old)
        in_step(old, heir)
        heir.freeze()
        try:
            c.call("SET", "k", 1)
            for words in [("TIMEOUT", 300), ()]:
                assert c.call("FAILOVER", *words) == b"OK"
                with old.client() as writer:
                    writer.send(wire.encode("SET", "k", 2))
                    time.sleep(0.1)
                    assert info(c)["master_failover_state"] == "waiting-for-sync"
                    if not words:
                        assert c.call("FAILOVER", "ABORT") == b"OK"
                    assert writer.read() == b"OK"
                assert (state(old), role(old)) == ("no-failover", "master")
            # By force all the same: there is nobody who would answer, until it is given up.
            assert c.call("FAILOVER", *to(heir), "TIMEOUT", 100, "FORCE") == b"OK"
            eventually("it follows", lambda: info(c)["master_failover_state"] == "failover-in-progress")
            assert info(c)["role"] == "slave"
            assert c.call("FAILOVER", "ABORT") == b"OK"
            assert (info(c)["role"], c.call("SET", "k", 3)) == ("master", b"OK")
        finally:
            heir.process.send_signal(signal.SIGCONT)


def test_a_replica_that_refuses_makes_it_a_master_again():
    with tandem() as old, tandem() as heir, old.client() as c, heir.client() as h:
        follow(heir, old)
        in_step(old, heir)
        heir.freeze()
        try:
            assert c.call("FAILOVER", *to(heir), "TIMEOUT", 100, "FORCE") == b"OK"
            eventually("it follows", lambda: info(c)["role"] == "slave")
            h.send(wire.encode("REPLICAOF", "NO", "ONE"))
        finally:
            heir.process.send_signal(signal.SIGCONT)
        assert h.read() == b"OK"
        eventually("it is over", lambda: info(c)["master_failover_state"] == "no-failover")
        # Either it was promoted before the request came, which it then refuses, or by it.
        assert role(heir) == "master"
        assert info(c)["role"] == "master" or counts(heir)[0] + counts(heir)[1] == 1


def test_who_has_been_taken_as_a_replica_does_not_write_again_when_the_copy_breaks_off():
    with socket.create_server(("127.0.0.1", 0)) as taker, tandem() as old, old.client() as c:
        # The replica says that it is where the one listens that plays its part.
        with tandem("server", "--replica-announce-ip", "127.0.0.1", "--replica-announce-port", str(taker.getsockname()[1])) as heir:
            follow(heir, old)
            in_step(old, heir)
            taker.settimeout(20)
            assert c.call("FAILOVER", *to_listener(taker), "TIMEOUT", 10_000) == b"OK"
            with taker.accept()[0] as link:
                link.sendall(b"+PONG\r\n" * 4 + b"+FULLRESYNC " + b"a" * 40 + b" 1\r\n$1000\r\nREDIS0011")
                eventually("it is over", lambda: info(c)["master_failover_state"] == "no-failover")
                assert info(c)["role"] == "slave"
            with taker.accept()[0] as link:
                link.sendall(b"+PONG\r\n" * 4 + b"-ERR PSYNC FAILOVER replid must match my replid.\r\n")
                eventually("it has heard that", lambda: old.log.read_text().count("replid must match") > 0)
            assert info(c)["role"] == "slave"
            assert c.ask("SET", "k", "v") == wire.ReplyError("READONLY You can't write against a read only replica.")


def masters_lines(client):
    return client.call("CLIENT", "LIST", "TYPE", "master").decode().splitlines()


@pytest.mark.parametrize("how", ["type", "id", "addr", "old"])
def test_the_link_to_the_master_is_a_client(how):
    with references.server("7.0") as master, tandem() as replica, replica.client() as r:
        follow(replica, master)
        in_step(master, replica)
        (line,) = masters_lines(r)
        told = dict(field.split("=", 1) for field in line.split())
        assert (told["flags"], told["addr"], told["user"]) == ("M", f"127.0.0.1:{master.port}", "(superuser)")
        assert line in r.call("CLIENT", "LIST").decode()
        eventually("this one is all that is counted", lambda: info(r, "clients")["connected_clients"] == "1")
        words = {"type": ("TYPE", "master"), "id": ("ID", told["id"]), "addr": ("ADDR", told["addr"]), "old": (told["addr"],)}[how]
        assert r.call("CLIENT", "KILL", *words) == (b"OK" if how == "old" else 1)
        assert masters_lines(r) == [] and info(r)["master_link_status"] == "down"
        with master.client() as m:
            m.call("SET", "k", "v")
        in_step(master, replica)
        assert r.call("GET", "k") == b"v"
        assert counts(master) == (1, 1)
        assert masters_lines(r)[0].split()[0] != line.split()[0]


def test_who_waits_on_a_replica_is_refused_in_the_words_of_redis():
    with references.server("8.2") as master, references.server("8.2") as theirs, tandem() as ours:
        follow(theirs, master), follow(ours, master)
        for words in [("WAIT", 1, 10), ("WAIT", 0, 0), ("WAIT", "x", 1), ("WAITAOF", 0, 0, 10), ("WAITAOF", 1, 1, 10), ("WAITAOF", 2, 0, 0),
                      ("WAITAOF", 0, -1, 0)]:
            with theirs.client() as t, ours.client() as o:
                assert o.ask(*words) == t.ask(*words), words


@pytest.mark.parametrize("kind", ["8.2", "valkey", "tandem"])
def test_a_master_hears_how_far_the_log_of_a_replica_is_on_its_disk(kind):
    with (conftest.master_of() if kind == "tandem" else references.server(kind)) as master, master.client() as m:
        with tandem("server", "--replicaof", f"127.0.0.1 {master.port}", "--appendonly", "yes") as replica, replica.client() as r:
            in_step(master, replica)
            for value in range(3):
                m.call("SET", "k", value)
                assert m.call("WAITAOF", 0, 1, 10_000) == [0, 1]
            assert r.call("CONFIG", "SET", "appendonly", "no") == b"OK"
            in_step(master, replica)
            m.call("SET", "k", "in memory only")
            assert m.call("WAITAOF", 0, 1, 300) == [0, 0]
            assert m.call("WAIT", 1, 5000) == 1
