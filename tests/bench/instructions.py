#!/usr/bin/env python3
"""Instructions per request of a whole server, counted by callgrind: a figure that a busy machine does not move.

    tests/bench/instructions.py BEFORE AFTER [--requests N] [--only get,set]

BEFORE and AFTER are server binaries (`tandem`, or a redis-server or valkey-server to look at). Each runs under
`valgrind --tool=callgrind`, which begins to count behind the start and a warm-up and ends before the stop: the total,
divided by N, is what one request costs from the socket to the reply. (A start is not the same twice: clocks are
calibrated against each other.) Requests come one at a time and in pipelines of 16, over a small set of keys.
`list` is an LPUSH and an RPOP of one key, and `queue` the same of a key that belongs to a queue of a library; `awaited` is that of a
key on which clients have waited, of whose jobs the server remembers when they came; `empty` is `queue` where the push creates the
key and the pop removes it. `job` is an EVALSHA that takes a job through several keys of a queue. `blpop:N` is an LPUSH that serves
the oldest of N clients blocked on one key, and that client's next BLPOP.

For requests at lists the last two columns tell what following queues costs in AFTER: the same requests at a server with
`queues-max 0`, where a queue's keys are as good as any, and the ratio. That of `awaited` is at its highest there: in valgrind a
request takes so long that each job comes in another millisecond.

What is not counted: the kernel, and the look at the allocator's figures, which the server takes once a second and which costs as
much as a hundred requests. It is known by its name, so a `tandem` must have names: `cargo build --profile symbols`. What else is
done once a second is little; each figure is the least of several lives, in which that happened least often. `ratio` is
AFTER : BEFORE.
"""

import argparse
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

KEYS = 100
PIPELINE = 16
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 60
CONTROL_SECONDS_MAX = 60
REPLY_SECONDS_MAX = 120
LIVES = 5
# The part of the requests that is sent before the counting begins: 1 in so many.
WARM_UP_PART = 4
# What a `tandem` does once a second that costs as much as many requests.
LOOK = "tandem_server::allocator::look"

SCRIPT = b"redis.call('SET', KEYS[1], ARGV[1]); return redis.call('GET', KEYS[1])"
# A job from one state of a queue to the next, as BullMQ's scripts take it.
JOB_SCRIPT = b"""
redis.call('LPUSH', KEYS[1], ARGV[1])
local job = redis.call('RPOPLPUSH', KEYS[1], KEYS[2])
redis.call('LREM', KEYS[2], 1, job)
redis.call('ZADD', KEYS[3], 1, job)
redis.call('ZPOPMIN', KEYS[3])
return job
"""
JOB_KEYS = ("bull:mail:wait", "bull:mail:active", "bull:mail:prioritized")
# Lists that are filled before the requests come; the last one is that on which clients have waited.
FILLED = ("list:mail:work", "bull:mail:wait", "mail:work:jobs")
# Requests with which it is measured what following queues costs, beside those that block.
AT_LISTS = ("list", "queue", "awaited", "empty", "job")


def request(*words):
    words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


class Client:
    """A connection that counts replies instead of reading them: only their number matters."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=REPLY_SECONDS_MAX)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def one(self, *words):
        """The reply's first line and, for a string, its text."""
        self.socket.sendall(request(*words))
        reply = b""
        while not reply.endswith(b"\r\n") or (reply.startswith(b"$") and reply.count(b"\r\n") < 2):
            reply += self.socket.recv(65536)
        if reply.startswith(b"-"):
            sys.exit(f"{words[0]}: {reply.decode().strip()}")
        return reply.split(b"\r\n")[-2]

    def blocked_clients(self):
        self.socket.sendall(request("INFO", "clients"))
        reply = b""
        while not reply.endswith(b"\r\n\r\n"):
            reply += self.socket.recv(65536)
        return int(re.search(rb"\r\nblocked_clients:(\d+)", reply)[1])

    def all(self, batch, reply_bytes):
        self.socket.sendall(batch)
        while reply_bytes > 0:
            got = self.socket.recv(1 << 20)
            if not got:
                sys.exit("the server closed the connection")
            reply_bytes -= len(got)
        if reply_bytes < 0:
            sys.exit("more came than was asked for")


