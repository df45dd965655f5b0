"""A disk that fails, fills up and stalls under the real server, and kill -9 on top of it.

Whatever was acknowledged is there after the restart, once; what was refused is not. While the disk stalls, whoever does not
write is answered.
"""

import errno
import os
import random
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import servers, wire  # noqa: E402
from harness.faults import RENAMES, SYNCS, WRITES, Faults  # noqa: E402

ROUNDS = int(os.environ.get("TANDEM_FAULT_ROUNDS", "4"))
WRITERS = 4
# I/O threads of the server, from round to round.
IO_THREADS = ["1", "2", "4"]
QUEUE = ["--auto-aof-rewrite-percentage", "0"]
# The calls concerned, what they fail with, how long they take, one in how many.
FAULTS = [
    (WRITES, errno.EIO, 0, 1),
    (WRITES, errno.EIO, 0, 3),
    (WRITES, errno.ENOSPC, 0, 1),
    (WRITES, errno.ENOSPC, 0, 2),
    (SYNCS, errno.EIO, 0, 1),
    (SYNCS, errno.EIO, 0, 2),
    (RENAMES, errno.EIO, 0, 1),
    (RENAMES | SYNCS, errno.EIO, 0, 2),
    (WRITES | SYNCS | RENAMES, errno.EIO, 0, 5),
    (WRITES, 0, 150, 1),
    (SYNCS, 0, 400, 1),
]


@pytest.fixture
def faults(tmp_path):
    return Faults(tmp_path)


class Writer(threading.Thread):
    """Appends 1, 2, 3 … to a list until the connection breaks. What is refused is tried again."""

    def __init__(self, server, key):
        super().__init__(daemon=True)
        self.server, self.key, self.acknowledged, self.refused = server, key, 0, 0

    def run(self):
        try:
            with self.server.client(timeout=60) as c:
                while True:
                    reply = c.ask("RPUSH", self.key, self.acknowledged + 1)
                    if isinstance(reply, wire.ReplyError):
                        assert str(reply).startswith("MISCONF"), reply
                        self.refused += 1
                        time.sleep(0.005)
                    else:
                        self.acknowledged += 1
                        assert reply == self.acknowledged
        except (OSError, EOFError):
            pass


@pytest.mark.parametrize("policy", ["everysec", "always"])
@pytest.mark.timeout(120 + 20 * ROUNDS)
def test_faults_and_kill_lose_and_double_nothing(faults, policy):
    rng = random.Random(f"{policy} {ROUNDS}")
    refused = 0
    words = ["--appendfsync", policy, *QUEUE]
    with servers.Server("queue", tls=False, extra=words, environment=faults.environment()) as server:
        for round_ in range(ROUNDS):
            writers = [Writer(server, f"list:{i}") for i in range(WRITERS)]
            [writer.start() for writer in writers]
            time.sleep(0.2)
            orders = rng.sample(FAULTS, rng.randrange(1, 5))
            for order in orders:
                faults.order(*order)
                if rng.random() < 0.6:
                    with server.client() as c:
                        c.ask("BGREWRITEAOF")
                time.sleep(rng.uniform(0.05, 0.6))
                if rng.random() < 0.5:
                    faults.order()
                    time.sleep(rng.uniform(0.05, 0.4))
            server.kill()
            faults.order()
            [writer.join(30) for writer in writers]
            server.extra = [*words, "--io-threads", IO_THREADS[round_ % len(IO_THREADS)]]
            server.restart()
            with server.client() as c:
                for writer in writers:
                    found = [int(n) for n in c.call("LRANGE", writer.key, 0, -1)]
                    expected = list(range(1, len(found) + 1))
                    assert found == expected, f"{orders}: what was lost or doubled begins at {first_difference(found)}"
                    more = len(found) - writer.acknowledged
                    assert more in (0, 1), f"{orders}: {writer.acknowledged} acknowledged, {len(found)} found"
                    assert writer.acknowledged > 0, "nothing was written"
                    refused += writer.refused
                c.call("FLUSHALL")
    assert refused > 0 or ROUNDS < 4, "no fault was felt"


def first_difference(found):
    return next((i for i, n in enumerate(found, 1) if n != i), None)


def test_a_write_waits_for_its_sync_as_configured_whatever_its_client_chooses_behind_it(faults):
    words = ["--appendfsync", "always", *QUEUE]
    with servers.Server("queue", tls=False, extra=words, environment=faults.environment()) as server:
        with server.client(timeout=30) as c:
            assert c.call("SET", "key", 0) == b"OK"
            faults.order(SYNCS, 0, 1000, 1)
            began = time.monotonic()
            requests = [("SET", "key", 1), ("CLIENT", "DURABILITY", "everysec"), ("SET", "key", 2)]
            c.send(b"".join(wire.encode(*request) for request in requests))
            assert [c.read() for _ in requests] == [b"OK"] * 3
            assert time.monotonic() - began > 0.9, "the first has not waited"
            faults.order()


@pytest.mark.parametrize("calls", [WRITES, SYNCS], ids=["writes", "syncs"])
@pytest.mark.parametrize("policy", ["everysec", "always"])
@pytest.mark.parametrize("threads", ["1", "4"])
@pytest.mark.timeout(180)
def test_who_does_not_write_is_answered_while_the_disk_stalls(faults, policy, calls, threads):
    words = ["--appendfsync", policy, "--io-threads", threads, *QUEUE]
    with servers.Server("queue", tls=False, extra=words, environment=faults.environment()) as server:
        readers = [server.client(timeout=30) for _ in range(8)]
        readers[0].call("SET", "key", "value")
        writer = Writer(server, "list")
        writer.start()
        for _ in range(2):
            ended = faults.stall(calls, 3000)
            for reader in readers:
                for _ in range(20):
                    assert reader.call("GET", "key") == b"value"
                    assert reader.call("PING") == b"PONG"
            assert faults.counts()[1] == ended, "the stall is over: the readers have waited for it"
            readers[0].ask("BGREWRITEAOF")
        faults.order()
        [reader.close() for reader in readers]

