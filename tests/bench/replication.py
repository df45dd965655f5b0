#!/usr/bin/env python3
"""What a replica costs its master: processor time of a write, and time, bytes and memory of a full copy. Servers side by side.

    tests/bench/replication.py [options] NAME=COMMAND ...

Each COMMAND starts one server in the foreground, `{port}` and `{dir}` filled in. Master and replica are two of the same kind; the
servers take turns, round by round, and the median over the rounds is printed. Master and load stand on a processor each, the replica
beside the load.

cost      microseconds of the master's processor time for a SET in pipelines of 16, without and with one replica, and what the
          replica itself needs; the last column is the master's with a replica : that of the last server named.
copy      a data set of strings of 1 KiB and of hashes with ten fields: seconds until the replica is whole, MB of values a
          second, the master's processor time per MB, and its most memory meanwhile (proportional set size, children
          included, while one client overwrites) against before.

What is needed: redis-benchmark (Debian's redis-tools).
"""

import argparse
import os
import random
import re
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_SECONDS_MAX = 60
COPY_SECONDS_MAX = 600
STOP_SECONDS_MAX = 60
LOAD_BATCH = 500
MB = 1e6


def request(*words):
    words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


class Server:
    """A server that runs, and one connection to it."""

    def __init__(self, command, processor):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder = tempfile.mkdtemp(prefix="replication-cost-")
        words = shlex.split(command.format(port=self.port, dir=self.folder))
        self.log = open(os.path.join(self.folder, "log"), "wb")
        self.process = subprocess.Popen(["taskset", "-c", str(processor), *words], cwd=self.folder, stdout=self.log,
                                        stderr=subprocess.STDOUT)
        self.connection = self.connected()

    def connected(self):
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            try:
                connection = Connection(self.port)
                if connection.call("PING") == b"+PONG":
                    return connection
            except OSError:
                if self.process.poll() is not None:
                    break
            time.sleep(0.1)
        self.process.kill()
        sys.exit(f"{self.process.args} did not start; see {self.folder}/log")

    def info(self, section):
        text = self.connection.call("INFO", section).decode()
        return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)

    def processor_seconds(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])) / TICKS_PER_SECOND

    def resident_bytes(self):
        """Proportional set size of it and of its children."""
        total, left = 0, [self.process.pid]
        while left:
            pid = left.pop()
            try:
                total += int(re.search(r"^Pss:\s+(\d+)", open(f"/proc/{pid}/smaps_rollup").read(), re.M)[1]) * 1024
                for thread in os.listdir(f"/proc/{pid}/task"):
                    left += [int(child) for child in open(f"/proc/{pid}/task/{thread}/children").read().split()]
            except (FileNotFoundError, ProcessLookupError, TypeError):
                continue  # A child that has ended meanwhile.
        return total

    def follow(self, master):
        self.connection.call("REPLICAOF", "127.0.0.1", master.port)
        wait_for(lambda: self.info("replication").get("master_link_status") == "up", COPY_SECONDS_MAX)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS_MAX)
        self.file = self.socket.makefile("rb")

    def call(self, *words):
        """A line as it is, or the text of a bulk."""
        self.socket.sendall(request(*words))
        return self.reply()

    def reply(self):
        line = self.file.readline().rstrip(b"\r\n")
        if not line or line.startswith(b"-"):
            raise ConnectionError(line.decode() or "the server closed the connection")
        return self.file.read(int(line[1:]) + 2)[:-2] if line.startswith(b"$") else line


def wait_for(holds, seconds):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(f"it took longer than {seconds} s")
        time.sleep(0.02)


def load(server, megabytes, seed):
    """About so many bytes of values, half of them in strings, half in hashes."""
    numbers = random.Random(seed)
    count = int(megabytes * MB / 2 / 1024)
    requests = [request("SET", f"string:{i}", numbers.randbytes(1024)) for i in range(count)]
    fields = [[x for k in range(10) for x in (f"field{k}", numbers.randbytes(102))] for _ in range(100)]
    requests += [request("HSET", f"hash:{i}", *fields[i % 100]) for i in range(count)]
    for first in range(0, len(requests), LOAD_BATCH):
        batch = requests[first:first + LOAD_BATCH]
        server.connection.socket.sendall(b"".join(batch))
        for _ in batch:
            server.connection.reply()


