"""A server that archives its log as it writes it, and everything that may go wrong meanwhile: kills, rewrites, and a repository that is
away, cannot be written, is full, or slow. What a batch holds is known as in `test_archive`.

`ROUNDS=100 pytest test_archiving.py` goes on for longer.
"""

import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import servers  # noqa: E402
from test_archive import SECONDS_MAX, Model, Writer, digest, key, logging_server, number, tandem, write  # noqa: E402, F401

ROUNDS = int(os.environ.get("ROUNDS", 6))
WRITES_A_ROUND = 600
# A repository in memory, so that it can be full.
REPOSITORY_BYTES = 64 << 20


def until(condition, what, seconds=SECONDS_MAX):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def info(server, section="backup"):
    with server.client() as c:
        lines = c.call("INFO", section).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def archives(repository, public):
    return ["--backup-repository", str(repository), "--backup-recipients", public, "--backup-interval", "1"]


def following_server(repository, public, *extra):
    return servers.Server(
        "server", tls=False,
        extra=["--appendonly", "yes", *archives(repository, public), "--backup-base-every", "1h", *extra],
    )


def is_archived(server):
    return info(server).get("backup_lag_seconds") == "0"


class Repository:
    """A directory that fails as it is told; on a file system of its own where one can be mounted."""

    def __init__(self, path):
        self.path = path
        path.mkdir()
        size = f"size={REPOSITORY_BYTES}"
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", path], capture_output=True)
        self.is_mounted = mounted.returncode == 0
        self.place = path / "repository"
        self.place.mkdir()

    def close(self):
        if self.is_mounted:
            subprocess.run(["umount", "-l", self.path], check=True)

    def faults(self):
        return [self.away, self.unwritable, self.slow, *([self.full, self.read_only] if self.is_mounted else [])]

    @contextlib.contextmanager
    def away(self, _):
        moved = self.path / "moved"
        self.place.rename(moved)
        yield
        moved.rename(self.place)

    @contextlib.contextmanager
    def unwritable(self, _):
        """Where directories are to be there are files, so that root meets an error as well."""
        moved = self.path / "moved"
        self.place.rename(moved)
        self.place.write_text("no directory")
        yield
        self.place.unlink()
        moved.rename(self.place)

    @contextlib.contextmanager
    def full(self, _):
        filler = self.path / "filler"
        with open(filler, "wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
                file.flush()
        yield
        filler.unlink()

    @contextlib.contextmanager
    def read_only(self, _):
        # Who writes just now would keep it from being so.
        for _ in range(100):
            if subprocess.run(["mount", "-o", "remount,ro", self.path], capture_output=True).returncode == 0:
                break
            time.sleep(0.02)
        yield
        subprocess.run(["mount", "-o", "remount,rw", self.path], check=True)

    @contextlib.contextmanager
    def slow(self, server):
        with server.client() as c:
            c.call("CONFIG", "SET", "backup-bandwidth", "2000")
        yield
        with contextlib.suppress(OSError, EOFError), server.client() as c:
            c.call("CONFIG", "SET", "backup-bandwidth", "0")


@pytest.fixture
def repository(tmp_path):
    repository = Repository(tmp_path / "mount")
    yield repository
    repository.close()


def one_round(server, repository, rng, first):
    """Some writes with faults among them; what was acknowledged and archived at some time: the batch and the write."""
    writer = Writer(server, first, first + WRITES_A_ROUND)
    writer.start()
    fault = rng.choice(repository.faults())
    with fault(server):
        writer.join(rng.uniform(0, 1.5))
        for _ in range(rng.randrange(3)):
            with server.client() as c:
                c.pipeline([("BGREWRITEAOF",)])  # One may be under way.
            writer.join(rng.uniform(0, 0.5))
        if rng.random() < 0.5:
            server.kill()
            writer.join()
            server.restart()
    writer.join(rng.uniform(0, 1.0))
    if rng.random() < 0.5:
        server.kill()
        writer.join()
        server.restart()
    writer.join()
    last = number(server)
    until(lambda: is_archived(server), f"{fault.__name__}: what was written is not archived: {info(server)}")
    told = info(server)
    assert told["backup_gaps"] == "0" and told["backup_status"] == "ok", told
    return int(told["backup_last_batch"]), last


class Twin:
    """Any state of the model, also an earlier one than the last that was asked for."""

    def __init__(self, server):
        self.model = Model(server)

    def digest(self, n):
        if n < self.model.done:
            with self.model.server.client() as c:
                c.call("FLUSHALL")
            self.model.done = 0
        return self.model.digest(n)


def restorable(repository):
    """The first and the last batch that a restore can be asked for."""
    [lineage] = tandem("backup", "list", "--repository", repository, "--json")["lineages"]
    return lineage["bases"][0]["covers"], max(segment["last_batch"] for segment in lineage["segments"])


def check_restore(batch, repository, secret, place, twin):
    """Restores a batch; the write that it ends with."""
    done = tandem("restore", "--from", repository, "--batch", batch, "--dir", place / "data", "--identity", secret, "--json")
    assert done["last_batch"] == batch
    with logging_server(place) as restored:
        reached = number(restored)
        assert digest(restored) == twin.digest(reached), f"batch {batch}, write {reached}"
    shutil.rmtree(place)
    return reached


@pytest.mark.timeout(120 + 40 * ROUNDS)
def test_every_moment_comes_back_whatever_happened(tmp_path, key, repository):
    rng = random.Random(ROUNDS)
    (secret, public), place = key, repository.place
    known, first = [], 1
    with following_server(place, public) as server, servers.Server("server", tls=False) as model:
        twin = Twin(model)
        for _ in range(ROUNDS):
            known.append(one_round(server, repository, rng, first))
            batch, first = known[-1][0], known[-1][1] + 1
            oldest, newest = restorable(place)
            assert newest == batch, "what INFO tells of is there"
            assert check_restore(rng.randint(oldest, newest), place, secret, tmp_path / "restored", twin) <= first - 1
        for batch, last in rng.sample(known, min(3, len(known))):
            assert check_restore(batch, place, secret, tmp_path / "restored", twin) == last
    found = tandem("backup", "verify", "--repository", place, "--identity", secret, "--json")
    # Uploads that a kill has stopped may be left, and no gap.
    assert found["wrong"] == [] and all("nothing tells of it" in remark["what"] for remark in found["remarks"]), found


@pytest.mark.timeout(120)
def test_what_is_configured_is_checked_and_followed_at_once(tmp_path, key):
    secret, public = key
    place = tmp_path / "repository"
    place.mkdir()
    with servers.Server("cache", tls=False) as cache, cache.client() as c:
        assert "a cache has no log" in str(c.ask("CONFIG", "SET", "backup-repository", place))
        assert info(cache) == {"backup_enabled": "0"}
    with servers.Server("queue", tls=False) as queue, queue.client() as c:
        def refusal(*words):
            return str(c.ask("CONFIG", "SET", *words))

        assert "age-keygen" in refusal("backup-repository", place)
        assert "whole path" in refusal("backup-unencrypted", "yes", "backup-repository", "backup")
        assert "own directory" in refusal("backup-unencrypted", "yes", "backup-repository", queue.data() / "backup")
        assert "backup-recipients: that is a secret key" in refusal(
            "backup-repository", place, "backup-recipients", secret.read_text().split()[-1])
        assert c.call("CONFIG", "GET", "backup-repository")[1] == b""
        c.pipeline(write(1))
        c.call("CONFIG", "SET", "backup-repository", place, "backup-recipients", public, "backup-interval", "1s")
        until(lambda: is_archived(queue), "archiving does not begin")
        assert check_head(place, secret, tmp_path) == 1
        metrics = {line.split()[0] for line in scraped(queue).splitlines() if line.startswith("tandem_backup_")}
        assert metrics >= {f"tandem_backup_{name}" for name in (
            "lag_seconds", "last_success_timestamp_seconds", "bytes_total", "failures_total", "backlog_bytes")}
        # What is off does not go on.
        c.call("CONFIG", "SET", "backup-repository", "")
        until(lambda: info(queue) == {"backup_enabled": "0"}, "archiving does not end")
        c.pipeline(write(2))
        before = set(place.glob("*/*"))
        c.call("CONFIG", "SET", "backup-repository", place)
        until(lambda: is_archived(queue), "archiving does not go on")
        assert set(place.glob("*/*")) > before and check_head(place, secret, tmp_path) == 2


def scraped(server):
    return urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=20).read().decode()


