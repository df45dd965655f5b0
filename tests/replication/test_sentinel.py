"""Stock Sentinels watch three Tandems: they find them, elect, promote and demote, and what replicas have acknowledged is there."""

import signal
import subprocess
import threading
import time

import pytest
from conftest import assert_equal, eventually, info
from harness import servers, wire
from machine import references
from test_history import counts, follow, tandem

NAME = "jobs"
# A failover takes the time after which a master counts as down, an election, and looks at INFO, which come once a second.
FAILOVER_SECONDS_MAX = 40


class Sentinel:
    """One process of Redis or Valkey in that mode."""

    def __init__(self, program, directory, master):
        self.port = servers.free_port()
        self.log = directory / f"sentinel-{self.port}.log"
        file = directory / f"sentinel-{self.port}.conf"
        file.write_text(f"port {self.port}\nbind 127.0.0.1\nsentinel monitor {NAME} 127.0.0.1 {master.port} 2\n"
                        f"sentinel down-after-milliseconds {NAME} 1500\nsentinel failover-timeout {NAME} 6000\n"
                        f"sentinel parallel-syncs {NAME} 2\n")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([program, str(file), "--sentinel"], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, cwd=directory)

    def ask(self, *words):
        with wire.Client("127.0.0.1", self.port, timeout=5) as c:
            return c.call("SENTINEL", *words)

    def master_port(self):
        try:
            return int(self.ask("GET-MASTER-ADDR-BY-NAME", NAME)[1])
        except (OSError, EOFError, wire.ReplyError, TypeError):
            return None

    def watches(self):
        """How many replicas, and how many others of its kind, it knows."""
        try:
            told = self.ask("MASTER", NAME)
        except (OSError, EOFError, wire.ReplyError):
            return None
        told = dict(zip(told[::2], told[1::2]))
        return int(told[b"num-slaves"]), int(told[b"num-other-sentinels"])

    def end(self):
        self.process.kill()
        self.process.wait()


class Jobs(threading.Thread):
    """Writes, each to whom a Sentinel names, and remembers what a replica has acknowledged."""

    def __init__(self, sentinel):
        super().__init__(daemon=True)
        self.sentinel = sentinel
        self.acknowledged = []
        self.is_over = False

    def run(self):
        number = 0
        while not self.is_over:
            try:
                with wire.Client("127.0.0.1", self.sentinel.master_port() or 1, timeout=1) as c:
                    while not self.is_over:
                        number += 1
                        if c.call("SET", f"job{number}", number) == b"OK" and c.call("WAIT", 1, 500) >= 1:
                            self.acknowledged.append(number)
            except (OSError, EOFError, wire.ReplyError):
                time.sleep(0.05)

    def end(self):
        self.is_over = True
        self.join(10)
        assert not self.is_alive()


def check(jobs, master):
    with master.client() as c:
        done = list(jobs.acknowledged)
        for at in range(0, len(done), 1000):
            part = done[at:at + 1000]
            assert c.call("MGET", *[f"job{n}" for n in part]) == [str(n).encode() for n in part]


def crash(server):
    server.kill()
    return server.restart


def halt(server):
    server.freeze()
    return lambda: server.process.send_signal(signal.SIGCONT)


def reports(server):
    try:
        with server.client(timeout=2) as c:
            return info(c)
    except (OSError, EOFError, wire.ReplyError, RuntimeError):
        return {}


def settled(sentinels, all_servers):
    """The master that all sentinels name, if all other servers follow it."""
    named = {sentinel.master_port() for sentinel in sentinels}
    master = all_servers.get(named.pop()) if len(named) == 1 else None
    if master is None or reports(master).get("connected_slaves") != str(len(all_servers) - 1):
        return None
    told = [reports(server) for server in all_servers.values() if server is not master]
    follows = [(one.get("master_port"), one.get("master_link_status")) == (str(master.port), "up") for one in told]
    return master if all(follows) else None


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["7.0", "valkey"])
def test_sentinels_fail_over_and_no_acknowledged_write_is_lost(kind, tmp_path):
    with tandem("queue", "--enable-debug-command", "yes") as first, tandem("queue", "--enable-debug-command", "yes") as second, \
            tandem("queue", "--enable-debug-command", "yes") as third:
        all_servers = {server.port: server for server in (first, second, third)}
        follow(second, first), follow(third, first)
        eventually("both follow", lambda: reports(first).get("connected_slaves") == "2")
        sentinels = [Sentinel(references.binary(kind), tmp_path, first) for _ in range(3)]
        jobs = Jobs(sentinels[0])
        try:
            eventually("they know all", lambda: all(s.watches() == (2, 2) for s in sentinels), FAILOVER_SECONDS_MAX)
            jobs.start()
            for end in (crash, halt):
                old = all_servers[sentinels[0].master_port()]
                before = len(jobs.acknowledged)
                eventually("it writes", lambda: len(jobs.acknowledged) > before + 50)
                begin_again = end(old)
                try:
                    new_port = eventually("another one is master", lambda: next(
                        (port for port in [s.master_port() for s in sentinels] if port not in (None, old.port)), None),
                        FAILOVER_SECONDS_MAX)
                    new, before = all_servers[new_port], len(jobs.acknowledged)
                    eventually("writes go on", lambda: len(jobs.acknowledged) > before + 50, FAILOVER_SECONDS_MAX)
                    check(jobs, new)
                finally:
                    begin_again()
                # On a loaded machine that may be yet another one by then.
                new = eventually("the others follow whom all sentinels name", lambda: settled(sentinels, all_servers), 2 * FAILOVER_SECONDS_MAX)
                assert counts(new)[1] >= 1, "the other replica went on where it was"
            jobs.end()
            for server in all_servers.values():
                if server is not new:
                    assert_equal(new, server)
            check(jobs, new)
        finally:
            jobs.is_over = True
            for sentinel in sentinels:
                sentinel.end()
