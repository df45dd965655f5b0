"""Queues of no library: every key on which a client has waited, and every group of a stream. XINFO and LLEN say the same."""

import random
import time

import pytest
from harness import servers, wire
from harness.queues import Report, text

BLOCKING = {
    "BLPOP": ("list", lambda key: ("BLPOP", key, "0")),
    "BRPOP": ("list", lambda key: ("BRPOP", key, "0")),
    "BRPOPLPUSH": ("list", lambda key: ("BRPOPLPUSH", key, "taken:" + key, "0")),
    "BLMOVE": ("list", lambda key: ("BLMOVE", key, "taken:" + key, "LEFT", "LEFT", "0")),
    "BLMPOP": ("list", lambda key: ("BLMPOP", "0", "1", key, "LEFT")),
    "BZPOPMIN": ("zset", lambda key: ("BZPOPMIN", key, "0")),
    "BZPOPMAX": ("zset", lambda key: ("BZPOPMAX", key, "0")),
    "BZMPOP": ("zset", lambda key: ("BZMPOP", "0", "1", key, "MIN")),
}
STEPS = 200


class Waiters:
    """Clients that wait, each with one command sent."""

    def __init__(self, server, db=0):
        self.server, self.db, self.clients = server, db, []

    def add(self, *command):
        client = self.server.client()
        client.call("SELECT", self.db)
        client.send(wire.encode(*command))
        self.clients.append(client)

    def close(self, client=None):
        gone = [client] if client else self.clients
        for one in gone:
            one.close()
        self.clients = [c for c in self.clients if c not in gone]


@pytest.fixture
def waiters(server):
    waiters = Waiters(server)
    yield waiters
    waiters.close()


def put(client, kind, key, count):
    for i in range(count):
        client.call("LPUSH", key, "x") if kind == "list" else client.call("ZADD", key, i, f"m{time.monotonic_ns()}")


@pytest.mark.parametrize("command", BLOCKING)
def test_what_a_client_waits_on_is_a_queue_from_then_on(server, report, waiters, command):
    kind, words = BLOCKING[command]
    put(report.client, kind, "mail", 1)
    assert report.queues() == []  # a key like another
    report.client.call("DEL", "mail")
    for _ in range(2):
        waiters.add(*words("mail"))
    report.wait_for_workers("mail", kind, 2)
    assert report.names() == ["mail"]
    put(report.client, kind, "mail", 2)
    report.wait_for_workers("mail", kind, 0)
    put(report.client, kind, "mail", 3)
    said = report.assert_tells("mail", kind, {"waiting": 3}, command, [time.time()])
    assert [said[field] for field in ("key", "added", "taken")] == ["mail", 5, 2]
    assert report.sample("tandem_queue_added_total", "mail", kind) == {kind: 5}
    assert report.sample("tandem_queue_taken_total", "mail", kind) == {kind: 2}


def test_a_list_after_every_step_of_random_work(server, report, waiters):
    """Clients wait, come and go; what comes in first is taken first."""
    choose, client = random.Random(1), report.client
    waiters.add("BRPOP", "mail", "0")
    report.wait_for_workers("mail", "list", 1)
    depth, waiting, added, taken = 0, 1, 0, 0
    for i in range(STEPS):
        step = choose.choice(["push", "push", "pop", "wait", "leave", "trim"])
        if step == "push":
            count = choose.randint(1, 4)
            client.call("LPUSH", "mail", *"x" * count)
            served = min(count, waiting)
            depth, waiting, added, taken = depth + count - served, waiting - served, added + count, taken + served
        elif step == "pop" and depth:
            client.call("RPOP", "mail")
            depth, taken = depth - 1, taken + 1
        elif step == "wait" and not depth:
            waiters.add("BRPOP", "mail", "other", "0")
            waiting += 1
        elif step == "leave" and waiting:
            waiting -= leave(report, waiters)
        elif step == "trim" and depth > 5:
            client.call("LTRIM", "mail", "0", "3")
            depth, taken = 4, taken + depth - 4
        report.wait_for_workers("mail", "list", waiting)
        said = report.assert_tells("mail", "list", {"waiting": depth}, f"step {i} ({step})")
        assert (said["added"], said["taken"]) == (added, taken), f"step {i} ({step})"
    assert added > 100 and taken > 100


