"""Masters and replicas: Tandem beside real servers of three kinds."""

import random
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "differential")]

from harness import servers, wire  # noqa: E402
from machine import generate, grammar, references  # noqa: E402

SECONDS_MAX = 20


def eventually(what, holds, seconds=SECONDS_MAX):
    """Waits until `holds` gives something true, and gives that."""
    deadline = time.monotonic() + seconds
    while True:
        value = holds()
        if value:
            return value
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.02)


def info(client, section="replication"):
    lines = client.call("INFO", section).decode().split("\r\n")
    return dict(line.split(":", 1) for line in lines if ":" in line)


def master_of(kind="server", *extra):
    """Random commands may not make strings there that take long to send."""
    return servers.Server(kind, reference=False, tls=False, extra=("--proto-max-bulk-len", "1mb", *extra))


@contextmanager
def replica_of(master, name, *extra):
    """A real server that is told to follow `master`, and may not have begun."""
    with references.server(name) as replica:
        with replica.client() as c:
            for at in range(0, len(extra), 2):
                c.call("CONFIG", "SET", extra[at], extra[at + 1])
            c.call("REPLICAOF", "127.0.0.1", master.port)
        yield replica


def in_step(master, replica):
    """Waits until the replica has applied all that its master has executed."""
    with master.client() as m, replica.client() as r:
        def holds():
            theirs = info(r)
            return (theirs["master_link_status"] == "up"
                    and int(theirs["slave_repl_offset"]) >= int(info(m)["master_repl_offset"]))
        eventually("the replica has caught up", holds, 3 * SECONDS_MAX)


def digests(*all_servers):
    found = []
    for server in all_servers:
        with server.client() as c:
            found.append(c.call("DEBUG", "DIGEST"))
    return found


def contents(server):
    """{(database, key): (type, value, expiry)}, the scores of sorted sets as numbers: versions print them, and so digest them, differently."""
    found = {}
    with server.client() as c:
        for db in range(16):
            c.call("SELECT", db)
            for key in c.call("KEYS", "*"):
                kind = c.call("TYPE", key)
                if kind == b"zset":
                    pairs = c.call("ZRANGE", key, 0, -1, "WITHSCORES")
                    value = dict(zip(pairs[::2], map(float, pairs[1::2])))
                else:
                    value = c.call("DEBUG", "DIGEST-VALUE", key)
                found[db, key] = kind, value, c.call("PEXPIRETIME", key)
    return found


def assert_equal(master, replica):
    """Both hold the same data, now or before long (what expires goes in its own time)."""
    in_step(master, replica)
    deadline = time.monotonic() + 3
    while len(set(digests(master, replica))) > 1 and contents(master) != contents(replica):
        if time.monotonic() > deadline:
            assert contents(master) == contents(replica)
        time.sleep(0.1)


def survive_cuts(master, replica, writer):
    """The link is cut three times while `writer` goes on; what was missed comes, and no second copy."""
    with master.client() as m:
        for cut in range(1, 4):
            assert m.call("CLIENT", "KILL", "TYPE", "replica") == 1
            writer.play(300)
            writer.mixed()
            eventually("it has come back", lambda: info(m, "stats")["sync_partial_ok"] == str(cut))
            assert_equal(master, replica)
        assert info(m, "stats")["sync_full"] == "1"


@pytest.fixture(params=references.NAMES)
def name(request):
    """Each kind of real server."""
    return request.param


@pytest.fixture(scope="session")
def commands():
    """The commands of Redis 7.0, which all replicas know."""
    with references.server("7.0") as server, server.client(protocol=3) as c:
        return grammar.commands_of(c)


def is_done_otherwise(words):
    """What has no result that all agree on, and is told to replicas as it was asked for: numbers in hexadecimal and the least of 64 bits, which
    Redis 8.2 does not read; indices beyond 32 bits, which it takes for others; what is between two texts where scores differ; a string
    that BITFIELD has made longer although it refused to overflow."""
    said = [bytes(word if isinstance(word, (bytes, bytearray)) else str(word).encode()).upper() for word in words]
    return (any(b"0X" in word for word in said) or b"-9223372036854775808" in said
            or said[0] == b"LSET" and len(said) > 2 and len(said[2]) > 9
            or said[0] == b"ZREMRANGEBYLEX" or said[0] == b"ZRANGESTORE" and b"BYLEX" in said
            or said[0] == b"BITFIELD" and b"FAIL" in said)


class Writer:
    """Random commands of all types, in order, on one connection, but for those that replicas of another version or kind do otherwise."""

    def __init__(self, server, commands, seed):
        self.server = server
        self.client = server.client()
        self.random = random.Random(seed)
        self.generator = generate.Generator(commands, self.random)

    def play(self, count, databases=(0, 3, 9)):
        """Sends so many; how many were no errors."""
        done = 0
        for _ in range(count // 50):
            self.client.call("SELECT", self.random.choice(databases))
            replies = self.client.pipeline([self.next() for _ in range(50)])
            done += sum(not isinstance(reply, wire.ReplyError) for reply in replies)
        return done

    def next(self):
        """One that does not wait, subscribe, or take the data away."""
        while True:
            words, command = self.generator.command()
            if not (command.flags & {"blocking", "pubsub"}) and command.group in generate.WEIGHTS \
                    and not command.name.startswith("FLUSH") and not is_done_otherwise(words):
                return words

    def mixed(self):
        """What is not replicated as it was asked for: transactions, scripts, expiry, random picks, blocked clients."""
        c = self.client
        c.call("SELECT", 12)
        c.call("EVAL", "redis.call('INCR', 'n') redis.call('LPUSH', 'l', redis.call('TIME')[1], math.random())"
               " redis.call('SADD', 's', 1, 2, 3, 4, 5, 6, 7, 8) return redis.call('SPOP', 's', 3)", 0)
        c.pipeline([("MULTI",), ("SET", "t", "1"), ("SELECT", 11), ("INCRBYFLOAT", "f", "0.1"), ("SPOP", "s"),
                    ("SELECT", 12), ("EXEC",)])
        c.call("SET", "soon", "gone", "PX", 30)
        c.call("SET", "later", "there", "EX", 1000)
        c.call("GETEX", "later", "EX", 2000)
        with self.server.client() as blocked:
            blocked.call("SELECT", 12)
            blocked.send(wire.encode("BLMOVE", "from", "to", "LEFT", "RIGHT", 5))
            c.call("RPUSH", "from", "moved")
            assert blocked.read() == b"moved"
        time.sleep(0.04)
        assert c.call("EXISTS", "soon") == 0
