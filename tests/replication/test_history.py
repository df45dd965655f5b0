"""One history for a whole family of replicas: who is promoted, restarted or demoted goes on in it where that is right."""

import os
import signal
import subprocess
import threading
import time

import pytest
from conftest import assert_equal, eventually, in_step, info, replica_of
from harness import servers
from machine import references
from test_replica import Writer


def follow(replica, master):
    with replica.client() as r:
        assert r.call("REPLICAOF", "127.0.0.1", master.port) == b"OK"


def promote(server):
    with server.client() as c:
        assert c.call("REPLICAOF", "NO", "ONE") == b"OK"
        return info(c)


def counts(server):
    """How many copies and how many parts of the stream it has given."""
    with server.client() as c:
        told = info(c, "stats")
    return int(told["sync_full"]), int(told["sync_partial_ok"])


def places(*all_servers):
    found = []
    for server in all_servers:
        with server.client() as c:
            told = info(c)
            found.append((told["master_replid"], told["master_repl_offset"]))
    return found


def all_at_one_place(*all_servers):
    eventually("all are at one place", lambda: len(set(places(*all_servers))) == 1)


def tandem(kind="server", *extra, **how):
    """Random commands may not make strings there that take long to send."""
    extra = ("--proto-max-bulk-len", "1mb", *extra)
    return servers.Server(kind, reference=False, tls=False, extra=extra, **how)


# Replicas that can read what the master of this kind gives.
BROTHERS = {"7.0": ("7.0", "valkey"), "8.2": ("8.2", "8.2"), "valkey": ("valkey", "valkey")}


def test_the_others_go_on_at_whoever_is_promoted(name, commands):
    with references.server(name) as master, tandem() as promoted, tandem() as brother:
        writer = Writer(master, commands, f"promote {name}")
        writer.play(200)
        with replica_of(master, BROTHERS[name][0]) as second, replica_of(master, BROTHERS[name][1]) as third:
            brothers = (brother, second, third)
            follow(promoted, master), follow(brother, master)
            in_step(master, promoted)
            writer.play(300)
            writer.mixed()
            for server in brothers:
                in_step(master, server)
            all_at_one_place(master, promoted, *brothers)
            (history, offset), = set(places(promoted))
            told = promote(promoted)
            assert (told["master_replid2"], told["second_repl_offset"]) == (history, str(int(offset) + 1))
            assert told["master_replid"] != history and told["repl_backlog_active"] == "1"
            writer = Writer(promoted, commands, "promoted")
            writer.play(200)
            for server in brothers:
                follow(server, promoted)
            writer.mixed()
            for server in brothers:
                assert_equal(promoted, server)
            assert counts(promoted) == (0, 3)
            all_at_one_place(promoted, *brothers)


def test_a_master_that_is_demoted_goes_on_at_its_replica(name, commands):
    """Also in the database that its own stream was in."""
    with tandem() as old:
        writer = Writer(old, commands, f"demote {name}")
        writer.play(200)
        with replica_of(old, name) as new:
            in_step(old, new)
            writer.play(200, databases=(9,))
            in_step(old, new)
            promote(new)
            with new.client() as c:
                c.call("SET", "zero", "1")
            follow(old, new)
            in_step(new, old)
            with old.client() as c:
                assert c.call("GET", "zero") == b"1"
            assert counts(new) == (0, 1)
            # What it alone had executed keeps it from going on the next time.
            promote(old)
            with old.client() as c, new.client() as n:
                c.call("SET", "alone", "1"), n.call("SET", "theirs", "1")
            follow(old, new)
            eventually("there was a copy", lambda: counts(new) == (1, 1))
            assert_equal(new, old)


@pytest.mark.parametrize("first", ["7.0", "tandem"])
def test_a_chain_has_one_history_and_survives_the_loss_of_its_head(first, commands):
    with (tandem() if first == "tandem" else references.server(first)) as master, tandem() as middle:
        writer = Writer(master, commands, f"chain {first}")
        writer.play(200, databases=(3,))
        follow(middle, master)
        in_step(master, middle)
        with replica_of(middle, "7.0") as last, tandem() as other:
            follow(other, middle)
            writer.play(300)
            writer.mixed()
            in_step(master, middle)
            for server in (last, other):
                assert_equal(middle, server)
            all_at_one_place(master, middle, last, other)
            promote(middle)
            writer = Writer(middle, commands, "the new head")
            writer.play(200)
            for server in (last, other):
                assert_equal(middle, server)
            assert counts(middle) == (2, 2), "they have heard the new name, and nothing more"
            all_at_one_place(middle, last, other)


