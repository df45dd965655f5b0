"""Acknowledged means replicated: replies to writes wait for replicas, those to reads do not, and nobody is told what may be lost."""

import shutil
import signal
import socket
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import eventually, in_step, info, master_of
from harness import servers, wire
from machine import references
from test_master import as_replica, loaded

ROUNDS = 20
TOO_FEW = ("NOREPLICAS This was not done: min-replicas-acked wants 1 to acknowledge it, and 1 replicas are here, of which too few have what "
           "was written before.")


def is_error(reply, beginning):
    return isinstance(reply, wire.ReplyError) and reply.args[0].startswith(beginning)


@contextmanager
def follower(master, name, *extra):
    """A replica of `master` that has its data: a Tandem, or a real server."""
    words = ("--replicaof", f"127.0.0.1 {master.port}", *extra)
    made = (servers.Server("server", reference=False, tls=False, extra=words) if name == "tandem"
            else references.server(name))
    with made as replica:
        if name != "tandem":
            with replica.client() as r:
                r.call("REPLICAOF", "127.0.0.1", master.port)
        in_step(master, replica)
        yield replica


@contextmanager
def frozen(server):
    server.freeze()
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


def set_up(client, timeout_ms=1000):
    client.call("CONFIG", "SET", "min-replicas-acked", 1, "min-replicas-acked-timeout", timeout_ms)


class Writers:
    """Clients that write numbers, each into keys of its own and as a job, and note which they were told to be written."""

    def __init__(self, master, count=4):
        self.master, self.acknowledged, self.stopping = master, [[] for _ in range(count)], False
        self.threads = [threading.Thread(target=self.write, args=(n,)) for n in range(count)]

    def write(self, own):
        try:
            with self.master.client() as c:
                for n in range(100_000):
                    if self.stopping:
                        return
                    if c.ask("SET", f"{own}:{n}", n) == b"OK" and not is_error(c.ask("RPUSH", f"jobs:{own}", n), ""):
                        self.acknowledged[own].append(n)
        except (ConnectionError, OSError, EOFError):
            pass

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        for thread in self.threads:
            thread.join(10)


def missing(replica, acknowledged):
    """What was acknowledged and is not there."""
    with replica.client() as r:
        lost = []
        for own, numbers in enumerate(acknowledged):
            jobs = set(r.call("LRANGE", f"jobs:{own}", 0, -1))
            values = r.pipeline([("GET", f"{own}:{n}") for n in numbers])
            lost += [(own, n) for n, value in zip(numbers, values)
                     if value != str(n).encode() or str(n).encode() not in jobs]
        return lost


@pytest.mark.parametrize("name", ["tandem", "7.0"])
def test_what_was_acknowledged_outlives_the_loss_of_the_master(name):
    """The master is killed under writers, and its replica takes over, again and again."""
    total = 0
    for round_number in range(ROUNDS):
        with master_of("server") as master, master.client() as m, follower(master, name) as replica:
            set_up(m, timeout_ms=5000)
            with Writers(master) as writers:
                time.sleep(0.15 + 0.02 * (round_number % 5))
                master.process.kill()
            with replica.client() as r:
                r.call("REPLICAOF", "NO", "ONE")
            total += sum(map(len, writers.acknowledged))
            assert missing(replica, writers.acknowledged) == []
    assert total > ROUNDS * 20, "writers were acknowledged before the end"


