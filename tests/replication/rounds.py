#!/usr/bin/env python3
"""Failover in rounds: three servers under three stock Sentinels, each pair on a machine of its own; the master is lost, and what
clients were told is held against what is there afterwards.

    rounds.py --rounds 100                               Tandem, min-replicas-acked 1
    rounds.py --rounds 30 --servers redis --way wait     Redis 7.0: plain, min-replicas-to-write 1, or WAIT 1 behind each write
    rounds.py --rounds 6 --kinds kill,stop --no-jobs     only these ways to lose it, without BullMQ

A round: writers write for a second; the master is lost in one of the ways of `KINDS`; Sentinels promote another one; what was lost comes
back and follows; then each write is looked up. The last lines count, over all rounds: what was acknowledged and is not there (lost), what
is there although its client was told that it was not done (undead), what is there more than once (doubled), jobs of BullMQ likewise, and
the time without service: from the begin of the first write that failed to the first that was acknowledged by the new master. It exits with
1 if anything but time was counted. Needs root: machines are network namespaces. `--seed` repeats the times and ways that were drawn.
"""

import argparse
import collections
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "differential")]

from harness import servers, wire  # noqa: E402
from harness.machines import Network  # noqa: E402
from machine import references  # noqa: E402

GROUP = "jobs"
PORT, SENTINEL_PORT = 6380, 26379
DOWN_AFTER_MS = 2000
FAILOVER_TIMEOUT_MS = 4000
# Sentinels try no second failover within twice their time-out.
BETWEEN_SECONDS = 2 * FAILOVER_TIMEOUT_MS / 1000 + 1
SETTLE_SECONDS_MAX = 90
JOBS_SECONDS_MAX = 60
CLIENT_SECONDS_MAX = 1
PAUSE_SECONDS = 0.002
WRITERS_FAR, WRITERS_NEAR = 4, 2
ANYWHERE = "0.0.0.0"
DONE, REFUSED, UNKNOWN = "done", "refused", "unknown"
BROKEN = (OSError, EOFError)
WAYS = {"tandem": ("acked",), "redis": ("plain", "to-write", "wait")}


def eventually(what, holds, seconds=SETTLE_SECONDS_MAX):
    """Waits until `holds` gives something true, and gives that."""
    deadline = time.monotonic() + seconds
    while True:
        value = holds()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not in {seconds} s: {what}")
        time.sleep(0.05)


# Servers and Sentinels ------------------------------------------------------------------------


class Program:
    """A process on a machine, which may be started again."""

    def __init__(self, machine, port, directory):
        self.machine, self.port, self.directory = machine, port, directory
        directory.mkdir()
        self.log = directory / "log"
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = self.machine.begin(self.command(), stdout=log, stderr=log, cwd=self.directory)

    def kill(self):
        self.process.kill()
        self.process.wait()

    @contextmanager
    def client(self, timeout=5):
        """From the machine itself, whatever is cut off."""
        with self.machine.inside():
            client = wire.Client(self.machine.address, self.port, timeout=timeout)
        with client:
            yield client

    def ask(self, *words):
        """The reply, an error among them; none where nobody answers."""
        try:
            with self.client(timeout=2) as c:
                return c.ask(*words)
        except BROKEN:
            return None


class Server(Program):
    """A queue that Sentinels look after."""

    def __init__(self, kind, way, machine, directory):
        super().__init__(machine, PORT, directory)
        self.kind, self.way = kind, way
        if kind == "redis":
            self.write_file()

    def write_file(self):
        lines = [f"port {PORT}", f"bind {ANYWHERE}", "protected-mode no", "appendonly yes", 'save ""', "repl-diskless-sync-delay 0",
                 "enable-debug-command yes"]
        if self.way == "to-write":
            lines += ["min-replicas-to-write 1", "min-replicas-max-lag 10"]
        (self.directory / "redis.conf").write_text("\n".join([*lines, ""]))

    def command(self):
        if self.kind == "redis":
            return ["redis-server", self.directory / "redis.conf"]
        return [servers.BINARIES / "tandem", "queue", "--port", PORT, "--bind", ANYWHERE, "--dir", self.directory, "--tls", "off",
                "--protected-mode", "no", "--metrics-port", 0, "--min-replicas-acked", 1, "--enable-debug-command", "yes"]

    def info(self):
        told = self.ask("INFO", "replication")
        if not isinstance(told, bytes):
            return {}
        return dict(line.split(":", 1) for line in told.decode().split("\r\n") if ":" in line)

    def follows(self, master):
        told = self.info()
        return (told.get("master_host"), told.get("master_link_status")) == (master.machine.address, "up")