def check_head(repository, secret, tmp_path):
    """The last write that a restore brings back."""
    place = tmp_path / "head"
    tandem("restore", "--from", repository, "--dir", place / "data", "--identity", secret)
    with logging_server(place) as restored:
        last = number(restored)
    shutil.rmtree(place)
    return last


@pytest.mark.timeout(120)
def test_what_the_repository_does_not_take_is_given_up_within_a_bound(tmp_path, key, repository):
    (secret, public), place = key, repository.place
    with following_server(place, public, "--backup-backlog-max", "20kb") as server, server.client() as c:
        backlog = Path(server.data()) / "backup-backlog"

        def rewrite():
            rewrites = info(server, "persistence")["aof_rewrites"]
            until(lambda: c.ask("BGREWRITEAOF") and info(server, "persistence")["aof_rewrites"] != rewrites, "no rewrite")

        c.pipeline([command for n in range(1, 20) for command in write(n)])
        until(lambda: is_archived(server), "nothing is archived")
        with repository.away(server):
            c.pipeline(write(20))
            rewrite()
            assert list(backlog.iterdir()), "a little is kept"
            until(lambda: info(server).get("backup_status") == "err", "nothing is told")
            assert "No such file" in info(server)["backup_last_error"]
            c.pipeline([command for n in range(21, 300) for command in write(n)])
            rewrite()
            until(lambda: info(server).get("backup_gaps", "0") != "0", "too much is kept")
            assert not list(backlog.iterdir())
        until(lambda: is_archived(server), "it does not go on")
        c.pipeline(write(300))
        until(lambda: is_archived(server), "it does not go on")
        assert "given up" in server.log_tail(20000)
    assert check_head(place, secret, tmp_path) == 300
    found = tandem("backup", "verify", "--repository", place, "--identity", secret, "--json", code=3)
    assert found["wrong"] == [] and len(found["gaps"]) == 1, found


