"""All that is kept of the queues has a bound, and to tell of them is no work for the keys that are none."""

import re
import subprocess
from urllib.request import urlopen

import pytest
from harness import servers
from harness.queues import Report, until

MOST = 50
QUEUES = 1000
OTHER_KEYS = 100_000
TOLD_TIMES = 3


def pipelined(client, commands):
    for at in range(0, len(commands), 1000):
        client.pipeline(commands[at:at + 1000])


def make_queues(client, numbers):
    """BullMQ's queues, with a job each."""
    pipelined(client, [command for n in numbers for command in (
        ("HSET", f"bull:q{n:05}:meta", "version", "bullmq:6.7.0"), ("LPUSH", f"bull:q{n:05}:wait", "1"))])


def scrape(server):
    with urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=60) as answer:
        return answer.read().decode()


def dropped(server):
    return int(re.search(r"^tandem_queues_dropped_total (\d+)$", scrape(server), re.M)[1])


@pytest.fixture
def few():
    with servers.Server("queue", tls=False, reference=False, extra=["--queues-max", str(MOST)]) as server:
        report = Report(server)
        yield report
        report.close()


def test_no_more_queues_are_followed_than_there_may_be_and_that_is_told(few):
    make_queues(few.client, range(200))
    names = [f"q{n:05}" for n in range(MOST)]
    assert few.names() == names
    assert dropped(few.server) == 150
    assert {labels["queue"] for labels, _ in few.samples("tandem_queue_depth")} == set(names)
    assert b"queues_dropped:150" in few.client.call("INFO")
    until("the log to tell", lambda: "There are more queues than" in few.server.log.read_text())
    # Nor by those that somebody waits on.
    waiting = [few.server.client() for _ in range(20)]
    for n, client in enumerate(waiting):
        client.send(b"*3\r\n$5\r\nBLPOP\r\n$5\r\nkey%02d\r\n$1\r\n0\r\n" % n)
    until("all to wait", lambda: b"blocked_clients:20\r" in few.client.call("INFO", "clients"))
    assert few.names() == names
    for client in waiting:
        client.close()
    assert few.server.log.read_text().count("There are more queues than") == 1


def test_a_queue_that_is_gone_makes_room(few):
    make_queues(few.client, range(MOST + 1))
    assert "q00050" not in few.names()
    few.client.call("DEL", "bull:q00007:meta", "bull:q00007:wait")
    assert len(few.names()) == MOST - 1
    make_queues(few.client, [60])
    assert few.names() == [f"q{n:05}" for n in range(MOST) if n != 7] + ["q00060"]


def test_none_is_followed_where_none_may_be(few):
    make_queues(few.client, range(10))
    few.client.call("CONFIG", "SET", "queues-max", "0")
    make_queues(few.client, range(10, 20))
    assert few.queues() == [] and few.queue("q00001") is None and few.samples("tandem_queue_depth") == []


def test_memory_for_the_queues_is_bounded_and_counted(few):
    """Twenty times as many queues as there may be take no more than the keys themselves."""
    def used_beside_keys():
        stats = few.client.call("MEMORY", "STATS")
        return int(stats[b"queues"])
    make_queues(few.client, range(MOST))
    full = used_beside_keys()
    assert 0 < full < MOST * 10_000
    make_queues(few.client, range(MOST, 20 * MOST))
    few.queues()
    assert used_beside_keys() == full


def test_whatever_a_queue_is_called_prometheus_can_read_it(few):
    names = [b'quotes "and\\backslashes"', b"a", b"a\\", b"a\\\\", b"a\\\\\\", b'a\\"', b"a\\n", b"a\n", b"a\0", b"a\x1b[31m", "grüße \U0001f600".encode(), b"\xff\xfe no text", b"\xfe\xff no text", b"{slot}", b"{}", b" "]
    for name in names:
        few.client.call("HSET", b"bull:%b:meta" % name, "version", "bullmq:6.7.0")
        few.client.call("LPUSH", b"bull:%b:wait" % name, "1")
    shown = {name.decode(errors="backslashreplace").replace("\n", r"\x0a").replace("\0", r"\x00").replace("\x1b", r"\x1b") for name in names}
    assert {q[b"name"].decode() for q in few.client.call("TANDEM", "QUEUES")} == shown and len(shown) == len(names)
    text = scrape(few.server)
    done = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, timeout=30)
    told = (done.stdout + done.stderr).decode()
    assert done.returncode in (0, 3) and "tandem_queue" not in told, told  # 3: the linter has wishes for redis_exporter's names
    waiting = [labels["queue"] for labels, value in few.samples("tandem_queue_depth") if labels["state"] == "waiting" and value == 1]
    assert len(set(waiting)) == len(waiting) == len(names)
    assert set(waiting) == shown