@pytest.mark.parametrize("kind", ["cache", "queue"])
def test_writers_wait_for_a_replica_that_stands_still_and_readers_do_not(kind):
    with master_of(kind) as master, master.client() as m, follower(master, "tandem") as replica:
        set_up(m, timeout_ms=1500)
        assert m.call("SET", "k", 1) == b"OK"
        with frozen(replica), master.client() as writer, master.client() as reader, master.client() as open_writer:
            open_writer.call("CLIENT", "DURABILITY", "everysec" if kind == "queue" else "default")
            began = time.monotonic()
            answers = []
            thread = threading.Thread(target=lambda: answers.append(writer.ask("SET", "k", 2)))
            thread.start()
            eventually("it is written", lambda: reader.call("GET", "k") == b"2", seconds=1)
            eventually("it is told who waits", lambda: info(m, "stats")["clients_waiting_for_replicas"] == "1", seconds=1)
            if kind == "queue":
                assert open_writer.call("SET", "other", 1) == b"OK", "it has chosen not to wait"
            assert time.monotonic() - began < 1.2 and not answers, "others are answered, and the writer waits"
            thread.join(10)
            waited = time.monotonic() - began
            assert is_error(answers[0], "UNACKED ") and 1.4 < waited < 3, (answers, waited)
            assert reader.call("GET", "k") == b"2", "it is done here"
            assert writer.ask("SET", "k", 3) == wire.ReplyError(TOO_FEW), "and now there is a plain refusal"
            assert time.monotonic() - began < waited + 0.5 and reader.call("GET", "k") == b"2"
            assert writer.call("GET", "k") == b"2"
            stats = info(m, "stats")
            assert stats["unacknowledged_replies"] == "1" and int(stats["unreplicated_refusals"]) == 1
        eventually("it goes on with the replica", lambda: m.ask("SET", "k", 4) == b"OK")
        in_step(master, replica)
        with replica.client() as r:
            assert r.call("GET", "k") == b"4"


def test_each_reply_in_a_pipeline_is_right_when_replicas_do_not_answer():
    with master_of("queue") as master, master.client() as m, follower(master, "7.0") as replica:
        set_up(m, timeout_ms=600)
        m.call("SET", "there", "value")
        with frozen(replica):
            replies = m.pipeline([("SET", "a", 1), ("GET", "there"), ("RPUSH", "l", 1, 2), ("LLEN", "l"),
                                      ("EVAL", "return redis.call('INCR', 'n')", 0), ("MULTI",), ("SET", "b", 1),
                                      ("GET", "b"), ("EXEC",), ("PING",)])
            found = ["UNACKED" if is_error(reply, "UNACKED ") else reply for reply in replies]
            assert found == ["UNACKED", b"value", "UNACKED", 2, "UNACKED", b"OK", b"QUEUED", b"QUEUED", "UNACKED", b"PONG"]


def test_writes_whose_replies_are_not_wanted_cost_no_other_reply_its_place():
    with master_of("queue") as master, master.client() as m, follower(master, "7.0") as replica:
        set_up(m, timeout_ms=600)
        for mode, again, told in (("SKIP", (), "UNACKED "), ("OFF", (("CLIENT", "REPLY", "ON"),), None)):
            eventually("replicas are there", lambda: m.ask("SET", "k", 1) == b"OK")
            with frozen(replica), master.client() as c:
                lines = [("CLIENT", "REPLY", mode), ("SET", "a", 1), ("SET", "b", 2), *again, ("GET", "b")]
                c.send(b"".join(wire.encode(*line) for line in lines))
                first = c.read()
                assert is_error(first, told) if told else first == b"OK", first
                assert c.read() == b"2"
            assert m.call("GET", "b") == b"2"


def test_a_client_goes_on_when_it_was_told_that_replicas_are_late_and_the_log_is_later():
    extra = ("--enable-debug-command", "yes")
    with master_of("queue", *extra) as master, master.client() as m, follower(master, "7.0") as replica:
        set_up(m, timeout_ms=500)
        assert m.call("DEBUG", "AOF-FLUSH-SLEEP", 2_000_000) == b"OK"
        with frozen(replica), master.client() as c:
            c.send(wire.encode("SET", "a", 1))
            time.sleep(0.1)
            c.send(wire.encode("GET", "a"))
            assert is_error(c.read(), "UNACKED ")
            assert c.read() == b"1", "what was sent meanwhile is run"
        assert m.call("DEBUG", "AOF-FLUSH-SLEEP", 0) == b"OK"