class Sentinel(Program):
    """Redis' own, or Valkey's."""

    def __init__(self, binary, machine, master, directory):
        super().__init__(machine, SENTINEL_PORT, directory)
        self.binary = binary
        self.file = directory / "sentinel.conf"
        self.file.write_text(f"port {SENTINEL_PORT}\nbind {ANYWHERE}\nprotected-mode no\n"
                             f"sentinel monitor {GROUP} {master.machine.address} {PORT} 2\n"
                             f"sentinel down-after-milliseconds {GROUP} {DOWN_AFTER_MS}\n"
                             f"sentinel failover-timeout {GROUP} {FAILOVER_TIMEOUT_MS}\nsentinel parallel-syncs {GROUP} 2\n")

    def command(self):
        return [self.binary, self.file, "--sentinel"]

    def master(self):
        told = self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", GROUP)
        return told[0].decode() if isinstance(told, list) else None

    def is_content(self):
        """It knows two replicas and two others, and takes nobody for lost."""
        groups = [self.ask("SENTINEL", word, GROUP) for word in ("REPLICAS", "SENTINELS")]
        master = self.ask("SENTINEL", "MASTER", GROUP)
        if not isinstance(master, list) or not all(isinstance(group, list) for group in groups):
            return False
        told = [set(dict(zip(words[::2], words[1::2]))[b"flags"].split(b",")) for words in (master, *groups[0], *groups[1])]
        # Valkey's keep it of others that they took the former master for lost.
        return [flags - {b"master_down"} for flags in told] == [{b"master"}, {b"slave"}, {b"slave"}, {b"sentinel"}, {b"sentinel"}]


class Cluster:
    """Three of each, and the machines of clients: `far` ones, and those `near` a master that are cut off together with it."""

    def __init__(self, network, kind, way, sentinel, directory):
        machines = [network.machine(f"m{number}") for number in (1, 2, 3)]
        self.network = network
        self.far, self.near = network.machine("far"), network.machine("near")
        self.servers = [Server(kind, way, machine, directory / machine.name) for machine in machines]
        self.sentinels = [Sentinel(references.binary(sentinel), machine, self.servers[0], directory / f"{machine.name}s")
                          for machine in machines]

    def start(self):
        for server in self.servers:
            server.start()
        for server in self.servers:
            eventually("it answers", lambda server=server: server.ask("PING") == b"PONG")
        first, *others = self.servers
        for server in others:
            server.ask("REPLICAOF", first.machine.address, PORT)
        eventually("they follow", lambda: all(server.follows(first) for server in others))
        for sentinel in self.sentinels:
            sentinel.start()
        self.settle()

    def end(self):
        for program in (*self.sentinels, *self.servers):
            if program.process:
                program.kill()

    def server_at(self, address):
        return next((server for server in self.servers if server.machine.address == address), None)

    def master(self):
        """Whom all Sentinels name, if they agree."""
        named = {sentinel.master() for sentinel in self.sentinels}
        return self.server_at(named.pop()) if len(named) == 1 else None

    def settled(self):
        master = self.master()
        return (master and all(server is master or server.follows(master) for server in self.servers)
                and master.info().get("connected_slaves") == "2" and all(sentinel.is_content() for sentinel in self.sentinels) and master)

    def settle(self):
        return eventually("all is well again", self.settled)

    def successor(self, old):
        """Whom the Sentinels name that are not with the old master."""
        named = {sentinel.master() for sentinel in self.sentinels if sentinel.machine is not old.machine}
        new = self.server_at(named.pop()) if len(named) == 1 else None
        return new if new is not old else None