def leave(report, waiters):
    """The connection of one client that still waits ends: how many do so."""
    for client in waiters.clients:
        client.socket.settimeout(0)
        try:
            client.read()
        except BlockingIOError:
            waiters.close(client)
            return 1
        waiters.close(client)
    return 0


def test_age_of_the_oldest_in_a_list_that_is_first_in_first_out(report, waiters):
    client = report.client
    waiters.add("BRPOP", "mail", "0")
    report.wait_for_workers("mail", "list", 1)
    client.call("LPUSH", "mail", "taken at once", "old")
    old = time.time()
    time.sleep(1.5)  # three times what an age may be off
    client.call("LPUSH", "mail", *["new"] * 100)
    new = time.time()
    report.assert_tells("mail", "list", {"waiting": 101}, "old and new", [old])
    client.call("RPOP", "mail")
    report.assert_tells("mail", "list", {"waiting": 100}, "new", [new])
    client.call("DEL", "mail")
    said = report.queue("mail")
    assert said is None or (said["states"], said["oldest_age_ms"]) == ({"waiting": 0}, None)


def groups(client):
    found = {}
    for group in text(client.call("XINFO", "GROUPS", "orders")):
        found[group["name"]] = group
    return found


STREAM_STEPS = {
    "add": 10, "read": 8, "acknowledge": 6, "delete": 0.2, "trim": 0.2, "claim": 1, "move the group": 0.4, "new group": 1, "destroy": 1,
}


class StreamWalk:
    def __init__(self, client, seed):
        self.client, self.random = client, random.Random(seed)
        self.client.call("XGROUP", "CREATE", "orders", "first", "0", "MKSTREAM")

    def group(self):
        return self.random.choice(list(groups(self.client)) or ["first"])

    def pending(self, group):
        return [entry[0] for entry in self.client.call("XPENDING", "orders", group, "-", "+", "100")]

    def some_id(self):
        ids = [entry[0] for entry in self.client.call("XRANGE", "orders", "-", "+")]
        return self.random.choice(ids) if ids else "0-1"

    def step(self):
        name = self.random.choices(list(STREAM_STEPS), STREAM_STEPS.values())[0]
        group = self.group()
        ids = self.pending(group)
        if name == "add":
            for _ in range(self.random.randint(1, 3)):
                self.client.call("XADD", "orders", "*", "f", "v")
        elif name == "read":
            self.client.call("XREADGROUP", "GROUP", group, "c", "COUNT", self.random.randint(1, 3), "STREAMS", "orders", ">")
        elif name == "acknowledge" and ids:
            self.client.call("XACK", "orders", group, *self.random.sample(ids, 1))
        elif name == "delete":
            self.client.call("XDEL", "orders", self.some_id())
        elif name == "trim":
            self.client.call("XTRIM", "orders", "MAXLEN", "10")
        elif name == "claim" and ids:
            self.client.call("XCLAIM", "orders", group, "other", "0", self.random.choice(ids))
        elif name == "move the group":
            self.client.call("XGROUP", "SETID", "orders", group, self.random.choice(["0", "$"]))
        elif name == "new group":
            self.client.ask("XGROUP", "CREATE", "orders", self.random.choice(["second", "third"]), self.random.choice(["0", "$"]))
        elif name == "destroy" and group != "first":
            self.client.call("XGROUP", "DESTROY", "orders", group)
        return name


