"""kill -9 under load: whatever the server acknowledged is there after the restart.

Writers count: each key of a writer is written in order, and a writer notes the last number whose reply it has
read. After the kill every noted number must be found; one more (sent, not acknowledged) may be.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import servers, wire  # noqa: E402

WRITERS = 8
ROUNDS = int(os.environ.get("TANDEM_CRASH_ROUNDS", "5"))
# I/O threads of the server, from round to round.
IO_THREADS = ["1", "2", "4"]


class Writer(threading.Thread):
    """Writes 1, 2, 3 … in several shapes until the connection breaks."""

    def __init__(self, server, name, begin):
        super().__init__(daemon=True)
        self.server, self.name_, self.acknowledged = server, name, begin

    def run(self):
        try:
            with self.server.client(timeout=10) as c:
                while True:
                    n = self.acknowledged + 1
                    replies = c.pipeline([
                        ("SET", f"last:{self.name_}", n),
                        ("RPUSH", f"list:{self.name_}", n),
                        ("ZADD", f"zset:{self.name_}", n, f"m{n}"),
                        ("HSET", f"hash:{self.name_}", f"f{n}", n),
                        ("EVAL", "redis.call('INCR', KEYS[1]) return redis.call('XADD', KEYS[2], ARGV[1], 'n', ARGV[1])",
                         2, f"count:{self.name_}", f"stream:{self.name_}", n),
                    ])
                    assert not any(isinstance(r, wire.ReplyError) for r in replies), replies
                    self.acknowledged = n
        except (OSError, EOFError):
            pass


def check(server, name, acknowledged):
    """The state of one writer's keys; returns the number it has really reached."""
    with server.client() as c:
        last = int(c.call("GET", f"last:{name}") or 0)
        lengths = [c.call("LLEN", f"list:{name}"), c.call("ZCARD", f"zset:{name}"), c.call("HLEN", f"hash:{name}"),
                   int(c.call("GET", f"count:{name}") or 0), c.call("XLEN", f"stream:{name}")]
        assert last in (acknowledged, acknowledged + 1), f"{name}: {acknowledged} acknowledged, {last} found"
        assert all(n in (acknowledged, acknowledged + 1) for n in lengths), f"{name}: {acknowledged}, found {lengths}"
        for i, n in enumerate(c.call("LRANGE", f"list:{name}", 0, -1), 1):
            assert int(n) == i, f"{name}: position {i} holds {n}"
        for kind in ("last", "list", "zset", "hash", "count", "stream"):
            c.call("DEL", f"{kind}:{name}")
    return 0


@pytest.mark.parametrize("policy", ["everysec", "always"])
@pytest.mark.timeout(120 + 12 * ROUNDS)
def test_acknowledged_writes_survive_kill(policy):
    words = ["--appendfsync", policy]
    with servers.Server("queue", password=servers.password(), tls=False, extra=words) as server:
        rng = random.Random(7)
        for round_ in range(ROUNDS):
            writers = [Writer(server, f"w{i}", 0) for i in range(WRITERS)]
            [w.start() for w in writers]
            time.sleep(rng.uniform(0.3, 1.2))
            if round_ % 2:
                with server.client() as c:
                    c.call("BGREWRITEAOF")
                time.sleep(rng.uniform(0, 0.3))
            server.kill()
            [w.join(15) for w in writers]
            server.extra = [*words, "--io-threads", IO_THREADS[round_ % len(IO_THREADS)]]
            server.restart()
            assert sum(w.acknowledged for w in writers) > WRITERS, "hardly anything was written"
            for writer in writers:
                check(server, writer.name_, writer.acknowledged)


def wait_for_log(server, client):
    """Until the log that was switched on has its first base."""
    end = time.monotonic() + 30
    while True:
        info = client.call("INFO", "persistence")
        idle = b"aof_enabled:1" in info and b"aof_rewrite_in_progress:0" in info and b"aof_rewrite_scheduled:0" in info
        if idle and (server.data() / "appendonlydir" / "appendonly.aof.manifest").exists():
            return
        assert time.monotonic() < end, info
        time.sleep(0.02)


@pytest.mark.parametrize("policy", ["everysec", "always"])
@pytest.mark.timeout(120 + 12 * ROUNDS)
def test_acknowledged_writes_survive_a_log_that_is_switched_off_and_on(policy):
    words = ["--save", "", "--appendonly", "yes", "--appendfsync", policy]
    with servers.Server("server", tls=False, extra=words) as server:
        rng = random.Random(11)
        for _ in range(ROUNDS):
            writers = [Writer(server, f"w{i}", 0) for i in range(2)]
            [w.start() for w in writers]
            with server.client() as c:
                for _ in range(rng.randrange(3, 12)):
                    c.call("CONFIG", "SET", "appendonly", rng.choice(["yes", "no"]))
                    time.sleep(rng.choice([0, 0, 0.005, 0.05]))
                c.call("CONFIG", "SET", "appendonly", "yes")
                wait_for_log(server, c)
            time.sleep(0.1)
            server.kill()
            [w.join(15) for w in writers]
            server.restart()
            for writer in writers:
                check(server, writer.name_, writer.acknowledged)