# Clients --------------------------------------------------------------------------------------

Write = collections.namedtuple("Write", "number begin end outcome address")


class Writer(threading.Thread):
    """Writes numbers, each once, at whomever a Sentinel names, and notes what it was told of each."""

    def __init__(self, name, machine, cluster, way):
        super().__init__(daemon=True)
        self.label, self.machine, self.cluster, self.way = name, machine, cluster, way
        self.writes, self.failures, self.number, self.is_over = [], [], 0, False

    def run(self):
        with self.machine.inside():
            while not self.is_over:
                began = time.monotonic()
                try:
                    self.write_on(self.find())
                except BROKEN:
                    self.failures.append(began)
                time.sleep(0.02)

    def find(self):
        for sentinel in random.sample(self.cluster.sentinels, 3):
            try:
                with wire.Client(sentinel.machine.address, SENTINEL_PORT, timeout=0.3) as c:
                    return c.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", GROUP)[0].decode()
            except (*BROKEN, wire.ReplyError, TypeError):
                continue
        raise EOFError("no Sentinel answers")

    def write_on(self, address):
        """On one connection, until it ends or a write is not done."""
        with wire.Client(address, PORT, timeout=CLIENT_SECONDS_MAX) as c:
            while not self.is_over:
                self.number += 1
                begin = time.monotonic()
                outcome = self.outcome(c)
                self.writes.append(Write(self.number, begin, time.monotonic(), outcome, address))
                if outcome != DONE:
                    return
                time.sleep(PAUSE_SECONDS)

    def outcome(self, client):
        try:
            reply = client.ask(*self.words(self.number))
            if isinstance(reply, wire.ReplyError):
                return UNKNOWN if reply.args[0].startswith("UNACKED ") else REFUSED
            # An error, too, is no number of replicas.
            if self.way == "wait" and client.ask("WAIT", 1, 500) not in (1, 2):
                return UNKNOWN
            return DONE
        except BROKEN:
            return UNKNOWN

    def words(self, number):
        """A value, an element of a list, and a script, in turn."""
        if number % 3 == 0:
            return "SET", f"{self.label}:{number}", number
        if number % 3 == 1:
            return "RPUSH", f"{self.label}:list", number
        return "EVAL", "return redis.call('INCRBY', KEYS[1], ARGV[1])", 1, f"{self.label}:{number}", number

    def end(self):
        self.is_over = True
        self.join(4 * CLIENT_SECONDS_MAX)
        assert not self.is_alive()

    def found(self, client):
        """How often each number is there."""
        elements = collections.Counter(map(int, client.call("LRANGE", f"{self.label}:list", 0, -1)))
        keys = [write.number for write in self.writes if write.number % 3 != 1]
        for at in range(0, len(keys), 1000):
            part = keys[at:at + 1000]
            values = client.call("MGET", *[f"{self.label}:{number}" for number in part])
            elements.update({number: int(value) / number for number, value in zip(part, values) if value})
        return elements


