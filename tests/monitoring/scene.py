"""A dozen servers of which most are in some trouble, each in one of its own, and two that are well.

`TROUBLES` names what is done to whom and which alerts must follow; nothing else may fire. Each trouble is a generator: what stands
before its `yield` makes the trouble, what stands behind it ends it.
"""

import contextlib
import errno
import shutil
import socket
import threading
import time

from harness import servers, wire
from harness.faults import RENAMES, SYNCS, WRITES, Faults

SMALL = ["--maxmemory", "4mb", "--maxmemory-clients", "0"]
CONNECTIONS = 1001
# Many small waits of a thread that makes traffic.
PAUSE_SECONDS = 0.02


class Scene:
    """The servers by name, and the threads that use them."""

    def __init__(self, folder):
        self.folder = folder
        self.stack = contextlib.ExitStack()
        self.faults = {name: Faults(self.made(name)) for name in ("faulty", "slow")}
        self.token = folder / "token"
        self.token.write_text(servers.password())
        self.token.chmod(0o600)
        self.over = threading.Event()
        self.servers = {}

    def archives(self, name):
        """Words for a server that archives to a folder of its own."""
        return ["--backup-repository", str(self.made(f"archive-of-{name}")), "--backup-unencrypted", "yes", "--backup-interval", "1"]

    def made(self, name):
        (self.folder / name).mkdir()
        return self.folder / name

    def __enter__(self):
        own_certificates = ["--tls", "optional"]
        for name, kind, words in (
            ("cache", "cache", own_certificates), ("queue", "queue", [*own_certificates, *self.archives("queue")]), ("gone", "cache", []), ("restless", "cache", []),
            ("full", "queue", SMALL), ("thrashing", "cache", SMALL), ("crowded", "cache", ["--maxclients", str(CONNECTIONS)]),
            ("busy", "cache", ["--busy-reply-threshold", "100"]), ("faulty", "queue", []), ("slow", "queue", []),
            ("jammed", "queue", ["--queues-max", "1"]), ("lonely", "queue", ["--min-replicas-acked-timeout", "200"]), ("unsaved", "queue", [*self.archives("unsaved"), "--backup-backlog-max", "0"]),
        ):
            faults = self.faults.get(name)
            self.begin(name, kind, extra=words, tls=False, environment=faults and faults.environment())
        # Its certificate is one of two days.
        self.begin("guarded", "cache", extra=["--metrics-tls", "yes", "--metrics-token-file", str(self.token)])
        for user in (use_cache, use_queue, thrash):
            self.use(user)
        return self

    def __exit__(self, *_):
        self.over.set()
        self.stack.close()

    def begin(self, name, kind, **more):
        server = servers.Server(kind, **more)
        self.servers[name] = self.stack.enter_context(server)

    def use(self, user):
        """Has a thread call it again and again."""
        def work():
            with contextlib.suppress(OSError, EOFError):
                for turn in user(self.servers):
                    if self.over.wait(PAUSE_SECONDS):
                        break
                    del turn
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self.stack.callback(thread.join, 20)

    def targets(self):
        return {name: server.metrics_port for name, server in self.servers.items() if name != "guarded"}


# Users ----------------------------------------------------------------------------------------


def use_cache(there):
    with there["cache"].client() as c:
        for number in range(1 << 20):
            c.pipeline([("SET", f"k{number % 100}", "v", "EX", 1000), ("GET", f"k{number % 50}"), ("GET", "none"),
                        ("SET", "short", "v", "PX", 1), ("NOSUCH",)])
            yield