def test_a_new_name_reaches_the_end_of_a_chain(commands):
    with tandem() as first, tandem() as second, tandem() as middle:
        writer = Writer(first, commands, "names")
        writer.play(100)
        follow(second, first), follow(middle, first)
        in_step(first, second), in_step(first, middle)
        with replica_of(middle, "7.0") as last:
            in_step(first, middle), in_step(middle, last)
            all_at_one_place(first, second, middle, last)
            promote(second)
            follow(middle, second)
            writer = Writer(second, commands, "renamed")
            writer.play(100)
            in_step(second, middle)
            assert_equal(middle, last)
            all_at_one_place(second, middle, last)
            assert (counts(second), counts(middle)) == ((0, 1), (1, 1))


def kill(server):
    server.kill()


def stop(server):
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(20)


@pytest.mark.parametrize("end", [kill, stop])
def test_a_replica_that_starts_again_goes_on_where_its_log_ends(end, commands):
    with references.server("7.0") as master:
        writer = Writer(master, commands, "again")
        writer.play(200)
        with tandem("queue", "--replicaof", f"127.0.0.1 {master.port}", "--enable-debug-command", "yes") as replica:
            in_step(master, replica)
            with replica.client() as r:
                eventually("the log has a base", lambda: info(r, "persistence")["aof_rewrite_in_progress"] == "0")
            for round_ in range(1, 4):
                writer.play(150)
                writer.mixed()
                in_step(master, replica)
                end(replica)
                writer.play(100)
                replica.restart()
                assert_equal(master, replica)
                assert counts(master) == (1, round_)
            with replica.client() as r:
                r.call("BGREWRITEAOF")
                eventually("it is rewritten", lambda: info(r, "persistence")["aof_rewrite_in_progress"] == "0")
            end(replica)
            replica.restart()
            assert_equal(master, replica)
            assert counts(master) == (1, 4)


def test_a_replica_that_has_lost_the_end_of_its_log_goes_on_where_that_ends_now(commands):
    with references.server("7.0") as master, master.client() as m:
        words = ("--replicaof", f"127.0.0.1 {master.port}", "--enable-debug-command", "yes", "--appendfsync", "no")
        with tandem("server", "--appendonly", "yes", *words) as replica:
            in_step(master, replica)
            with replica.client() as r:
                eventually("the log has a base", lambda: info(r, "persistence")["aof_rewrite_in_progress"] == "0")
            for n in range(20):
                m.call("INCR", "n")
                in_step(master, replica)
            replica.kill()
            log = max(replica.data().glob("appendonlydir/*.incr.aof"), key=lambda path: path.stat().st_mtime)
            os.truncate(log, log.stat().st_size - 400)
            replica.restart()
            in_step(master, replica)
            with replica.client() as r:
                assert r.call("GET", "n") == b"20"
            assert counts(master) == (1, 1)


@pytest.mark.parametrize("end", [kill, stop])
def test_replicas_go_on_at_a_master_that_starts_again(end, commands):
    with tandem("queue", "--enable-debug-command", "yes") as master:
        writer = Writer(master, commands, "again")
        writer.play(100)
        with replica_of(master, "7.0") as replica, tandem() as second:
            follow(second, master)
            in_step(master, replica), in_step(master, second)
            writer.play(200)
            in_step(master, replica), in_step(master, second)
            end(master)
            master.restart()
            writer = Writer(master, commands, "restarted")
            writer.play(100)
            assert_equal(master, replica)
            assert_equal(master, second)
            assert counts(master) == (0, 2)