@pytest.mark.timeout(120)
def test_a_repository_that_is_away_is_noticed_though_nothing_is_written(key, repository):
    with following_server(repository.place, key[1]) as server:
        with server.client() as c:
            c.pipeline(write(1))
        until(lambda: is_archived(server), "nothing is archived")
        with repository.away(server):
            until(lambda: info(server)["backup_status"] == "err", "nobody has noticed")
            told = tandem("health", "--address", f"127.0.0.1:{server.metrics_port}", "--json")
            assert told["ready"] and told["archive"].startswith("archiving fails: "), told
        until(lambda: info(server)["backup_status"] == "ok", "it does not go on")
        assert tandem("health", "--address", f"127.0.0.1:{server.metrics_port}", "--json")["archive"] is None


@pytest.mark.timeout(120)
def test_another_history_in_the_way_is_not_written_over(tmp_path, key):
    (secret, public), place = key, tmp_path / "repository"
    place.mkdir()
    with following_server(place, public) as one:
        with one.client() as c:
            c.pipeline([command for n in range(1, 20) for command in write(n)])
        until(lambda: is_archived(one), "nothing is archived")
        one.kill()
        shutil.copytree(one.data(), tmp_path / "other" / "data")
        one.restart()
        with one.client() as c:
            c.pipeline(write(20))
        until(lambda: is_archived(one), "it does not go on")
        archived = {file: file.read_bytes() for file in place.glob("*/*")}
        with servers.Server("server", directory=tmp_path / "other", tls=False,
                            extra=["--appendonly", "yes", *archives(place, public)]) as other:
            with other.client() as c:
                c.pipeline([command for n in range(100, 110) for command in write(n)])
            until(lambda: info(other).get("backup_status") == "err", "nothing is told")
            assert "repository of" in info(other)["backup_last_error"], info(other)
            with other.client() as c:
                assert c.call("PING") == b"PONG"
        assert archived == {file: file.read_bytes() for file in place.glob("*/*") if file in archived}
        with one.client() as c:
            c.pipeline(write(21))
        until(lambda: is_archived(one), "it does not go on")
    assert check_head(place, secret, tmp_path) == 21


@pytest.mark.timeout(120)
def test_what_is_older_than_is_kept_goes_and_the_rest_can_be_restored(tmp_path, key):
    (secret, public), place = key, tmp_path / "repository"
    place.mkdir()
    with following_server(place, public, "--backup-keep", "1s", "--backup-keep-bases", "1") as server:
        last = 0
        for turn in range(3):
            with server.client() as c:
                c.pipeline([command for n in range(last + 1, last + 200) for command in write(n)])
                last += 199
                until(lambda: is_archived(server), "nothing is archived")
                # Longer than a base, so the next one is taken.
                c.call("FLUSHALL")
                c.call("SET", "number", last)
                until(lambda: is_archived(server), "nothing is archived")
                bases = info(server)["backup_bases"]
                until(lambda: c.ask("BGREWRITEAOF") and info(server)["backup_bases"] != bases, f"no base {turn}")
        until(lambda: len(list(place.glob("*/base-*.json"))) <= 2, "old bases stay")
        until(lambda: is_archived(server), "nothing is archived")
    assert check_head(place, secret, tmp_path) == last
    found = tandem("backup", "verify", "--repository", place, "--identity", secret, "--json")
    assert found["wrong"] == []


@pytest.mark.timeout(120)
def test_the_end_of_the_server_takes_what_is_new_along(tmp_path, key):
    (secret, public), place = key, tmp_path / "repository"
    place.mkdir()
    with following_server(place, public, "--backup-interval", "1h") as server:
        until(lambda: info(server).get("backup_last_success_time", "0") != "0", "no base")
        with server.client() as c:
            c.pipeline([command for n in range(1, 20) for command in write(n)])
        assert not is_archived(server)
        server.stop()
    assert check_head(place, secret, tmp_path) == 19


@pytest.mark.timeout(120)
def test_the_drill_of_a_machine_that_is_gone(tmp_path, key):
    """As the README has it: the new queue has been started once before it gets the data of the old one."""
    (secret, public), place = key, tmp_path / "repository"
    place.mkdir()
    with servers.Server("queue", tls=False, extra=archives(place, public)) as old:
        with old.client() as c:
            c.pipeline([command for n in range(1, 20) for command in write(n)])
        until(lambda: is_archived(old), "nothing is archived")
        old.kill()
    with servers.Server("queue", tls=False) as new:
        with new.client() as c:
            c.call("SET", "nothing", "of value")
        new.stop()
        shutil.rmtree(new.data() / "appendonlydir")
        (new.data() / "dump.rdb").unlink(missing_ok=True)
        tandem("restore", "--from", place, "--dir", new.data(), "--identity", secret)
        new.restart()
        assert number(new) == 19