def test_a_write_of_a_history_that_is_over_is_given_up_at_once_and_not_acknowledged_by_the_next():
    with master_of("queue") as master, master.client() as m, follower(master, "7.0") as replica:
        set_up(m, timeout_ms=30_000)
        m.call("CLIENT", "DURABILITY", "everysec")
        with master.client() as c:
            with frozen(replica):
                c.send(wire.encode("SET", "a", 1))
                eventually("it is written", lambda: m.call("GET", "a") == b"1")
                m.call("REPLICAOF", "127.0.0.1", 1)
                m.call("REPLICAOF", "NO", "ONE")
                began = time.monotonic()
                assert is_error(c.read(), "UNACKED ")
                assert time.monotonic() - began < 5
            eventually("replicas of the new one are there", lambda: c.ask("SET", "a", 2) == b"OK")


def test_a_write_that_the_next_master_has_is_answered_as_done():
    """Its replica has it, could not say so, and is the master now: what it has is in the history that goes on."""
    with master_of("queue") as master, master.client() as m, follower(master, "tandem") as replica:
        set_up(m, timeout_ms=30_000)
        m.call("CLIENT", "DURABILITY", "everysec")
        with master.client() as c, replica.client() as r:
            with frozen(replica):
                c.send(wire.encode("SET", "a", 1))
                eventually("it is written", lambda: m.call("GET", "a") == b"1")
                m.call("CLIENT", "KILL", "TYPE", "replica")
                # From here on it takes no replicas, so nobody can acknowledge anything.
                m.call("REPLICAOF", "127.0.0.1", replica.port)
            eventually("the replica has it", lambda: r.call("GET", "a") == b"1")
            r.call("REPLICAOF", "NO", "ONE")
            assert c.read() == b"OK"
            assert info(m, "stats")["unacknowledged_replies"] == "0"


def test_what_the_former_master_has_acknowledged_is_brought_by_whoever_comes_next():
    """A Sentinel promotes one replica and tells the other later: in between, the master until then hears acknowledgements of that one."""
    debug = ("--enable-debug-command", "yes")
    with master_of("queue", *debug) as old, master_of("queue", *debug) as brother, master_of("queue", *debug) as new:
        with old.client() as o, brother.client() as b, new.client() as n:
            for client in (o, b, n):
                set_up(client)
                client.call("CONFIG", "SET", "repl-backlog-size", "16mb")
            for client in (b, n):
                client.call("REPLICAOF", "127.0.0.1", old.port)
            in_step(old, brother), in_step(old, new)
            o.pipeline([("SELECT", 3), ("SET", "soon", "there", "PX", 4000), ("SELECT", 0)])
            in_step(old, new)
            assert n.call("REPLICAOF", "NO", "ONE") == b"OK"
            assert o.pipeline([("SET", f"late:{number}", "x" * 2000) for number in range(1000)]) == [b"OK"] * 1000
            assert o.pipeline([("SELECT", 3), ("PERSIST", "soon"), ("RPUSH", "jobs", 1)]) == [b"OK", 1, 1]
            n.call("SELECT", 3)
            eventually("its time is over", lambda: n.call("GET", "soon") is None)
            n.call("SELECT", 0)
            assert is_error(n.ask("SET", "k", 1), "NOREPLICAS ")
            b.call("REPLICAOF", "127.0.0.1", new.port)
            eventually("it takes writes", lambda: n.ask("SET", "k", 1) == b"OK")
            assert n.call("DBSIZE") == 1001 and n.pipeline([("SELECT", 3), ("GET", "soon"), ("LLEN", "jobs")]) == [b"OK", b"there", 1]
            o.call("REPLICAOF", "127.0.0.1", new.port)
            in_step(new, brother), in_step(new, old)
            assert len({client.call("DEBUG", "DIGEST") for client in (o, b, n)}) == 1
            stats = info(n, "stats")
            assert (stats["sync_full"], stats["sync_partial_ok"]) == ("0", "2"), "both go on where they are"