@pytest.mark.timeout(120 + 12 * ROUNDS)
def test_acknowledged_writes_survive_a_stop_with_a_snapshot_only():
    with servers.Server("server", tls=False, extra=["--save", "3600 1"]) as server:
        for _ in range(ROUNDS):
            writers = [Writer(server, f"w{i}", 0) for i in range(WRITERS)]
            [w.start() for w in writers]
            time.sleep(0.3)
            server.stop()
            [w.join(15) for w in writers]
            server.restart()
            assert sum(w.acknowledged for w in writers) > WRITERS, "hardly anything was written"
            for writer in writers:
                check(server, writer.name_, writer.acknowledged)


@pytest.mark.timeout(60)
def test_no_signal_ends_the_server_without_a_word():
    with servers.Server("server", tls=False) as server:
        with server.client() as c:
            for name in ("SIGALRM", "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGIO", "SIGXFSZ", "SIGHUP"):
                server.process.send_signal(getattr(signal, name))
                assert c.call("PING") == b"PONG"
            server.process.send_signal(signal.SIGRTMIN + 5)
            deadline = time.time() + 20
            while "Received signal " not in server.log.read_text():
                assert time.time() < deadline, "nothing was told"
                time.sleep(0.02)
            assert c.call("PING") == b"PONG"
        text = server.log.read_text()
        assert "Received SIGALRM, which means nothing here: the server goes on." in text
        server.process.send_signal(signal.SIGQUIT)
        assert server.process.wait(20) != 0
        assert "crashed by signal: 3" in server.log.read_text()


def filled(server):
    """One key of every kind and encoding; returns what DEBUG-free comparison needs."""
    with server.client(timeout=60) as c:
        c.pipeline([
            ("SET", "int", 12345), ("SET", "text", "hello"), ("SET", "long", b"\x00\xffbinary" * 5000), ("SET", "ttl", "x", "EX", 100_000),
            ("RPUSH", "list", *range(200)), ("RPUSH", "biglist", *[f"element-{i}" * 20 for i in range(2000)]),
            ("SADD", "ints", *range(100)), ("SADD", "strings", *[f"m{i}" for i in range(50)]), ("SADD", "bigset", *[f"m{i}" for i in range(2000)]),
            ("HSET", "hash", *sum([[f"f{i}", i] for i in range(50)], [])), ("HSET", "bighash", *sum([[f"f{i}", "v" * 100] for i in range(1000)], [])),
            ("ZADD", "zset", *sum([[i * 1.5, f"m{i}"] for i in range(50)], [])), ("ZADD", "bigzset", *sum([[i / 3, f"m{i}"] for i in range(1000)], [])),
            ("ZADD", "scores", "inf", "a", "-inf", "b", 1790000000000, "c", "1e-7", "d"),
            ("SELECT", 3), ("SET", "other", "db3"), ("SELECT", 0),
        ])
        for i in range(1, 500):
            c.call("XADD", "stream", f"{i}-0", "field", i, "other", "x" * (i % 50))
        c.call("XGROUP", "CREATE", "stream", "group", "0")
        c.call("XREADGROUP", "GROUP", "group", "consumer", "COUNT", 10, "STREAMS", "stream", ">")
        c.call("XACK", "stream", "group", "3-0")
        c.call("XDEL", "stream", "7-0")


READS = [("GET", "int"), ("GET", "text"), ("GET", "long"), ("LRANGE", "list", 0, -1), ("LRANGE", "biglist", 0, -1), ("ZRANGE", "zset", 0, -1, "WITHSCORES"),
         ("ZRANGE", "bigzset", 0, -1, "WITHSCORES"), ("ZRANGE", "scores", 0, -1, "WITHSCORES"), ("XRANGE", "stream", "-", "+"), ("XPENDING", "stream", "group"),
         ("PEXPIRETIME", "ttl"), ("DBSIZE",)]
UNORDERED = [("SMEMBERS", "ints"), ("SMEMBERS", "strings"), ("SMEMBERS", "bigset"), ("HGETALL", "hash"), ("HGETALL", "bighash")]


def scores_as_numbers(words, reply):
    """Redis 7.0 prints 0.33333333333333331 where 7.2 and later print the shortest digits of the same number."""
    return [float(x) if i % 2 else x for i, x in enumerate(reply)] if "WITHSCORES" in words else reply


def contents(server):
    with server.client(timeout=60) as c:
        found = {words: scores_as_numbers(words, c.call(*words)) for words in READS}
        found |= {words: sorted(c.call(*words)) for words in UNORDERED}
        c.call("SELECT", 3)
        return found | {"db3": c.call("GET", "other")}