def test_stream_groups_after_every_step_of_random_work(server, report, waiters):
    walk = StreamWalk(report.client, 1)
    waiters.add("XREADGROUP", "GROUP", "first", "c", "BLOCK", "0", "STREAMS", "orders", ">")
    report.wait_for_workers("orders/first", "stream", 1)
    waiters.close()
    report.wait_for_workers("orders/first", "stream", 0)
    most, unknown = {}, 0
    for i in range(STEPS):
        where = f"step {i} ({walk.step()})"
        found = groups(report.client)
        for name, group in found.items():
            states = {"pending": group["pending"], **({} if group["lag"] is None else {"waiting": group["lag"]})}
            report.assert_tells(f"orders/{name}", "stream", states, where)
            most = {state: max(most.get(state, 0), depth) for state, depth in states.items()}
            unknown += group["lag"] is None
        assert set(report.names("stream")) == {f"orders/{name}" for name in found}, where
    assert min(most.values()) > 3 and unknown


def test_workers_of_a_stream(report, waiters):
    report.client.call("XGROUP", "CREATE", "orders", "first", "$", "MKSTREAM")
    for consumer in ("a", "b"):
        waiters.add("XREADGROUP", "GROUP", "first", consumer, "BLOCK", "0", "STREAMS", "orders", ">")
    report.wait_for_workers("orders/first", "stream", 2)
    report.client.call("XADD", "orders", "*", "f", "v")
    report.wait_for_workers("orders/first", "stream", 1)


def test_age_of_the_oldest_entry_that_a_group_has_not_read(report, waiters):
    client, since = report.client, time.time() - 500
    client.call("XGROUP", "CREATE", "orders", "first", "$", "MKSTREAM")
    waiters.add("XREADGROUP", "GROUP", "first", "c", "BLOCK", "0", "STREAMS", "orders", ">")
    report.wait_for_workers("orders/first", "stream", 1)
    waiters.close()
    report.wait_for_workers("orders/first", "stream", 0)
    client.call("XADD", "orders", f"{int(since * 1000)}-0", "f", "v")
    client.call("XADD", "orders", f"{int((since + 300) * 1000)}-0", "f", "v")
    report.assert_tells("orders/first", "stream", {"waiting": 2, "pending": 0}, "two", [since])
    client.call("XREADGROUP", "GROUP", "first", "c", "COUNT", "1", "STREAMS", "orders", ">")
    report.assert_tells("orders/first", "stream", {"waiting": 1, "pending": 1}, "one is read", [since + 300])


def test_a_client_that_waits_on_many_keys_is_a_worker_of_each(report, waiters):
    waiters.add("BLPOP", "a", "b", "c", "0")
    for name in "abc":
        report.wait_for_workers(name, "list", 1)
    report.client.call("RPUSH", "b", "x")
    for name in "abc":
        report.wait_for_workers(name, "list", 0)


def test_databases_have_queues_of_their_own(server, report):
    with server.client(protocol=3) as client:
        client.call("SELECT", "7")
        waiters = Waiters(server, 7)
        waiters.add("BLPOP", "mail", "0")
        report.wait_for_workers("db7/mail", "list", 1)
        assert report.names() == ["db7/mail"] and report.queue("mail") is None
        assert (report.queue("db7/mail")["db"], report.queue("db7/mail")["key"]) == (7, "mail")
        waiters.close()


def test_after_a_restart_the_queues_of_libraries_are_told_again(tmp_path):
    with servers.Server("queue", tls=False, reference=False) as server:
        with server.client() as client:
            client.call("HSET", "bull:mail:meta", "version", "bullmq:6.7.0")
            client.call("LPUSH", "bull:mail:wait", "1", "2")
            client.call("SADD", "rq:queues", "rq:queue:sms")
            client.call("RPUSH", "rq:queue:sms", "job")
        before = told(server)
        server.stop()
        server.restart()
        assert [(q["name"], q["kind"], q["states"]) for q in before] == [(q["name"], q["kind"], q["states"]) for q in told(server)]
        assert [q["name"] for q in before] == ["mail", "sms"]


def told(server):
    report = Report(server)
    try:
        return report.queues()
    finally:
        report.close()
