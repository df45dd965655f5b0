"""Backups beside a server under load that is killed again and again, and restores to any batch of it.

What a client writes is known by its number alone, so a restored server tells with one number what it must hold: a
second server that was given the writes up to that number must have the same digest.
"""

import json
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import servers, wire  # noqa: E402

ROUNDS = 4
BACKUPS_A_ROUND = 3
RESTORES = 8
WRITES_A_ROUND = 1500
# Only ends a hang.
SECONDS_MAX = 120


def write(n):
    """What write number `n` does, whole or not at all."""
    rng = random.Random(n)
    key = rng.randrange(40)
    value = rng.randbytes(rng.choice((8, 60, 900))).hex()
    changes = [
        ("RPUSH", f"list:{key}", n, value),
        ("LPOP", f"list:{key}", 1 + n % 3),
        ("HSET", f"hash:{key}", n % 9, value),
        ("ZADD", f"zset:{key}", n % 100, n % 37),
        ("SADD", f"set:{key}", n % 53),
        ("XADD", f"stream:{key}", f"{n}-1", "n", value),
        ("SET", f"string:{key}", value, "EXAT", 4_000_000_000),
        ("DEL", f"list:{key}"),
    ]
    return [("SELECT", n % 2), ("MULTI",), *rng.sample(changes, 2), ("SET", "number", n), ("EXEC",)]


class Writer(threading.Thread):
    """Writes up to a number, a few at a time, until the connection breaks."""

    def __init__(self, server, first, last):
        super().__init__(daemon=True)
        self.server, self.done, self.last = server, first - 1, last

    def run(self):
        try:
            with self.server.client() as c:
                while self.done < self.last:
                    some = range(self.done + 1, min(self.done + 6, self.last) + 1)
                    replies = c.pipeline([command for n in some for command in write(n)])
                    assert not any(isinstance(reply, wire.ReplyError) for reply in replies), replies
                    self.done = some[-1]
        except (OSError, EOFError):
            pass


def tandem(*words, code=0):
    """What it prints, when it ends with this code, or one of these."""
    line = [str(servers.BINARIES / "tandem"), *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=SECONDS_MAX)
    assert done.returncode in (code if isinstance(code, tuple) else (code,)), f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout) if "--json" in words and done.stdout else done.stdout + done.stderr


def number(server):
    """The last write that a server holds."""
    with server.client() as c:
        found = []
        for db in (0, 1):
            c.call("SELECT", db)
            found.append(int(c.call("GET", "number") or 0))
        return max(found)


def digest(server):
    with server.client() as c:
        return c.call("DEBUG", "DIGEST")


def logging_server(directory=None):
    return servers.Server("server", directory=directory, tls=False, extra=["--appendonly", "yes"])


class Model:
    """A server without a log that is given the writes one by one."""

    def __init__(self, server):
        self.server, self.done = server, 0

    def digest(self, n):
        assert n >= self.done, "a later batch holds as much at least"
        with self.server.client() as c:
            while self.done < n:
                some = range(self.done + 1, min(self.done + 200, n) + 1)
                c.pipeline([command for n in some for command in write(n)])
                self.done = some[-1]
        return digest(self.server)


@pytest.fixture
def key(tmp_path):
    """The file with a secret key, and the public one."""
    path = tmp_path / "backup.key"
    subprocess.run(["age-keygen", "-o", path], check=True, capture_output=True)
    public = subprocess.run(["age-keygen", "-y", path], check=True, capture_output=True, text=True)
    return path, public.stdout.strip()


def busy_life(server, repository, recipient, rng):
    """Writes, backups at any moment, rewrites and kills. Returns the numbers that were there for certain at backups."""
    known, first = [], 1
    for round_ in range(ROUNDS):
        writer = Writer(server, first, first + WRITES_A_ROUND)
        writer.start()
        for _ in range(BACKUPS_A_ROUND):
            writer.join(rng.uniform(0, 0.1))
            at_least = writer.done
            done = tandem("backup", "now", "--dir", server.data(), "--repository", repository,
                          "--recipient", recipient, "--json")
            known.append((done["last_batch"], at_least))
            if round_ == 1:
                with server.client() as c:
                    c.pipeline([("BGREWRITEAOF",)])  # One may be under way.
        if round_ % 2:
            writer.join()
        server.kill()
        writer.join()
        # What the dead one has left is archived as well.
        done = tandem("backup", "now", "--dir", server.data(), "--repository", repository,
                      "--recipient", recipient, "--json")
        known.append((done["last_batch"], writer.done))
        server.restart()
        first = number(server) + 1
    return known


def restorable(repository):
    """Batches that a restore can be asked for."""
    [lineage] = tandem("backup", "list", "--repository", repository, "--json")["lineages"]
    batches = {base["covers"] for base in lineage["bases"]}
    for segment in lineage["segments"]:
        batches.update(range(segment["first_batch"], segment["last_batch"] + 1))
    return sorted(batches)