def push_and_pop(key, value):
    return request("LPUSH", key, value) + request("RPOP", key)


def kinds(sha, job_sha):
    """name -> (the request for a key number, bytes of its reply after the warm-up)"""
    value = b"v" * 32
    return {
        "get": (lambda i: request("GET", f"string:{i:04}"), len(b"$32\r\n") + 34),
        "set": (lambda i: request("SET", f"string:{i:04}", value), len(b"+OK\r\n")),
        "hset": (lambda i: request("HSET", "hash", f"field:{i:04}", value), len(b":0\r\n")),
        "zadd": (lambda i: request("ZADD", "zset", i * 7 % KEYS, f"member:{i:04}"), len(b":0\r\n")),
        "list": (lambda i: push_and_pop("list:mail:work", value), len(b":6\r\n$32\r\n") + 34),
        "queue": (lambda i: push_and_pop("bull:mail:wait", value), len(b":6\r\n$32\r\n") + 34),
        "awaited": (lambda i: push_and_pop("mail:work:jobs", value), len(b":6\r\n$32\r\n") + 34),
        "empty": (lambda i: push_and_pop("bull:text:wait", value), len(b":1\r\n$32\r\n") + 34),
        "job": (lambda i: request("EVALSHA", job_sha, len(JOB_KEYS), *JOB_KEYS, value), len(b"$32\r\n") + 34),
        "evalsha": (lambda i: request("EVALSHA", sha, 1, f"string:{i:04}", value), len(b"$32\r\n") + 34),
    }