def use_queue(there):
    """Jobs of BullMQ's form come and go; one waits for ever, and one has failed, since the start."""
    now_ms = int(time.time() * 1000)
    with there["queue"].client() as c, there["queue"].client() as worker:
        c.call("SET", "lasts", "v", "EX", 1000)
        add_jobs(c, "mail", ["stays"], now_ms)
        c.call("HSET", "bull:mail:broken", "timestamp", now_ms, "finishedOn", now_ms)
        c.call("ZADD", "bull:mail:failed", now_ms, "broken")
        worker.send(wire.encode("BZPOPMIN", "bull:mail:marker", 0))
        for number in range(1 << 20):
            c.pipeline([("LPUSH", "bull:mail:wait", number), ("LMOVE", "bull:mail:wait", "bull:mail:active", "LEFT", "LEFT"),
                        ("LREM", "bull:mail:active", 1, number), ("ZADD", "bull:mail:completed", now_ms, number % 100),
                        ("LPUSH", "work", number), ("RPOP", "work"), ("NOSUCH",)])
            yield


def add_jobs(c, queue, names, since_ms):
    """As BullMQ keeps them."""
    c.call("HSET", f"bull:{queue}:meta", "opts.maxLenEvents", 10000, "version", "bullmq:6.7.0")
    for name in names:
        c.call("HSET", f"bull:{queue}:{name}", "timestamp", since_ms, "name", "send")
    c.call("LPUSH", f"bull:{queue}:wait", *names)


def thrash(there):
    with there["thrashing"].client() as c:
        for number in range(1 << 20):
            c.pipeline([("SET", f"k{number}:{part}", "v" * 1000) for part in range(50)])
            yield


# Troubles -------------------------------------------------------------------------------------


def down(scene, _):
    scene.servers["gone"].kill()
    yield
    scene.servers["gone"].restart()


def restarts(scene, prometheus):
    """Each start is seen before the next one, and is in a second of its own."""
    server = scene.servers["restless"]
    started = 'redis_start_time_seconds{instance="restless"}'
    for _ in range(3):
        before = prometheus.until(lambda: prometheus.query(started), "no start is seen")[0][1]
        server.kill()
        time.sleep(max(0, before + 1.05 - time.time()))
        server.restart()
        prometheus.until(lambda: any(value > before for _, value in prometheus.query(started)), "the new start is not seen")
    yield


def full(scene, prometheus):
    """Filled to more than eight tenths at first, and to the brim when that was noticed."""
    with scene.servers["full"].client() as c:
        limit = int(c.call("CONFIG", "GET", "maxmemory")[1])
        used = 0
        while used < 0.82 * limit:
            c.call("RPUSH", "jobs", "x" * 20_000)
            used = int(next(line for line in c.call("INFO", "memory").decode().splitlines() if line.startswith("used_memory:"))[12:])
        prometheus.until(lambda: ("TandemMemoryHigh", "full") in prometheus.firing(), "memory above 80 % is not noticed")
        with contextlib.suppress(wire.ReplyError):
            for _ in range(1000):
                c.call("RPUSH", "jobs", "x" * 20_000)
        yield
        c.call("DEL", "jobs")


def crowded(scene, prometheus):
    server = scene.servers["crowded"]
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
        seen = f'redis_connected_clients{{instance="crowded"}} >= {CONNECTIONS}'
        prometheus.until(lambda: prometheus.query(seen), "the connections are not seen")
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as refused:
            assert b"max number of clients" in refused.recv(200)
        yield


def busy(scene, _):
    server = scene.servers["busy"]
    with server.client() as c, server.client() as other:
        c.send(wire.encode("EVAL", "while true do end", 0))
        yield
        assert other.call("SCRIPT", "KILL") == b"OK"


def faulty(scene, _):
    """The log's files cannot be written, renamed or synced; where the snapshot belongs there is a folder that holds something."""
    faults, server = scene.faults["faulty"], scene.servers["faulty"]
    with server.client() as writer, server.client() as c:
        (server.data() / "dump.rdb" / "inside").mkdir(parents=True)
        faults.order(WRITES | SYNCS | RENAMES, errno.EIO, 0, 1)
        # Its reply waits until the log can be written again.
        writer.send(wire.encode("SET", "k", 1))
        c.ask("BGREWRITEAOF")
        c.ask("BGSAVE", "SCHEDULE")
        yield
        faults.order()
        shutil.rmtree(server.data() / "dump.rdb")
        assert writer.read() == b"OK"
        # Where the server does so by itself, it says that one is in progress.
        c.ask("BGREWRITEAOF")
        c.ask("BGSAVE", "SCHEDULE")