@pytest.mark.timeout(300)
def test_every_restored_batch_is_the_state_behind_it(tmp_path, key):
    rng = random.Random(11)
    (secret, public), repository = key, tmp_path / "repository"
    with logging_server() as server:
        known = dict(busy_life(server, repository, public, rng))
    found = tandem("backup", "verify", "--repository", repository, "--identity", secret, "--json")
    assert found["wrong"] == [] == found["gaps"] and found["opened"] == found["objects"]
    # Where a rewrite fell between two runs, what was between them is missing, which nobody has promised to archive.
    lost = [remark for remark in found["remarks"] if "never archived" in remark["what"]]
    asked = tandem("backup", "verify", "--repository", repository, "--continuous", "--checksums-only", "--json", code=3 if lost else 0)
    assert len(asked["gaps"]) == len(lost)
    batches = restorable(repository)
    chosen = sorted({*rng.sample(batches, min(RESTORES, len(batches))), *rng.sample(sorted(known), 2), batches[-1]})
    with servers.Server("server", tls=False) as twin:
        model = Model(twin)
        for batch in chosen:
            place = tmp_path / f"restored-{batch}"
            done = tandem("restore", "--from", repository, "--batch", batch, "--dir", place / "data",
                          "--identity", secret, "--json")
            assert done["last_batch"] == batch
            with logging_server(place) as restored:
                reached = number(restored)
                assert reached >= known.get(batch, 0), "what was acknowledged before a backup is in it"
                assert digest(restored) == model.digest(reached), f"batch {batch}, write {reached}"


@pytest.mark.timeout(120)
def test_age_zstd_and_the_checkers_read_it(tmp_path, key):
    (secret, public), repository = key, tmp_path / "repository"
    with logging_server() as server:
        with server.client() as c:
            c.pipeline([command for n in range(1, 50) for command in write(n)])
        tandem("backup", "now", "--dir", server.data(), "--repository", repository, "--recipient", public)
        with server.client() as c:
            c.pipeline([command for n in range(50, 90) for command in write(n)])
        tandem("backup", "now", "--dir", server.data(), "--repository", repository, "--recipient", public)
    log = b""
    for path in sorted(repository.glob("*/*.age")):
        opened = subprocess.run(["age", "-d", "-i", secret, path], check=True, capture_output=True).stdout
        plain = subprocess.run(["zstd", "-d"], check=True, capture_output=True, input=opened).stdout
        if path.name.startswith("base-"):
            (tmp_path / "base.rdb").write_bytes(plain)
        else:
            log += plain
    (tmp_path / "log.aof").write_bytes(log)
    for checker, file in (("redis-check-rdb", "base.rdb"), ("redis-check-aof", "log.aof")):
        done = subprocess.run([checker, tmp_path / file], capture_output=True, text=True, timeout=SECONDS_MAX)
        assert done.returncode == 0, done.stdout + done.stderr
    assert log.count(b"$6\r\nnumber\r\n") == 89


@pytest.mark.timeout(120)
def test_the_commands_say_what_is_wrong(tmp_path, key):
    (secret, public), repository = key, tmp_path / "repository"
    now = ("backup", "now", "--repository", repository)
    (empty := tmp_path / "empty").mkdir()
    for task in (("list",), ("list", "--json"), ("prune", "--keep", "1d"), ("verify",)):
        assert "there is no backup" in tandem("backup", *task, "--repository", empty, code=1)
    assert "required" in tandem(*now, "--dir", tmp_path, code=2), "to encrypt or not is said by whoever asks"
    assert "no log" in tandem(*now, "--dir", empty, "--recipient", public, code=1)
    assert "secret key" in tandem(*now, "--dir", tmp_path, "--recipient", secret.read_text().split()[-1], code=1)
    with logging_server() as server:
        with server.client() as c:
            c.pipeline(write(1))
        tandem(*now, "--dir", server.data(), "--recipient", public)
        assert "nothing new" in tandem(*now, "--dir", server.data(), "--recipient", public)
        assert "--although-encrypted" in tandem(*now, "--dir", server.data(), "--unencrypted", code=1)
        assert "nothing new" in tandem(*now, "--dir", server.data(), "--unencrypted", "--although-encrypted")
        inside = server.data() / "backup"
        assert "own directory" in tandem("backup", "now", "--repository", inside, "--dir", server.data(), "--recipient", public, code=1)
        assert not inside.exists()
        back = ("restore", "--from", repository, "--dir")
        assert "holds data" in tandem(*back, server.data(), "--identity", secret, code=1)
    assert "encrypted" in tandem(*back, tmp_path / "a", code=1)
    other = tmp_path / "other.key"
    subprocess.run(["age-keygen", "-o", other], check=True, capture_output=True)
    assert "none of the keys" in tandem(*back, tmp_path / "a", "--identity", other, code=1)
    assert "as old as" in tandem(*back, tmp_path / "a", "--at", "2020-01-01T00:00:00Z", code=1)
    assert "cannot be restored" in tandem(*back, tmp_path / "a", "--batch", 10**9, code=1)
    assert not list((tmp_path / "a").glob("*")) if (tmp_path / "a").exists() else True
    [segment] = repository.glob("*/segment-*.age")
    bad = bytearray(segment.read_bytes())
    bad[-20] ^= 1
    segment.write_bytes(bad)
    found = tandem("backup", "verify", "--repository", repository, code=1)
    assert f"wrong: {segment.parent.name}/{segment.name}: its SHA-256" in found
    assert "SHA-256" in tandem("backup", "verify", "--repository", repository, "--json", code=1)["wrong"][0]["what"]
    assert "removed 0" in tandem("backup", "prune", "--repository", repository, "--keep", "0s")
