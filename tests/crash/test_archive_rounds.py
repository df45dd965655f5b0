"""A server under load and the repository that it archives to are killed at any moment, round after round; after each a time in the past is
chosen and restored, and what comes back must be what was there then, by the digest of a second server that was given the same writes.

`ROUNDS=100 pytest -s test_archive_rounds.py` goes on for longer, and tells what it has seen.
"""

import os
import random
import sys
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import objects, servers  # noqa: E402
from test_archive import SECONDS_MAX, Writer, digest, key, logging_server, number, tandem  # noqa: E402, F401
from test_archiving import Twin, info, until  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", 4))
WRITES_A_ROUND = 120
# What passes between a write and the next one, so that a round has a past of some length.
WRITE_SECONDS_MAX = 0.02


class Watched(Writer):
    """A writer that notes when which writes had been sent and answered."""

    def __init__(self, server, first, last, notes):
        super().__init__(server, first, last)
        self.notes = notes

    def __setattr__(self, name, value):
        if name == "done" and hasattr(self, "notes"):
            self.notes.append((time.time(), value))
            time.sleep(random.uniform(0, WRITE_SECONDS_MAX))
        super().__setattr__(name, value)


class Folder:
    """A directory that goes away, whatever is being written there, and comes back."""

    def __init__(self, path):
        self.path = path / "repository"
        self.path.mkdir()
        self.words = ("--repository", self.path)
        self.source = ("--from", self.path)
        self.options = ["--backup-repository", str(self.path)]

    def kill(self):
        self.path.rename(self.path.with_name("moved"))

    def start(self):
        self.path.with_name("moved").rename(self.path)

    def stop(self):
        pass


class Bucket:
    """A bucket whose service is cut off in the middle of what it does, and comes back."""

    def __init__(self, path):
        self.store = objects.ObjectStore(path / "objects.log")
        self.front = objects.Front(self.store.port)
        keys = path / "s3.keys"
        keys.write_text("AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY={}\n".format(*self.store.key))
        keys.chmod(0o600)
        url = f"s3://{self.store.make_bucket()}/one"
        reach = ("--endpoint", self.front.endpoint, "--credentials", keys)
        self.words, self.source = ("--repository", url, *reach), ("--from", url, *reach)
        self.options = ["--backup-repository", url, "--backup-endpoint", self.front.endpoint, "--backup-credentials", str(keys)]
        self.kill, self.start = self.front.kill, self.front.start

    def stop(self):
        self.front.stop()
        self.store.stop()


@pytest.fixture(params=[Folder, Bucket])
def repository(request, tmp_path):
    made = request.param(tmp_path)
    yield made
    made.stop()


def killed_round(server, repository, rng, first, notes, figures):
    """Some writes, and one of the two is killed among them, or both; the last write that the server holds behind that."""
    writer = Watched(server, first, first + WRITES_A_ROUND - 1, notes)
    writer.start()
    writer.join(rng.uniform(0, 1.0))
    if rng.random() < 0.4:
        with server.client() as c:
            c.pipeline([("BGREWRITEAOF",)])  # One may be under way.
        writer.join(rng.uniform(0, 0.3))
    which = rng.choice(("server", "repository", "both"))
    if which != "server":
        repository.kill()
        figures["repository killed"] += 1
        writer.join(rng.uniform(0, 1.0))
    if which != "repository":
        server.kill()
        figures["server killed"] += 1
        writer.join()
    if which != "server" and rng.random() < 0.5:
        repository.start()
        which = "server"
    if server.process.poll() is not None:
        server.restart()
    if which != "server":
        time.sleep(rng.uniform(0, 0.5))
        repository.start()
    writer.join()
    return number(server)


def told(moment):
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def check_moment(repository, moment, span, secret, place, twin):
    """Restores a time; what comes back lies between what had been answered and what had been sent by then."""
    done = tandem("restore", *repository.source, "--at", told(moment), "--dir", place / "data", "--identity", secret, "--json",
                  "--checksums-only")
    with logging_server(place) as restored:
        reached = number(restored)
        assert span[0] <= reached <= span[1], f"{told(moment)}, batch {done['last_batch']}: {span}"
        assert digest(restored) == twin.digest(reached), f"{told(moment)}, batch {done['last_batch']}, write {reached}"
    for path in sorted(place.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def span_of(moment, notes, last):
    """The writes that had been answered by a time, and those that may have been made by then: a few are sent at once."""
    answered = max((done for at, done in notes if at <= moment), default=0)
    return min(answered, last), min(answered + 6, last)


@pytest.mark.timeout(120 + 30 * ROUNDS)
def test_any_time_in_the_past_comes_back_whoever_was_killed(tmp_path, key, repository):
    rng, (secret, public) = random.Random(ROUNDS), key
    notes, last, figures = [], 0, {"server killed": 0, "repository killed": 0, "restored": 0, "seconds until archived": []}
    options = [*repository.options, "--backup-recipients", public, "--backup-interval", "1", "--backup-base-every", "1h"]
    with servers.Server("server", tls=False, extra=["--appendonly", "yes", *options]) as server, \
            servers.Server("server", tls=False) as model:
        twin = Twin(model)
        until(lambda: info(server).get("backup_lag_seconds") == "0", "archiving does not begin")
        begin = time.time()
        for _ in range(ROUNDS):
            last = killed_round(server, repository, rng, last + 1, notes, figures)
            since = time.monotonic()
            until(lambda: info(server).get("backup_lag_seconds") == "0", f"it is not archived: {info(server)}")
            figures["seconds until archived"].append(time.monotonic() - since)
            assert info(server)["backup_gaps"] == "0", info(server)
            moment = rng.uniform(begin, notes[-1][0])
            # A millisecond is what a batch knows of its time.
            span = span_of(moment - 0.002, notes, last)[0], span_of(moment + 0.002, notes, last)[1]
            check_moment(repository, moment, span, secret, tmp_path / "restored", twin)
            figures["restored"] += 1
    found = tandem("backup", "verify", *repository.words, "--identity", secret, "--json")
    # Uploads that a kill has stopped may be left, and nothing is missing.
    assert found["wrong"] == [] and found["gaps"] == [], found
    assert all("nothing tells of it" in remark["what"] for remark in found["remarks"]), found["remarks"]
    waits = sorted(figures.pop("seconds until archived"))
    print(f"{type(repository).__name__}: {ROUNDS} rounds, {last} writes, {figures}, archived after {waits[len(waits) // 2]:.1f} s "
          f"(at most {waits[-1]:.1f} s), {found['objects']} objects")