def slow(scene, _):
    faults = scene.faults["slow"]
    with scene.servers["slow"].client(timeout=60) as c:
        faults.order(SYNCS, 0, 6000, 1)
        c.call("SET", "k", 1)
        yield
        faults.order()


def jammed(scene, prometheus):
    """One queue that nobody takes from, deep and old, in which jobs have failed; and one more than are followed."""
    now_ms = int(time.time() * 1000)
    with scene.servers["jammed"].client() as c:
        add_jobs(c, "mail", range(501), now_ms - 600_000)
        seen = 'tandem_queue_depth{instance="jammed", state="failed"} == 0'
        prometheus.until(lambda: prometheus.query(seen), "the queue is not seen")
        for number in range(11):
            c.call("ZADD", "bull:mail:failed", now_ms, f"failed{number}")
        add_jobs(c, "unseen", ["1"], now_ms)
        yield
        c.call("FLUSHALL")


def unsaved(scene, prometheus):
    """The repository is away, and a rewrite replaces what it does not have."""
    place = scene.folder / "archive-of-unsaved"
    with scene.servers["unsaved"].client() as c:
        c.call("SET", "k", 1)
        seen = 'tandem_backup_last_success_timestamp_seconds{instance="unsaved"} > 0'
        prometheus.until(lambda: prometheus.query(seen), "nothing is archived")
        place.rename(place.with_name("moved"))
        c.call("SET", "k", 2)
        # Where the server does so by itself, it says that one is in progress.
        c.ask("BGREWRITEAOF")
        yield
        place.with_name("moved").rename(place)


def lonely(scene, prometheus):
    """Its replica is there, takes what it is sent, and acknowledges nothing."""
    server = scene.servers["lonely"]
    with server.client() as c, server.client() as replica:
        replica.send(wire.encode("PSYNC", "?", -1))

        def is_online():
            replica.send(wire.encode("REPLCONF", "ACK", 0))
            return b"state=online" in c.call("INFO", "replication")

        prometheus.until(is_online, "it does not follow")
        seen = 'tandem_unreplicated_refusals_total{instance="lonely"} == 0'
        prometheus.until(lambda: prometheus.query(seen), "that it is well is not seen")
        c.call("CONFIG", "SET", "min-replicas-acked", 1)
        assert c.ask("SET", "k", 1).args[0].startswith("UNACKED ")
        assert c.ask("SET", "k", 2).args[0].startswith("NOREPLICAS ")
        yield
        c.call("CONFIG", "SET", "min-replicas-acked", 0)


def nothing(_scene, _prometheus):
    """What is wrong is so from the start."""
    yield


# What is done to whom, and which alerts tell it.
TROUBLES = [
    (down, "gone", ["TandemDown"]),
    (restarts, "restless", ["TandemRestarts"]),
    (full, "full", ["TandemMemoryHigh", "TandemRefusesWrites"]),
    (crowded, "crowded", ["TandemConnectionsHigh", "TandemRefusesConnections"]),
    (busy, "busy", ["TandemBusy"]),
    (faulty, "faulty", ["TandemLogFault", "TandemLogRewriteFails", "TandemSnapshotFails"]),
    (slow, "slow", ["TandemLogSyncsLate"]),
    (jammed, "jammed", ["TandemQueueDeep", "TandemQueueLate", "TandemQueueFails", "TandemQueueWithoutWorkers", "TandemQueuesNotFollowed"]),
    (lonely, "lonely", ["TandemTooFewReplicas", "TandemUnacknowledged"]),
    (unsaved, "unsaved", ["TandemBackupLate", "TandemBackupGap"]),
    (nothing, "thrashing", ["TandemCacheFilling", "TandemCacheThrashes"]),
    (nothing, "guarded", ["TandemCertificateEnds"]),
]