def test_a_server_that_has_nothing_and_comes_first_does_not_stand_before_what_another_one_brings():
    debug = ("--enable-debug-command", "yes")
    with master_of("queue", *debug) as old, master_of("queue", *debug) as brother, master_of("queue", *debug) as new, \
            master_of("queue", *debug) as empty:
        with old.client() as o, brother.client() as b, new.client() as n, empty.client() as e:
            for client in (o, b, n):
                set_up(client)
            for client in (b, n):
                client.call("REPLICAOF", "127.0.0.1", old.port)
            in_step(old, brother), in_step(old, new)
            assert n.call("REPLICAOF", "NO", "ONE") == b"OK"
            assert o.call("SET", "late", 1) == b"OK"
            e.call("REPLICAOF", "127.0.0.1", new.port)
            in_step(new, empty)
            eventually("it is online", lambda: "state=online" in info(n)["slave0"])
            assert is_error(n.ask("SET", "k", 1), "NOREPLICAS ")
            b.call("REPLICAOF", "127.0.0.1", new.port)
            eventually("it takes writes", lambda: n.ask("SET", "k", 1) == b"OK")
            in_step(new, brother), in_step(new, empty)
            assert [client.call("GET", "late") for client in (n, b, e)] == [b"1"] * 3
            assert len({client.call("DEBUG", "DIGEST") for client in (b, n, e)}) == 1


def test_a_replica_that_has_started_again_keeps_the_log_of_what_it_cannot_bring():
    with master_of("queue") as old, master_of("queue") as brother, master_of("queue") as new:
        with old.client() as o, brother.client() as b, new.client() as n:
            for client in (o, b, n):
                set_up(client)
            n.call("CONFIG", "SET", "repl-timeout", 4)
            for client in (b, n):
                client.call("REPLICAOF", "127.0.0.1", old.port)
            in_step(old, brother), in_step(old, new)
            assert n.call("REPLICAOF", "NO", "ONE") == b"OK"
            assert o.call("SET", "late", 1) == b"OK"
            eventually("the log has a base", lambda: info(b, "persistence")["aof_rewrite_in_progress"] == "0")
            brother.process.send_signal(signal.SIGTERM)
            brother.process.wait(20)
            brother.extra += ["--replicaof", f"127.0.0.1 {new.port}"]
            brother.restart()
            eventually("it takes writes", lambda: n.ask("SET", "k", 1) == b"OK")
        with brother.client() as b:
            assert (b.call("GET", "late"), b.call("GET", "k")) == (None, b"1")
        (kept,) = brother.data().glob("appendonlydir.given-up-*")
        assert kept.name in brother.log.read_text()
        with tempfile.TemporaryDirectory() as place:
            shutil.copytree(kept, Path(place) / "data" / kept.name)
            words = ("--appendonly", "yes", "--appenddirname", kept.name)
            with servers.Server("server", reference=False, tls=False, directory=place, extra=words) as found, found.client() as f:
                assert (f.call("GET", "late"), f.call("GET", "k")) == (b"1", None)


def test_what_a_replica_is_promoted_to_save_is_not_undone_by_another_one():
    """It was promoted because it lacks what the others have: a FLUSHALL."""
    with master_of("queue") as old, master_of("queue") as brother, master_of("queue") as new:
        with old.client() as o, brother.client() as b, new.client() as n:
            o.call("SET", "k", "v")
            for client in (b, n):
                client.call("REPLICAOF", "127.0.0.1", old.port)
            in_step(old, brother), in_step(old, new)
            n.call("REPLICAOF", "NO", "ONE")
            o.call("FLUSHALL")
            in_step(old, brother)
            b.call("REPLICAOF", "127.0.0.1", new.port)
            in_step(new, brother)
            assert [client.call("GET", "k") for client in (n, b)] == [b"v", b"v"]


