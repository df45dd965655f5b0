"""Backups in an object store that checks signatures, directly and through a proxy that is slow, fails, and cuts connections.

What a batch holds is known as in `test_archive`.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import objects, servers  # noqa: E402
from harness.objects import Answer, Cut  # noqa: E402
from test_archive import SECONDS_MAX, Model, digest, key, logging_server, number, tandem, write  # noqa: E402, F401

# Bytes of a value that nothing compresses, and that does not fit into one part of an upload.
LARGE_BYTES = 9 << 20
# How often a command is run that a service in trouble has failed, and of how many requests one fails.
RUNS_MAX = 40
ONE_IN = 6


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = objects.ObjectStore(tmp_path_factory.mktemp("objects") / "log")
    yield made
    made.stop()


class Repository:
    """A bucket behind a proxy, and the words that lead there."""

    def __init__(self, store, folder):
        self.store, self.bucket = store, store.make_bucket()
        self.proxy = objects.Proxy(store.port)
        self.credentials = folder / "s3.keys"
        self.write_credentials(*store.key)

    def write_credentials(self, name, secret, mode=0o600):
        self.credentials.write_text(f"AWS_ACCESS_KEY_ID={name}\nAWS_SECRET_ACCESS_KEY={secret}\n")
        self.credentials.chmod(mode)

    @property
    def url(self):
        return f"s3://{self.bucket}/queue/one"

    @property
    def reach(self):
        return ("--endpoint", self.proxy.endpoint, "--credentials", self.credentials)

    def backup(self, task, *words, code=0):
        return tandem("backup", task, "--repository", self.url, *self.reach, *words, code=code)

    def run(self, *words):
        """A command that may fail."""
        where = "--from" if words[0] == "restore" else "--repository"
        line = [servers.BINARIES / "tandem", *words, where, self.url, *self.reach]
        return subprocess.run([str(word) for word in line], capture_output=True, text=True, timeout=SECONDS_MAX)

    def spawn(self, task, *words):
        line = [servers.BINARIES / "tandem", "backup", task, "--repository", self.url, *self.reach, *words]
        return subprocess.Popen([str(word) for word in line], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def restore(self, directory, *words, code=0):
        return tandem("restore", "--from", self.url, *self.reach, "--dir", directory, *words, code=code)


@pytest.fixture
def repository(store, tmp_path):
    made = Repository(store, tmp_path)
    yield made
    made.proxy.stop()


def fill(server, first, last):
    with server.client() as c:
        c.pipeline([command for n in range(first, last + 1) for command in write(n)])


def restored_digest(repository, directory, batch, secret):
    done = repository.restore(directory / "data", "--batch", batch, "--identity", secret, "--json")
    assert done["last_batch"] == batch
    with logging_server(directory) as restored:
        return number(restored), digest(restored)


def until_still(log):
    """Until the log grows no more: a second behind the last write comes a line of its own."""
    size, since = None, time.monotonic()
    end = since + SECONDS_MAX
    while time.monotonic() < since + 2:
        now = sum(file.stat().st_size for file in log.iterdir())
        if now != size:
            size, since = now, time.monotonic()
        assert since < end, "the log does not come to rest"
        time.sleep(0.05)


@pytest.mark.timeout(300)
def test_a_backup_goes_there_and_comes_back(repository, key, tmp_path):
    (secret, public) = key
    with logging_server() as server:
        with server.client() as c:
            c.call("SET", "large", random.Random(1).randbytes(LARGE_BYTES))
            c.call("BGREWRITEAOF")
            end = time.monotonic() + SECONDS_MAX
            while b"aof_rewrite_in_progress:0" not in c.call("INFO", "persistence"):
                assert time.monotonic() < end
                time.sleep(0.05)
        fill(server, 1, 30)
        one = repository.backup("now", "--dir", server.data(), "--recipient", public, "--json")
        assert one["base_covers"] is not None and one["stored_bytes"] > LARGE_BYTES, "it goes up in parts"
        fill(server, 31, 60)
        until_still(Path(server.data()) / "appendonlydir")
        two = repository.backup("now", "--dir", server.data(), "--recipient", public, "--json")
        assert "nothing new" in repository.backup("now", "--dir", server.data(), "--recipient", public)
        whole = digest(server)
    names = repository.store.names(repository.bucket)
    assert len(names) == 6 and all(name.startswith("queue/one/") for name in names), "no mark of an upload stays"
    assert repository.store.unfinished(repository.bucket) == []
    found = repository.backup("verify", "--identity", secret, "--json")
    assert found["wrong"] == [] and found["opened"] == found["objects"] == 3
    [lineage] = repository.backup("list", "--json")["lineages"]
    assert lineage["last_batch"] == two["last_batch"]
    assert restored_digest(repository, tmp_path / "all", two["last_batch"], secret) == (60, whole)
    reached, _ = restored_digest(repository, tmp_path / "half", one["last_batch"], secret)
    assert reached == 30
    other = tmp_path / "other.key"
    subprocess.run(["age-keygen", "-o", other], check=True, capture_output=True)
    said = repository.backup("verify", "--identity", other, code=1)
    assert "none of the keys" in said and "0 of them opened" in said
    [segment] = [name for name in names if f"{two['last_batch']:020}" not in name and name.endswith(".aof.zst.age")][:1]
    repository.store.change(repository.bucket, segment, lambda body: body.__setitem__(-20, body[-20] ^ 1))
    assert "its SHA-256 is not" in repository.backup("verify", code=1)
    assert "removed 0" in repository.backup("prune", "--keep", "0s", "--bases", "1")


@pytest.mark.timeout(300)
def test_of_two_that_put_the_same_segment_one_succeeds(repository, key, tmp_path):
    (secret, public) = key
    waiting = threading.Barrier(2, timeout=SECONDS_MAX)

    def both_at_once(request):
        if request.method == "PUT" and "segment-" in request.path and request.path.endswith(".json"):
            waiting.wait()

    with logging_server() as server:
        fill(server, 1, 5)
        repository.backup("now", "--dir", server.data(), "--recipient", public)
        fill(server, 6, 9)
        repository.proxy.plan = both_at_once
        runs = [repository.spawn("now", "--dir", server.data(), "--recipient", public) for _ in range(2)]
        outputs = [run.communicate(timeout=SECONDS_MAX)[0] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 1], outputs
    assert "somebody else has archived this log" in "".join(outputs)
    repository.proxy.plan = lambda request: None
    found = repository.backup("verify", "--identity", secret, "--json")
    assert (found["wrong"], found["remarks"], found["opened"]) == ([], [], 3), "the other one has taken its object back"


def persist(run):
    """Runs a command until it succeeds, as a timer does. What it says of each failure is a sentence about the repository."""
    for _ in range(RUNS_MAX):
        done = run()
        if done.returncode == 0:
            return json.loads(done.stdout)
        assert done.returncode == 1 and "panicked" not in done.stderr, done.stderr
    raise AssertionError(f"not once in {RUNS_MAX} runs: {done.stderr}")


@pytest.mark.timeout(300)
def test_trouble_on_the_way_costs_time_and_nothing_else(repository, key, tmp_path):
    rng, (secret, public) = random.Random(7), key
    faults = [Cut("before"), Cut("within"), Cut("after"), Answer(500, "InternalError"), Answer(503, "SlowDown"), Answer(429)]

    def trouble(_request):
        time.sleep(rng.uniform(0, 0.05))
        return rng.choice(faults) if rng.randrange(ONE_IN) == 0 else None

    repository.proxy.plan = trouble
    with logging_server() as server, servers.Server("server", tls=False) as twin:
        for last in range(10, 60, 10):
            fill(server, last - 9, last)
            done = persist(lambda: repository.run("backup", "now", "--dir", server.data(), "--recipient", public, "--json"))
        expected = Model(twin).digest(last)
    place = tmp_path / "restored"
    back = persist(lambda: repository.run("restore", "--dir", place / "data", "--identity", secret, "--json"))
    assert back["last_batch"] == done["last_batch"]
    with logging_server(place) as restored:
        assert (number(restored), digest(restored)) == (last, expected)
    persist(lambda: repository.run("backup", "prune", "--keep", "30d", "--json"))
    assert repository.proxy.faults > 10
    repository.proxy.plan = lambda request: None
    assert repository.backup("verify", "--identity", secret, "--json")["wrong"] == []


@pytest.mark.timeout(300)
def test_an_upload_that_is_killed_is_marked_and_not_there(repository, key, tmp_path):
    (secret, public) = key
    parts = threading.Event()

    def hold(request):
        if request.method == "PUT" and "partNumber=2" in request.path:
            parts.set()
            time.sleep(SECONDS_MAX)

    repository.proxy.plan = hold
    with logging_server() as server:
        with server.client() as c:
            c.call("SET", "large", random.Random(1).randbytes(LARGE_BYTES))
        run = repository.spawn("now", "--dir", server.data(), "--recipient", public)
        assert parts.wait(SECONDS_MAX), "the segment has two parts"
        run.send_signal(signal.SIGKILL)
        run.communicate(timeout=SECONDS_MAX)
        assert len(repository.store.unfinished(repository.bucket)) == 1
        marks = [name for name in repository.store.names(repository.bucket) if "/temp-" in name]
        assert len(marks) == 1
        repository.proxy.plan = lambda request: None
        assert repository.backup("prune", "--keep", "0s", "--json")["swept"] == [], "it may be somebody's who is still writing"
        repository.backup("now", "--dir", server.data(), "--recipient", public)
    assert repository.backup("verify", "--identity", secret, "--json")["wrong"] == []


@pytest.mark.timeout(300)
def test_what_goes_wrong_is_said(repository, key, tmp_path):
    (_, public), proxy = key, repository.proxy
    with logging_server() as server:
        fill(server, 1, 3)
        now = ("now", "--dir", server.data(), "--recipient", public)
        repository.backup(*now)
        fill(server, 4, 6)
        full = {"PUT": Answer(507, "XMinioStorageFull")}
        proxy.plan = lambda request: full.get(request.method)
        assert "there is no room left" in repository.backup(*now, code=1)
        proxy.plan = lambda request: Answer(500, "InternalError")
        assert "the service has failed, several times" in repository.backup(*now, code=1)
        proxy.plan = lambda request: None
        assert "batches" in repository.backup(*now), "what was not archived then is now"
    repository.write_credentials("AKIANOBODY", repository.store.key[1])
    assert "the credentials are wrong: status 403, InvalidAccessKeyId" in repository.backup("list", code=1)
    repository.write_credentials(repository.store.key[0], "wrong")
    assert "the credentials are wrong: status 403, SignatureDoesNotMatch" in repository.backup("list", code=1)
    repository.write_credentials(*repository.store.key, mode=0o644)
    said = repository.backup("list", code=1)
    assert "chmod 600" in said and repository.store.key[1] not in said
    repository.write_credentials(*repository.store.key)
    nowhere = ("--repository", "s3://no-such-bucket/x", *repository.reach)
    assert "there is no such bucket" in tandem("backup", "list", *nowhere, code=1)
    assert "holds no credentials" in tandem("backup", "list", "--repository", "s3://key:secret@bucket", code=2)
    repository.proxy.stop()
    assert "no connection to the service: Connection refused" in repository.backup("list", code=1)


@pytest.mark.timeout(120)
def test_credentials_come_from_the_environment_and_from_systemd(repository, tmp_path):
    name, secret = repository.store.key
    line = [str(servers.BINARIES / "tandem"), "backup", "list", "--repository", repository.url]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    endpoint = {"AWS_ENDPOINT_URL": repository.proxy.endpoint}
    handed_over = tmp_path / "handed-over"
    handed_over.mkdir()
    shutil.copy(repository.credentials, handed_over / "backup-credentials")
    nothing = {"SSL_CERT_FILE": str(tmp_path / "none"), "SSL_CERT_DIR": str(tmp_path / "none")}
    keys = {"AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": secret}
    ways = [
        (keys, "there is no backup"),
        ({**keys, **nothing}, "there is no backup"),
        ({**keys, **nothing, "AWS_ENDPOINT_URL": "https://127.0.0.1:1"}, "trusted in SSL_CERT_FILE"),
        ({"CREDENTIALS_DIRECTORY": str(handed_over)}, "there is no backup"),
        ({}, "there are no credentials"),
    ]
    for way, expected in ways:
        done = subprocess.run(line, env={**plain, **endpoint, **way}, capture_output=True, text=True, timeout=SECONDS_MAX)
        assert expected in done.stdout + done.stderr, way