def test_no_two_queues_are_told_as_one(few):
    """Queues of one library whose names are equal once they are told: by database, or by the set of a state."""
    for db, name in [(3, b"mail"), (0, b"db3/mail")]:
        few.client.call("SELECT", db)
        few.client.call("HSET", b"bull:%b:meta" % name, "version", "bullmq:6.7.0")
        few.client.call("LPUSH", b"bull:%b:wait" % name, "1")
    few.client.call("SADD", "queues", "retry")
    few.client.call("LPUSH", "queue:retry", '{"jid":"1","enqueued_at":1796010913.9}')
    few.client.call("ZADD", "retry", "1796010913.9", '{"jid":"2"}')
    few.client.call("XGROUP", "CREATE", "a/b", "c", "$", "MKSTREAM")
    few.client.call("XGROUP", "CREATE", "a", "b/c", "$", "MKSTREAM")
    few.client.call("SADD", "_kombu.binding.sms", "sms::sms", b"\x06\x16\x06\x16sms")
    few.client.call("LPUSH", "sms", "x")
    told = few.queues()
    assert len(told) == 7
    assert len({(q["name"], q["kind"]) for q in told}) == 7, told
    samples = [tuple(sorted(labels.items())) for labels, _ in few.samples("tandem_queue_depth")]
    assert len(set(samples)) == len(samples)
    for q in told:
        assert few.queue(q["name"])["key"] == q["key"]


class Counted(servers.Server):
    """A server whose instructions callgrind counts: a figure that a busy machine does not move."""

    def command(self):
        return ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={self.directory}/callgrind.out", *super().command()]

    def control(self, *words):
        subprocess.run(["callgrind_control", *words, str(self.process.pid)], check=True, capture_output=True, timeout=60)

    def instructions(self, work):
        before = set(self.directory.glob("callgrind.out*"))
        self.control("-i", "on")
        work()
        self.control("-i", "off")
        self.control("--dump")
        [dump] = until("the dump", lambda: set(self.directory.glob("callgrind.out*")) - before)
        return until("its total", lambda: totals(dump))


def totals(dump):
    found = re.search(r"^totals: (\d+)", dump.read_text(errors="replace"), re.M)
    return int(found[1]) if found else None


@pytest.mark.timeout(300)
def test_keys_that_are_no_queue_cost_nothing_when_queues_are_told():
    with Counted("queue", tls=False, reference=False) as server, server.client(protocol=3, timeout=120) as client:
        make_queues(client, range(QUEUES))

        def tell():
            for _ in range(TOLD_TIMES):
                assert len(client.call("TANDEM", "QUEUES")) == QUEUES
                assert client.call("TANDEM", "QUEUE", "q00500")
    
        few = server.instructions(tell)
        for at in range(0, OTHER_KEYS, 1000):
            client.call("MSET", *[word for n in range(at, at + 1000) for word in (f"other:{n}", "x")])
        client.call("EVAL", "for i = 1, 20000 do redis.call('LPUSH', 'list:' .. i .. ':waits', 'x') end", "0")
        many = server.instructions(tell)
        assert many < few * 1.1, f"{few} instructions without other keys, {many} with {OTHER_KEYS}"


def test_who_looks_after_queues_may_ask_for_them():
    users, secret = [servers.ROOT / "profiles" / "bullmq.acl"], servers.password()
    with servers.Server("queue", tls=False, reference=False, password=secret, users=users) as server, server.client(protocol=3) as client:
        make_queues(client, [7])
        for user, may in [("bullmq-dashboard", True), ("bullmq-worker", False)]:
            client.call("AUTH", user, secret)
            said = client.ask("TANDEM", "QUEUES")
            assert ([q[b"name"] for q in said] == [b"q00007"]) if may else ("NOPERM" in str(said)), said