class Application:
    """BullMQ's producer and workers in a process of their own, on a machine far from all masters; they live through all rounds."""

    def __init__(self, cluster, directory):
        places = ",".join(f"{sentinel.machine.address}:{SENTINEL_PORT}" for sentinel in cluster.sentinels)
        self.told = collections.defaultdict(collections.Counter)
        program = TESTS / "clients" / "node" / "lib" / "failover-jobs.mjs"
        with open(directory / "application.log", "ab") as log:
            self.process = cluster.far.begin(["node", program, "mail", places], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            word, _, rest = line.strip().partition(" ")
            self.told[word][rest.partition(" ")[0]] += 1

    def waiting(self):
        """Jobs that were added and have not run."""
        return set(self.told["added"]) - set(self.told["done"])

    def settle(self):
        """Waits until all that was added before has run; what has not. Others are added all the time, and count for nothing."""
        before = self.waiting()
        try:
            eventually("all jobs have run", lambda: not before & self.waiting(), JOBS_SECONDS_MAX)
        except TimeoutError:
            pass
        return before & self.waiting()

    def is_working(self):
        """Jobs that are added now run."""
        before = sum(self.told["done"].values())
        try:
            eventually("jobs run", lambda: sum(self.told["done"].values()) > before + 5)
        except TimeoutError as problem:
            raise TimeoutError(f"{problem}; the application has told {self.counts()}") from problem

    def end(self):
        self.process.kill()
        self.process.wait()

    def counts(self, lost=frozenset()):
        done = self.told["done"]
        undead = set(self.told["refused"]) & set(done)
        if lost or undead:
            print(f"# jobs: lost {sorted(lost)}, undead {sorted(undead)}", flush=True)
        return {"jobs": len(done), "jobs_lost": len(lost), "jobs_undead": len(undead),
                "jobs_refused": len(self.told["refused"]), "jobs_unknown": len(self.told["unknown"]),
                "jobs_run_again": sum(done.values()) - len(done)}


# Ways to lose a master ------------------------------------------------------------------------


def kill(cluster, master):
    master.kill()
    return master.start


def stop(cluster, master):
    master.process.send_signal(signal.SIGSTOP)
    return lambda: master.process.send_signal(signal.SIGCONT)


def parting(with_clients=False, **how):
    """The master's machine, its Sentinel with it, is cut off."""
    def part(cluster, master):
        cluster.network.part([master.machine, *([cluster.near] if with_clients else [])], **how)
        return cluster.network.heal
    return part


KINDS = {"kill": kill, "stop": stop, "part": parting(), "deaf": parting(speaks=True), "mute": parting(hears=True),
         "part-with-clients": parting(with_clients=True)}
# About the time after which a master counts as lost: it may be back while another one is being made.
BRIEF = {"brief-stop": stop, "brief-part": parting(with_clients=True), "brief-kill": kill}


# Rounds ---------------------------------------------------------------------------------------


class Rounds:
    """All rounds of one cluster, and what they have counted."""

    def __init__(self, cluster, way, application, chance):
        self.cluster, self.way, self.application, self.chance = cluster, way, application, chance
        self.counts, self.without_service, self.ended_at = collections.Counter(), [], 0

    def play(self, number, kind):
        master = self.begin()
        writers = [Writer(f"r{number}f{n}", self.cluster.far, self.cluster, self.way) for n in range(WRITERS_FAR)]
        near = [Writer(f"r{number}n{n}", self.cluster.near, self.cluster, self.way) for n in range(WRITERS_NEAR)]
        for writer in (*writers, *near):
            writer.start()
        time.sleep(self.chance.uniform(0.7, 1.5))
        lost_at = time.monotonic()
        (self.lose_briefly if kind in BRIEF else self.lose)(kind, master, writers)
        new = self.cluster.settle()
        self.ended_at = time.monotonic()
        if self.application:
            self.application.is_working()
        for writer in (*writers, *near):
            writer.end()
        self.judge(number, kind, new, (*writers, *near))
        return self.time_without_service(writers, lost_at, master)

    def begin(self):
        """All is well, and Sentinels may try again."""
        master = self.cluster.settle()
        time.sleep(max(0, self.ended_at + BETWEEN_SECONDS - time.monotonic()))
        return master

    def lose(self, kind, master, writers):
        come_back = KINDS[kind](self.cluster, master)
        try:
            new = eventually("another one is master", lambda: self.cluster.successor(master))
            address = new.machine.address
            eventually("writes go on", lambda: all(any(write.outcome == DONE and write.address == address for write in writer.writes[-50:])
                                                   for writer in writers))
            time.sleep(self.chance.uniform(0, 2))
        finally:
            come_back()

    def lose_briefly(self, kind, master, writers):
        come_back = BRIEF[kind](self.cluster, master)
        time.sleep(DOWN_AFTER_MS / 1000 + self.chance.uniform(-0.2, 1.5))
        come_back()
        time.sleep(2 * DOWN_AFTER_MS / 1000)

    def judge(self, number, kind, master, writers):
        before = dict(self.counts)
        with master.client(timeout=30) as c:
            for writer in writers:
                self.judge_writer(writer, writer.found(c))
        self.judge_copies(master)
        grown = {name: self.counts[name] - before.get(name, 0) for name in ("lost", "undead", "doubled", "unequal")}
        if any(grown.values()):
            print(f"# round {number} ({kind}): {grown}", flush=True)
        with master.client(timeout=30) as c:
            for writer in writers:
                names = [f"{writer.label}:list", *(f"{writer.label}:{write.number}" for write in writer.writes)]
                c.call("UNLINK", *names)

    def judge_writer(self, writer, found):
        for write in writer.writes:
            times = found[write.number]
            self.counts[write.outcome] += 1
            self.counts["lost"] += write.outcome == DONE and times == 0
            self.counts["undead"] += write.outcome == REFUSED and times > 0
            self.counts["doubled"] += times > 1

    def judge_copies(self, master):
        """All have the same data before long."""
        if self.application:
            return
        try:
            eventually("all are equal", lambda: len({str(server.ask("DEBUG", "DIGEST")) for server in self.cluster.servers}) == 1, 10)
        except TimeoutError:
            self.counts["unequal"] += 1

    def time_without_service(self, writers, lost_at, old):
        """Seconds; none where nothing failed, or nobody else became master."""
        failed = [write.begin for writer in writers for write in writer.writes if write.outcome != DONE and write.end > lost_at]
        failed += [at for writer in writers for at in writer.failures if at > lost_at]
        again = [write.end for writer in writers for write in writer.writes
                 if write.outcome == DONE and write.begin > lost_at and write.address != old.machine.address]
        if not failed or not again:
            return None
        self.without_service.append(min(again) - min(failed))
        return self.without_service[-1]

    def result(self):
        times = sorted(self.without_service)
        counted = {name: self.counts[name] for name in ("done", "refused", "unknown", "lost", "undead", "doubled", "unequal")}
        if self.application:
            counted |= self.application.counts(self.application.settle())
        if times:
            counted |= {"without_service_p50_s": round(statistics.median(times), 2), "without_service_max_s": round(times[-1], 2)}
        return counted | {"failovers": len(times)}


def play_all(given, directory):
    chance = random.Random(given.seed)
    with Network() as network:
        cluster = Cluster(network, given.servers, given.way, given.sentinel, directory)
        application = None
        try:
            cluster.start()
            application = Application(cluster, directory) if given.jobs else None
            if application:
                application.is_working()
            rounds = Rounds(cluster, given.way, application, chance)
            for number in range(given.rounds):
                kind = given.kinds[number % len(given.kinds)]
                seconds = rounds.play(number, kind)
                print(f"round {number} {kind}: " + (f"{seconds:.2f} s without service" if seconds else "nobody else became master"), flush=True)
            return rounds.result()
        finally:
            if application:
                application.end()
            cluster.end()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--servers", choices=WAYS, default="tandem")
    parser.add_argument("--way", help="how writes are told to be done; for redis: plain, to-write or wait")
    parser.add_argument("--sentinel", choices=references.NAMES, default="7.0", help="whose Sentinels")
    parser.add_argument("--kinds", default=",".join(KINDS), help=", ".join([*KINDS, *BRIEF]))
    parser.add_argument("--no-jobs", dest="jobs", action="store_false", help="without BullMQ")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a new directory for data and logs, which stays")
    given = parser.parse_args()
    given.kinds = given.kinds.split(",")
    given.way = given.way or WAYS[given.servers][0]
    if given.way not in WAYS[given.servers] or not set(given.kinds) <= {*KINDS, *BRIEF}:
        parser.error("no such way or kind")
    return given


def main():
    given = arguments()
    with tempfile.TemporaryDirectory(prefix="tandem-rounds-") as made:
        directory = given.keep or Path(made)
        directory.mkdir(exist_ok=True)
        counted = play_all(given, directory)
    print(json.dumps({"rounds": given.rounds, "servers": given.servers, "way": given.way, "sentinel": given.sentinel, **counted}))
    return int(any(counted.get(name) for name in ("lost", "undead", "doubled", "unequal", "jobs_lost", "jobs_undead")))


if __name__ == "__main__":
    sys.exit(main())