def test_older_data_in_a_masters_place_replaces_that_of_its_replicas():
    with master_of("server", "--min-replicas-acked", "1") as master, follower(master, "tandem") as replica:
        with master.client() as m:
            assert m.pipeline([("SET", "k", "v"), ("SAVE",)]) == [b"OK"] * 2
            dump = master.data() / "dump.rdb"
            older = dump.read_bytes()
            assert b"repl-offset" in older, "it tells its place"
            assert m.call("FLUSHALL") == b"OK"
        in_step(master, replica)
        master.process.kill()
        master.process.wait()
        dump.write_bytes(older)
        master.restart()
        with master.client() as m, replica.client() as r:
            in_step(master, replica)
            eventually("it takes writes", lambda: m.ask("SET", "other", 1) == b"OK")
            in_step(master, replica)
            assert [client.call("GET", "k") for client in (m, r)] == [b"v", b"v"]
            assert info(m, "stats")["sync_full"] == "1"


def test_who_only_listens_has_nobodys_writes_refused():
    """A message waits for the write that it came with; that it is let go in the end says nothing of the replicas."""
    with master_of("queue") as master, master.client() as m, follower(master, "7.0") as replica:
        set_up(m, timeout_ms=600)
        with master.client() as subscriber, frozen(replica):
            subscriber.call("SUBSCRIBE", "done")
            with master.client() as writer:
                number = writer.call("CLIENT", "ID")
                script = "redis.call('SET', 'k', 1) redis.call('PUBLISH', 'done', 'k') return 1"
                writer.send(wire.encode("EVAL", script, 0))
                eventually("it is written", lambda: m.call("GET", "k") == b"1")
                assert m.call("CLIENT", "KILL", "ID", number) == 1
            assert subscriber.read() == [b"message", b"done", b"k"]
            assert is_error(m.ask("SET", "k", 2), "UNACKED "), "it was tried, and not refused"
        assert info(m, "stats")["unacknowledged_replies"] == "1"


def test_a_job_is_not_handed_out_before_replicas_know_that_it_is_taken():
    with master_of("queue") as master, master.client() as m, follower(master, "tandem") as replica:
        set_up(m, timeout_ms=700)
        with master.client() as worker, master.client() as next_worker:
            for waiting, client in enumerate((worker, next_worker), 1):
                client.send(wire.encode("BLPOP", "jobs", 0))
                eventually("it waits", lambda: info(m, "clients")["blocked_clients"] == str(waiting))
            with frozen(replica):
                assert is_error(m.ask("RPUSH", "jobs", "one"), "UNACKED ")
                assert is_error(worker.read(), "UNACKED "), "it was not given the job, and knows that it is taken"
                assert is_error(worker.ask("BLPOP", "jobs", 0), "NOREPLICAS ")
                with master.client() as careless:
                    careless.call("CLIENT", "DURABILITY", "everysec")
                    assert careless.call("RPUSH", "jobs", "two") == 1
                time.sleep(0.3)
                assert m.call("LRANGE", "jobs", 0, -1) == [b"two"], "what nobody would acknowledge is not taken"
            assert next_worker.read() == [b"jobs", b"two"], "it is when replicas are there again"


def test_without_replicas_writes_are_refused_before_they_run():
    with master_of("queue") as master, master.client() as m:
        m.call("SET", "k", 1)
        set_up(m)
        for request in (("SET", "k", 2), ("EVAL", "return redis.call('SET', 'k', 2)", 0)):
            assert is_error(m.ask(*request), "NOREPLICAS ")
        m.call("MULTI")
        assert is_error(m.ask("SET", "k", 2), "NOREPLICAS ")
        assert is_error(m.ask("EXEC"), "EXECABORT ")
        assert m.call("GET", "k") == b"1"
        m.call("CONFIG", "SET", "min-replicas-acked", 0)
        assert m.call("SET", "k", 3) == b"OK"
        with master.client() as careful:
            careful.call("CLIENT", "DURABILITY", "replicated")
            assert is_error(careful.ask("SET", "k", 4), "NOREPLICAS ")
            assert careful.call("CLIENT", "DURABILITY") == b"replicated"
            careful.call("RESET")
            assert careful.call("CLIENT", "DURABILITY") == b"default" and careful.call("SET", "k", 5) == b"OK"