class Counted:
    """A server under callgrind."""

    def __init__(self, binary, follows):
        self.folder = Path(tempfile.mkdtemp(prefix="tandem-instructions-"))
        self.is_tandem = Path(binary).name.startswith("tandem")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        server = [binary, "server"] if self.is_tandem else [binary]
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "",
                   "--appendonly", "no", "--hz", "1"]
        if not follows:
            options += ["--queues-max", "0"]
        self.errors = (self.folder / "valgrind.log").open("wb")
        self.process = subprocess.Popen(
            ["valgrind", "--tool=callgrind", "--instr-atstart=no",
             f"--callgrind-out-file={self.folder}/callgrind.out", *server, *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.errors)
        self.client = self.connected()

    def connected(self):
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            try:
                client = Client(self.port)
                client.socket.sendall(request("PING"))
                if client.socket.recv(64) == b"+PONG\r\n":
                    return client
            except OSError:
                if self.process.poll() is not None:
                    break
            time.sleep(0.2)
        self.process.kill()
        sys.exit(f"the server did not start; see {self.folder}/valgrind.log")

    def count(self, is_on):
        subprocess.run(["callgrind_control", "-i", "on" if is_on else "off", str(self.process.pid)],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
                       timeout=CONTROL_SECONDS_MAX)

    def stop(self):
        """Total instructions counted in its life, but for looks at the allocator."""
        self.process.terminate()
        self.process.wait(STOP_SECONDS_MAX)
        self.errors.close()
        text = "".join(path.read_text(errors="replace") for path in self.folder.glob("callgrind.out*"))
        totals = re.findall(r"^(?:totals|summary): (\d+)", text, re.M)
        if not totals:
            sys.exit(f"callgrind left no total; see {self.folder}")
        if self.is_tandem and "tandem_server::" not in text:
            sys.exit("the binary has no names; build it with --profile symbols")
        shutil.rmtree(self.folder)
        return int(totals[-1]) - inclusive(text, LOOK)


def inclusive(profile, function):
    """Instructions of a function and of what it calls, 0 where it was not called. A profile of callgrind is in blocks, one for each
    function, with a line for each of its own lines and one for each call, behind which stands what that cost."""
    named = re.search(rf"^c?fn=(\(\d+\)) {re.escape(function)}$", profile, re.M)
    if named is None:
        return 0
    # A name is told once, and its number from then on.
    blocks = re.findall(rf"^fn={re.escape(named[1])}(?: .*)?\n((?:(?!fn=).*\n)*)", profile, re.M)
    return sum(int(cost) for block in blocks for cost in re.findall(r"^[+-]?[\d*]+ (\d+)$", block, re.M))


def cost(binary, kind, pipeline, requests, follows=True):
    """Instructions of a request, the least of several lives of a server."""
    return min(life(binary, kind, pipeline, requests, follows) for _ in range(LIVES))


def life(binary, kind, pipeline, requests, follows):
    """Instructions of one of so many requests."""
    server = Counted(binary, follows)
    try:
        if kind.startswith("blpop:"):
            return served_blocked(server, int(kind.removeprefix("blpop:")), requests)
        return served(server, kind, pipeline, requests)
    finally:
        server.process.kill()


def served(server, kind, pipeline, requests):
    shas = [server.client.one("SCRIPT", "LOAD", script).decode() for script in (SCRIPT, JOB_SCRIPT)]
    table = kinds(*shas)
    make, reply_bytes = table[kind]
    for i in range(KEYS):
        for warm in ("set", "hset", "zadd"):
            server.client.socket.sendall(table[warm][0](i))
            server.client.socket.recv(64)
    for name in ("mail", "text"):
        server.client.one("HSET", f"bull:{name}:meta", "version", "bullmq:6.0.0")
    have_waited(server, FILLED[-1], clients=2)
    for key in FILLED:
        server.client.one("LPUSH", key, *[b"v" * 32] * 5)
    each = [make(i) for i in range(KEYS)]
    batches = [b"".join(each[(first + n) % KEYS] for n in range(pipeline)) for first in range(KEYS)]

    def send(count):
        for n in range(count // pipeline):
            server.client.all(batches[n % KEYS], reply_bytes * pipeline)
    return counted(server, send, requests)


def have_waited(server, key, clients):
    """So many clients have waited on a key, so that it is a queue, and have gone."""
    waiting = [Client(server.port) for _ in range(clients)]
    for client in waiting:
        client.socket.sendall(request("BLPOP", key, "0"))
    while server.client.blocked_clients() < clients:
        time.sleep(0.1)
    for client in waiting:
        client.socket.close()
    while server.client.blocked_clients() > 0:
        time.sleep(0.1)


def counted(server, send, requests):
    """Instructions of each of so many requests, behind a warm-up of the same."""
    send(requests // WARM_UP_PART)
    server.count(True)
    send(requests)
    server.count(False)
    return server.stop() / requests


def served_blocked(server, count, rounds):
    """Instructions of a round at a server at which `count` clients wait for one list, one of which is served each round."""
    push, pop = request("LPUSH", "jobs", "x" * 32), request("BLPOP", "jobs", "0")
    waiting = deque(Client(server.port) for _ in range(count))
    for client in waiting:
        client.socket.sendall(pop)
    while server.client.blocked_clients() < count:
        time.sleep(0.1)

    def serve(count):
        for _ in range(count):
            server.client.all(push, len(b":1\r\n"))
            served = waiting.popleft()
            served.all(pop, len(b"*2\r\n$4\r\njobs\r\n$32\r\n") + 34)
            waiting.append(served)
    return counted(server, serve, rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--requests", type=int, default=10000, help="requests that are counted")
    every = "get,set,hset,zadd,list,queue,awaited,empty,evalsha,job,blpop:1,blpop:100,blpop:1000"
    parser.add_argument("--only", default=every)
    line = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is missing")
    follows = Path(line.after).name.startswith("tandem")
    print(f"{'request':<14}{'before':>10}{'after':>10}{'ratio':>8}{'unfollowed':>12}{'ratio':>8}")
    for kind in line.only.split(","):
        is_blocking = kind.startswith("blpop:")
        for pipeline in (1,) if is_blocking else (1, PIPELINE):
            before, after = (cost(binary, kind, pipeline, line.requests) for binary in (line.before, line.after))
            name = kind if pipeline == 1 else f"{kind} /{pipeline}"
            print(f"{name:<14}{before:>10.0f}{after:>10.0f}{after / before:>8.3f}", end="", flush=True)
            if follows and (is_blocking or kind in AT_LISTS):
                plain = cost(line.after, kind, pipeline, line.requests, follows=False)
                print(f"{plain:>12.0f}{after / plain:>8.3f}", end="")
            print(flush=True)


if __name__ == "__main__":
    main()