def test_a_master_that_is_demoted_after_a_silence_needs_no_copy():
    """It has told another replica that it is there since the new master was promoted, and written nothing."""
    with tandem("server", "--repl-ping-replica-period", "1") as old, tandem() as new, tandem() as other:
        follow(new, old), follow(other, old)
        with old.client() as c:
            c.call("SET", "k", 1)
            in_step(old, new), in_step(old, other)
            promote(new)
            reached = int(info(c)["master_repl_offset"])
            eventually("there were pings since", lambda: int(info(c)["master_repl_offset"]) > reached + 20)
        follow(old, new)
        eventually("it goes on", lambda: counts(new) == (0, 1))
        with new.client() as c:
            c.call("SET", "k", 2)
        assert_equal(new, old)
        assert counts(new) == (0, 1)


LONG_LOG = ("--enable-debug-command", "yes", "--repl-backlog-size", "1mb", "--repl-ping-replica-period", "1",
            "--auto-aof-rewrite-percentage", "0")


def write_long(master, rounds):
    """Writes about a megabyte in each round, of all that a stream has, and some of what only replicas are told."""
    with master.client() as c:
        for n in range(rounds):
            requests = [("SELECT", n % 3), ("SET", f"k:{n}", "v" * 300_000)]
            requests += [("RPUSH", f"list:{n % 7}", "e" * 1000, f"#REPL-FROM:{n}:0\r\n") for _ in range(500)]
            requests += [("MULTI",), ("SET", "in", n), ("SELECT", 1), ("INCR", "in"), ("PUBLISH", "c", n), ("EXEC",)]
            requests += [("PUBLISH", "c", "m" * 100), ("SET", f"gone:{n}", 1, "PX", 1 + n % 3), ("EVAL", EFFECTS, 0)]
            c.pipeline(requests)


EFFECTS = "redis.call('INCR', 'a') redis.call('PUBLISH', 'c', 'x') redis.call('LPUSH', 'b', redis.call('INCR', 'a'))"


@pytest.mark.timeout(180)  # more than what is waited for in it
@pytest.mark.parametrize("end", [None, kill, stop])
@pytest.mark.parametrize("name", ["tandem", "7.0"])
def test_a_replica_that_was_away_for_long_goes_on_from_the_log(name, end):
    with tandem("queue", *LONG_LOG) as master, tandem() as other:
        follow(other, master)
        with tandem() if name == "tandem" else references.server(name) as replica:
            follow(replica, master)
            write_long(master, 2)
            in_step(master, replica), in_step(master, other)
            replica.freeze()
            with master.client() as m:
                m.call("CLIENT", "KILL", "TYPE", "replica")
            in_step(master, other)
            write_long(master, 50)
            in_step(master, other)
            full, partial = counts(master)
            if end:
                end(master)
                master.restart()
                full, partial = 0, 0
                in_step(master, other)
            replica.process.send_signal(signal.SIGCONT)
            thread = threading.Thread(target=write_long, args=(master, 3))
            thread.start()
            eventually("it is sent what it lacks", lambda: counts(master)[1] > partial + bool(end), 60)
            thread.join()
            write_long(master, 1)
            assert_equal(master, replica)
            assert_equal(master, other)
            assert counts(master)[0] == full, "nobody was sent a copy"
            assert "sent from the log what the backlog has no more" in master.log.read_text()


def test_what_the_log_has_no_more_is_sent_as_a_copy():
    with tandem("queue", *LONG_LOG) as master, tandem() as replica, master.client() as m:
        follow(replica, master)
        write_long(master, 1)
        in_step(master, replica)
        replica.freeze()
        m.call("CLIENT", "KILL", "TYPE", "replica")
        write_long(master, 5)
        m.call("BGREWRITEAOF")
        eventually("it is rewritten", lambda: info(m, "persistence")["aof_rewrite_in_progress"] == "0")
        write_long(master, 1)
        replica.process.send_signal(signal.SIGCONT)
        eventually("it is sent one", lambda: counts(master)[0] == 2, 30)
        assert_equal(master, replica)


def test_a_master_that_is_killed_in_a_silence_needs_no_copies_for_its_replicas():
    """They had its pings, and its log knows of them."""
    with tandem("queue", "--repl-ping-replica-period", "1") as master, tandem() as replica, master.client() as m:
        follow(replica, master)
        m.call("SET", "k", 1)
        in_step(master, replica)
        reached = int(info(m)["master_repl_offset"])
        eventually("there were pings since", lambda: int(info(m)["master_repl_offset"]) > reached + 20)
        in_step(master, replica)
        kill(master)
        master.restart()
        eventually("it goes on", lambda: counts(master) == (0, 1))


