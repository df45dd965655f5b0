"""What a server says of its queues, by its command and to Prometheus, to be held against what a library says of its own.

A `Report` compares a queue that stands still: the command's reply, the metrics and the library's numbers must be equal
at once. What still moves is waited for with `until`.
"""

import re
import time
import urllib.request

# How far an age may be off: a server may read its clock some time before it answers.
AGE_TOLERANCE_MS = 500
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


def text(value):
    """A reply with strings for bytes."""
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    if isinstance(value, dict):
        return {text(k): text(v) for k, v in value.items()}
    return [text(v) for v in value] if isinstance(value, list) else value


def until(what, condition, seconds=30):
    """The first true value of `condition`; a bound ends what hangs."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.02)
    return value


class Report:
    """How one server tells of its queues."""

    def __init__(self, server):
        self.server = server
        self.client = server.client(protocol=3)

    def forget_all(self):
        """No data, no queue; whoever waited is gone."""
        self.client.call("FLUSHALL")
        until("the queues to be forgotten", lambda: not self.queues())

    def queue(self, name):
        return text(self.client.call("TANDEM", "QUEUE", name))

    def queues(self):
        return [text(q) for q in self.client.call("TANDEM", "QUEUES")]

    def names(self, kind=None):
        return [q["name"] for q in self.queues() if kind in (None, q["kind"])]

    def samples(self, metric):
        """The samples of one metric: [(labels, value)]."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.server.metrics_port}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        parts = [line.rpartition("}") for line in lines if line.startswith(metric + "{")]
        return [({k: re.sub(r"\\.", lambda m: ESCAPES[m[0]], v) for k, v in LABEL.findall(head)}, float(tail)) for head, _, tail in parts]

    def sample(self, metric, name, kind, label="kind"):
        """The samples of one queue by the value of a label."""
        return {labels[label]: value for labels, value in self.samples(metric) if (labels["queue"], labels["kind"]) == (name, kind)}

    def assert_tells(self, name, kind, states, where, oldest=(), oldest_failed=()):
        """`oldest`: one element, the time in seconds of the oldest job or None when there is none; empty: not asked."""
        before = time.time()
        said = self.queue(name)
        after = time.time()
        if said is None:
            assert not any(states.values()), f"{where}: nothing is said of {name}, which has {states}"
            return None
        assert said["kind"] == kind, where
        assert {**said["states"], **states} == said["states"], where
        assert self.sample("tandem_queue_depth", name, kind, "state") == said["states"], where
        for field, since in [("oldest_age_ms", oldest), ("oldest_failed_age_ms", oldest_failed)]:
            if since:
                assert_age(f"{where}, {field}", said[field], since[0], before, after)
        return said

    def wait_for_workers(self, name, kind, workers):
        """Told by both at some moment: a library that waits in turns of a second is between two of them now and then."""

        def counted():
            said = self.queue(name)
            if said is None:
                return workers == 0
            return said["workers"] == workers and self.sample("tandem_queue_workers", name, kind) == {kind: workers}

        until(f"{workers} workers on {name}", counted)

    def close(self):
        self.client.close()


def assert_age(what, age, since, before, after):
    """An age that was asked for between two readings of the clock is that of something of `since`."""
    if since is None:
        assert age is None, f"{what}: there is nothing that could be {age} ms old"
        return
    least, most = (before - since) * 1000 - AGE_TOLERANCE_MS, (after - since) * 1000 + AGE_TOLERANCE_MS
    assert age is not None and least <= age <= most, f"{what}: {age} ms is not within {least:.0f}..{most:.0f}"