def move(source, target, tmp_path, how):
    """Fills `source`, makes it save by `how`, and starts `target` on a copy of its files."""
    source.start()
    try:
        filled(source)
        with source.client(timeout=60) as c:
            if how == "rdb":
                c.call("SAVE")
            elif how == "rewritten aof":
                c.call("BGREWRITEAOF")
                end = time.monotonic() + 30
                while b"aof_rewrite_in_progress:1" in c.call("INFO", "persistence") or b"aof_rewrite_scheduled:1" in c.call("INFO", "persistence"):
                    assert time.monotonic() < end
                    time.sleep(0.05)
                c.call("SET", "after", "rewrite")
                c.call("DEL", "after")
        before = contents(source)
        source.kill()
        subprocess.run(["cp", "-r", f"{source.data()}/.", str(target.data())], check=True)
        target.start()
        after = contents(target)
        for what in before:
            assert after[what] == before[what], what
    finally:
        source.remove()
        target.remove()


def server_of(who, how):
    aof = ["--appendonly", "no" if how == "rdb" else "yes"] + (["--save", ""] if how != "rdb" else [])
    return servers.Server("server", reference=who == "redis", tls=False, extra=aof)


@pytest.mark.parametrize("how", ["rdb", "plain aof", "rewritten aof"])
@pytest.mark.parametrize("way", ["here to redis", "redis to here", "here to here"])
def test_files_move_between_servers(tmp_path, way, how):
    source, target = way.split(" to ")
    move(server_of(source, how), server_of(target, how), tmp_path, how)


def test_a_torn_tail_costs_only_the_torn_record():
    with servers.Server("queue", tls=False) as server:
        with server.client() as c:
            for i in range(100):
                c.call("SET", f"k{i}", i)
        server.kill()
        [log] = sorted(server.data().glob("appendonlydir/*.incr.aof"))
        with open(log, "ab") as file:
            file.write(b"*3\r\n$3\r\nSET\r\n$4\r\ntorn\r\n$10\r\nhal")
        server.restart()
        with server.client() as c:
            assert c.call("DBSIZE") == 100
            assert c.call("EXISTS", "torn") == 0
            c.call("SET", "more", 1)
        server.kill()
        server.restart()
        with server.client() as c:
            assert c.call("GET", "more") == b"1"


def test_an_unreadable_base_is_refused_and_kept():
    """The server must not start empty because a file is corrupt."""
    with servers.Server("queue", tls=False) as server:
        with server.client() as c:
            c.call("RPUSH", "l", *range(1000))
            c.call("BGREWRITEAOF")
            end = time.monotonic() + 20
            while b"aof_rewrite_in_progress:1" in c.call("INFO", "persistence"):
                assert time.monotonic() < end
                time.sleep(0.05)
        server.kill()
        [base] = sorted(server.data().glob("appendonlydir/*.base.rdb"))
        bytes_ = bytearray(base.read_bytes())
        bytes_[len(bytes_) // 2] ^= 0xFF
        base.write_bytes(bytes_)
        server.spawn()
        assert server.process.wait(15) != 0, "it started on a corrupt base"
        assert base.read_bytes() == bytes(bytes_)
        bytes_[len(bytes_) // 2] ^= 0xFF
        base.write_bytes(bytes_)
        server.restart()
        with server.client() as c:
            assert c.call("LLEN", "l") == 1000


def test_a_clean_stop_keeps_everything():
    with servers.Server("queue", tls=False) as server:
        with server.client() as c:
            c.call("SET", "k", "v")
        server.stop()
        server.start()
        with server.client() as c:
            assert c.call("GET", "k") == b"v"


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_damage_in_what_was_synced_is_no_torn_end(how):
    """What a clean stop or a quiet second has made durable is never cut off: a wrong byte in it stops the start."""
    with servers.Server("queue", tls=False) as server:
        with server.client() as c:
            c.pipeline([("SET", f"k{i}", "x" * 1000) for i in range(2000)])
        if how == "kill":
            time.sleep(2.5)  # the sync of the next second, and what tells of it
        getattr(server, how)()
        [log] = sorted(server.data().glob("appendonlydir/*.incr.aof"))
        whole = log.read_bytes()
        at = whole.index(b"*3", len(whole) // 10)
        log.write_bytes(whole[:at] + b"X" + whole[at + 1:])
        server.spawn()
        assert server.process.wait(15) != 0, "it started without most of its data"
        assert len(log.read_bytes()) == len(whole), "the log was cut"
        log.write_bytes(whole)
        server.restart()
        with server.client() as c:
            assert c.call("DBSIZE") == 2000


def test_a_directory_belongs_to_one_queue():
    with servers.Server("queue", tls=False) as server:
        with server.client() as c:
            c.call("SET", "k", "v")
        second = servers.Server("queue", tls=False, directory=server.directory)
        try:
            with pytest.raises(RuntimeError, match="another server uses the directory"):
                second.start()
        finally:
            second.stop()
        server.kill()
        server.restart()
        with server.client() as c:
            assert c.call("GET", "k") == b"v"