def test_a_replica_that_was_told_more_than_the_log_of_its_killed_master_goes_back():
    """Messages and requests to acknowledge are in no log; the master has written again before its replica comes back."""
    with tandem("queue", "--enable-debug-command", "yes") as master, tandem() as replica:
        follow(replica, master)
        with master.client() as m:
            eventually("it follows", lambda: info(m)["connected_slaves"] == "1" and "state=online" in info(m)["slave0"])
            m.pipeline([("SET", "before", 1), ("WAIT", 1, 1000)])
            m.pipeline([("PUBLISH", "channel", "message"), ("WAIT", 1, 1000)])
        in_step(master, replica)
        with replica.client() as r:
            r.call("REPLICAOF", "127.0.0.1", 1)
        kill(master)
        master.restart()
        with master.client() as m:
            m.call("SET", "after", 1)
        follow(replica, master)
        in_step(master, replica)
        assert_equal(master, replica)
        assert counts(master) == (0, 1)


def test_a_snapshot_tells_its_place_as_that_of_redis_does(commands):
    """A replica that saves at its end goes on behind it, also with the file of the other."""
    with references.server("7.0") as master:
        writer = Writer(master, commands, "saved")
        writer.play(200)
        with tandem("server", "--replicaof", f"127.0.0.1 {master.port}", "--save", "3600 1") as replica:
            in_step(master, replica)
            writer.play(100, databases=(9,))
            in_step(master, replica)
            stop(replica)
            told = subprocess.run(["redis-check-rdb", str(replica.data() / "dump.rdb")], capture_output=True, text=True)
            assert "AUX FIELD repl-offset" in told.stdout and "AUX FIELD repl-stream-db = '9'" in told.stdout
            with master.client() as m:
                m.call("SELECT", 9), m.call("SET", "last", "1")
            replica.restart()
            assert_equal(master, replica)
            assert counts(master) == (1, 1)


def test_replicas_are_told_what_has_expired_while_their_master_was_away():
    with tandem("server", "--save", "3600 1") as master, tandem() as replica, master.client() as m:
        follow(replica, master)
        m.call("SET", "stays", "1"), m.call("SET", "goes", "1", "PX", 700)
        in_step(master, replica)
        stop(master)
        time.sleep(0.8)
        master.restart()
        in_step(master, replica)
        assert counts(master) == (0, 1)
        with replica.client() as r:
            eventually("it is gone, and not only hidden", lambda: r.call("DBSIZE") == 1)


class Stream(threading.Thread):
    """Writes that are wrong if one is missing or done twice, one after another until the end."""

    def __init__(self, server, commands, seed):
        super().__init__(daemon=True)
        self.writer = Writer(server, commands, seed)
        self.is_over = False

    def run(self):
        counts_ = [("MULTI",), ("INCR", "n"), ("RPUSH", "l", "x"), ("EXEC",), ("APPEND", "s", "x"), ("LPOP", "l")]
        while not self.is_over:
            self.writer.client.pipeline(counts_ * 20)
            self.writer.play(50)

    def end(self):
        self.is_over = True
        self.join(20)
        assert not self.is_alive()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("first", ["7.0", "tandem"])
def test_a_replica_that_is_killed_under_load_loses_nothing_and_does_nothing_twice(first, commands):
    with (tandem() if first == "tandem" else references.server(first)) as master:
        with master.client() as m:
            m.call("CONFIG", "SET", "repl-backlog-size", "64mb")
        with tandem("queue", "--replicaof", f"127.0.0.1 {master.port}", "--enable-debug-command", "yes") as replica:
            in_step(master, replica)
            with replica.client() as r:
                eventually("the log has a base", lambda: info(r, "persistence")["aof_rewrite_in_progress"] == "0")
            stream = Stream(master, commands, f"load {first}")
            stream.start()
            for round_ in range(6):
                time.sleep(0.3 + 0.1 * round_)
                replica.kill()
                replica.restart()
            stream.end()
            assert_equal(master, replica)
            assert counts(master)[0] == 1