def set_cost(command, with_replica, requests):
    """Microseconds of master and replica for a SET."""
    master = Server(command, 0)
    replica = Server(command, 1)
    try:
        if with_replica:
            replica.follow(master)
        before = [server.processor_seconds() for server in (master, replica)]
        subprocess.run(["taskset", "-c", "1", "redis-benchmark", "-p", str(master.port), "-c", "20", "-P", "16", "-n", str(requests),
                        "-r", "100000", "-q", "SET", "key:__rand_int__", "v" * 64],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if with_replica:
            end = master.info("replication")["master_repl_offset"]
            wait_for(lambda: int(replica.info("replication")["slave_repl_offset"]) >= int(end), COPY_SECONDS_MAX)
        after = [server.processor_seconds() for server in (master, replica)]
        return [(a - b) * 1e6 / requests for a, b in zip(after, before)]
    finally:
        replica.stop()
        master.stop()


class Overwriter(threading.Thread):
    """One client that overwrites strings at random, one at a time, until it is told to end; and the most memory of the server."""

    def __init__(self, server, megabytes):
        super().__init__()
        self.server, self.count = server, int(megabytes * MB / 2 / 1024)
        self.ends = threading.Event()
        self.resident_most = 0

    def run(self):
        connection, numbers = Connection(self.server.port), random.Random(3)
        while not self.ends.is_set():
            for _ in range(200):
                connection.call("SET", f"string:{numbers.randrange(self.count)}", numbers.randbytes(1024))
            self.resident_most = max(self.resident_most, self.server.resident_bytes())


def copy_cost(command, megabytes):
    """Seconds, the master's processor seconds, and its most memory : before."""
    master = Server(command, 0)
    replica = Server(command, 1)
    try:
        load(master, megabytes, 1)
        before = master.resident_bytes()
        spent = master.processor_seconds()
        writer = Overwriter(master, megabytes)
        writer.start()
        began = time.monotonic()
        replica.follow(master)
        seconds = time.monotonic() - began
        spent = master.processor_seconds() - spent
        writer.ends.set()
        writer.join()
        return [seconds, spent, writer.resident_most / before]
    finally:
        replica.stop()
        master.stop()


def medians(rounds):
    return [statistics.median(column) for column in zip(*rounds)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="+", metavar="NAME=COMMAND")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=1_000_000, help="of a run of SET")
    parser.add_argument("--megabytes", type=int, default=500, help="of a data set that is copied")
    parser.add_argument("--only", default="cost,copy")
    line = parser.parse_args()
    if shutil.which("redis-benchmark") is None:
        sys.exit("redis-benchmark is missing (Debian: redis-tools)")
    servers = dict(text.split("=", 1) for text in line.servers)
    if "cost" in line.only.split(","):
        alone, followed = ({name: [] for name in servers} for _ in range(2))
        for _ in range(line.rounds):
            for name, command in servers.items():
                alone[name].append(set_cost(command, False, line.requests))
                followed[name].append(set_cost(command, True, line.requests))
        print(f"{'us of a SET':<14}{'alone':>10}{'followed':>10}{'replica':>10}{'followed : last':>17}")
        figures = {name: (medians(alone[name])[0], *medians(followed[name])) for name in servers}
        last = list(figures.values())[-1][1]
        for name, (plain, master, replica) in figures.items():
            print(f"{name:<14}{plain:>10.2f}{master:>10.2f}{replica:>10.2f}{master / last:>17.2f}", flush=True)
    if "copy" in line.only.split(","):
        rounds = {name: [] for name in servers}
        for _ in range(line.rounds):
            for name, command in servers.items():
                rounds[name].append(copy_cost(command, line.megabytes))
        print(f"{'full copy':<14}{'seconds':>10}{'MB/s':>10}{'cpu ms/MB':>11}{'memory':>9}")
        for name in servers:
            seconds, spent, memory = medians(rounds[name])
            print(f"{name:<14}{seconds:>10.2f}{line.megabytes / seconds:>10.0f}{1e3 * spent / line.megabytes:>11.2f}{memory:>9.3f}", flush=True)


if __name__ == "__main__":
    main()