def test_acknowledgement_takes_a_round_trip_and_not_a_second():
    with master_of("server") as master, master.client() as m, follower(master, "7.0"):
        set_up(m)
        began = time.monotonic()
        for n in range(100):
            assert m.call("SET", "k", n) == b"OK"
        assert time.monotonic() - began < 5, "a replica says by itself once a second how far it is"
        replies = m.pipeline([("SET", f"k{n}", n) for n in range(20_000)])
        assert replies == [b"OK"] * 20_000


def test_a_message_waits_with_the_write_that_it_comes_with():
    with master_of("queue") as master, master.client() as m, follower(master, "tandem") as replica:
        set_up(m, timeout_ms=1000)
        with master.client() as subscriber:
            subscriber.call("SUBSCRIBE", "done")
            with frozen(replica):
                script = "redis.call('SET', 'k', 1) redis.call('PUBLISH', 'done', 'k') return 1"
                m.send(wire.encode("EVAL", script, 0))
                began = time.monotonic()
                assert subscriber.read() == [b"message", b"done", b"k"]
                assert time.monotonic() - began > 0.8, "it came before the write was given up"
                assert is_error(m.read(), "UNACKED ")


def test_what_a_client_is_told_leaves_when_its_own_write_is_acknowledged_and_not_the_newest():
    with master_of("queue") as master, master.client() as m, as_replica(master) as replica:
        loaded(replica)
        eventually("it is online", lambda: "state=online" in info(m)["slave0"])
        set_up(m, timeout_ms=30_000)
        with master.client() as listener, master.client() as first, master.client() as second:
            listener.call("SUBSCRIBE", "done")
            ends = []
            for key, writer in (("a", first), ("b", second)):
                script = "redis.call('SET', KEYS[1], 1) redis.call('PUBLISH', 'done', KEYS[1]) return KEYS[1]"
                writer.send(wire.encode("EVAL", script, 1, key))
                eventually("it is written", lambda: m.call("GET", key) == b"1")
                ends.append(int(info(m)["master_repl_offset"]))
            for end, key, writer in ((ends[0], b"a", first), (ends[1], b"b", second)):
                replica.send(wire.encode("REPLCONF", "ACK", end))
                assert listener.read() == [b"message", b"done", key] and writer.read() == key
                if key == b"a":
                    listener.socket.settimeout(0.3)
                    with pytest.raises(TimeoutError):
                        listener.read()
                    listener.socket.settimeout(10)


def test_always_and_everysec_are_chosen_by_connection():
    with master_of("queue", "--appendfsync", "everysec") as master, master.client() as m:
        syncs = lambda: int(info(m, "persistence").get("aof_delayed_fsync", 0))  # noqa: E731
        assert syncs() == 0
        m.call("CLIENT", "DURABILITY", "always")
        for n in range(50):
            assert m.call("SET", "k", n) == b"OK"
            assert m.call("WAITAOF", 1, 0, 1) == [1, 0], "its reply left when it was on the disk"
    with master_of("cache") as cache, cache.client() as c:
        assert is_error(c.ask("CLIENT", "DURABILITY", "always"), "ERR there is no log here")
        assert is_error(c.ask("CLIENT", "DURABILITY", "never"), "ERR CLIENT DURABILITY takes")


def test_a_client_that_has_sent_all_and_ended_its_side_gets_its_replies():
    with master_of("queue") as master, master.client() as m, follower(master, "tandem") as replica:
        set_up(m, timeout_ms=800)
        with frozen(replica), socket.create_connection(("127.0.0.1", master.port)) as raw:
            raw.sendall(b"SET a 1\r\n")
            time.sleep(0.1)
            raw.sendall(b"GET a\r\n")
            raw.shutdown(socket.SHUT_WR)
            raw.settimeout(5)
            got = b""
            while chunk := raw.recv(4096):
                got += chunk
            assert got.startswith(b"-UNACKED ") and got.endswith(b"$1\r\n1\r\n"), got
