"""A server that archives into an object store, through a proxy that is slow, fails, cuts connections and has no room, while the server is
killed; a store that another one of the same log has taken; and credentials that are wrong at first. `ROUNDS=100` goes on for longer.

What a batch holds is known as in `test_archive`, the bucket and the proxy are those of `test_archive_s3`.
"""

import os
import random
import shutil
import statistics
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import servers  # noqa: E402
from harness.objects import Answer, Cut  # noqa: E402
from test_archive import Writer, digest, key, logging_server, number, write  # noqa: E402, F401
from test_archive_s3 import fill, repository, store  # noqa: E402, F401
from test_archiving import Twin, info, is_archived, until  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", 5))
WRITES_A_ROUND = 300
FAULTS = [Cut("before"), Cut("within"), Cut("after"), Answer(500, "InternalError"), Answer(503, "SlowDown"), Answer(429)]
# Of how many requests one fails.
ONE_IN = 5
# What a request takes where the service is slow.
SLOW_SECONDS = 1.5
COMMANDS = 300


def options(repository, public, credentials=True):
    words = ["--appendonly", "yes", "--backup-repository", repository.url, "--backup-endpoint", repository.proxy.endpoint,
             "--backup-recipients", public, "--backup-interval", "1", "--backup-base-every", "1h"]
    return words + ["--backup-credentials", str(repository.credentials)] * credentials


def archiving_server(repository, public, directory=None):
    return servers.Server("server", directory=directory, tls=False, extra=options(repository, public))


def restored(repository, place, secret, *words):
    """The batch that a restore ends with, its write and its digest."""
    done = repository.restore(place / "data", "--identity", secret, "--json", *words)
    with logging_server(place) as back:
        found = done["last_batch"], number(back), digest(back)
    shutil.rmtree(place)
    return found


def troubles(rng):
    """What may happen to the requests of a round."""
    return [
        lambda request: rng.choice(FAULTS) if rng.randrange(ONE_IN) == 0 else None,
        lambda request: Answer(500, "InternalError"),
        lambda request: Answer(507, "XMinioStorageFull") if request.method == "PUT" else None,
        lambda request: time.sleep(rng.uniform(0, 0.4)),
        lambda request: rng.choice(FAULTS[:3]),
    ]


@pytest.mark.timeout(120 + 60 * ROUNDS)
def test_every_moment_comes_back_whatever_the_service_does(repository, key, tmp_path):
    rng, (secret, public), last = random.Random(ROUNDS), key, 0
    with archiving_server(repository, public) as server, servers.Server("server", tls=False) as model:
        twin = Twin(model)
        for turn in range(ROUNDS):
            writer = Writer(server, last + 1, last + WRITES_A_ROUND)
            plans = troubles(rng)
            repository.proxy.plan = plans[turn % len(plans)]
            writer.start()
            writer.join(rng.uniform(0, 1.5))
            with server.client() as c:
                c.pipeline([("BGREWRITEAOF",)])  # One may be under way.
            writer.join(rng.uniform(0, 1.0))
            server.kill()
            writer.join()
            server.restart()
            time.sleep(rng.uniform(0, 2))
            repository.proxy.plan = lambda request: None
            last = number(server)
            until(lambda: is_archived(server), f"it is not archived: {info(server)}")
            told = info(server)
            assert told["backup_status"] == "ok" and told["backup_gaps"] == "0", told
            newest = int(told["backup_last_batch"])
            assert restored(repository, tmp_path / "end", secret)[:2] == (newest, last), "what INFO tells of is there"
            batch = rng.randint(1, newest)
            reached, write_reached, found = restored(repository, tmp_path / "past", secret, "--batch", batch)
            assert reached == batch and found == twin.digest(write_reached), f"batch {batch}, write {write_reached}"
    assert repository.proxy.faults > 0
    found = repository.backup("verify", "--identity", secret, "--json")
    assert (found["wrong"], found["gaps"]) == ([], []), found


def latencies(server):
    """What some commands take, seconds."""
    taken = []
    with server.client() as c:
        for n in range(COMMANDS):
            begin = time.monotonic()
            c.call("SET", f"latency:{n % 9}", n)
            taken.append(time.monotonic() - begin)
    return taken


@pytest.mark.timeout(120)
def test_a_service_that_hangs_or_is_full_is_told_of_and_nobody_waits_for_it(repository, key):
    public = key[1]
    with archiving_server(repository, public) as server:
        fill(server, 1, 20)
        until(lambda: is_archived(server), "nothing is archived")
        asked = threading.Event()
        repository.proxy.plan = lambda request: (asked.set(), time.sleep(SLOW_SECONDS)) and None
        fill(server, 21, 40)
        assert asked.wait(30), "nothing new is archived"
        taken = latencies(server)
        assert statistics.median(taken) < SLOW_SECONDS / 10 and max(taken) < SLOW_SECONDS, "a client has waited for the repository"
        full = {"PUT": Answer(507, "XMinioStorageFull")}
        repository.proxy.plan = lambda request: full.get(request.method)
        fill(server, 41, 60)
        until(lambda: info(server)["backup_status"] == "err", "nothing is told")
        until(lambda: "there is no room left" in info(server)["backup_last_error"], f"it is not said why: {info(server)}")
        assert max(latencies(server)) < SLOW_SECONDS and int(info(server)["backup_lag_seconds"]) > 0
        repository.proxy.plan = lambda request: None
        until(lambda: is_archived(server) and info(server)["backup_status"] == "ok", "it does not go on")


@pytest.mark.timeout(120)
def test_another_history_in_a_bucket_is_not_written_over(repository, key, tmp_path):
    secret, public = key
    with archiving_server(repository, public) as one:
        fill(one, 1, 20)
        until(lambda: is_archived(one), "nothing is archived")
        one.kill()
        shutil.copytree(one.data(), tmp_path / "other" / "data")
        one.restart()
        fill(one, 21, 30)
        until(lambda: is_archived(one), "it does not go on")
        before = repository.store.names(repository.bucket)
        with archiving_server(repository, public, tmp_path / "other") as other:
            fill(other, 100, 110)
            until(lambda: info(other).get("backup_status") == "err", "nothing is told")
            assert "repository of" in info(other)["backup_last_error"], info(other)
            with other.client() as c:
                assert c.call("PING") == b"PONG"
        assert set(before) <= set(repository.store.names(repository.bucket))
        fill(one, 31, 31)
        until(lambda: is_archived(one), "it does not go on")
    assert restored(repository, tmp_path / "end", secret)[1] == 31


@pytest.mark.timeout(120)
@pytest.mark.parametrize("by_systemd", [False, True])
def test_credentials_that_are_wrong_are_told_and_read_anew(repository, key, tmp_path, by_systemd):
    public, environment = key[1], {"AWS_EC2_METADATA_DISABLED": "true"}
    if by_systemd:
        (handed_over := tmp_path / "handed-over").mkdir()
        repository.credentials = handed_over / "backup-credentials"
        environment["CREDENTIALS_DIRECTORY"] = str(handed_over)
    repository.write_credentials(repository.store.key[0], "wrong")
    with servers.Server("server", tls=False, extra=options(repository, public, not by_systemd), environment=environment) as server:
        fill(server, 1, 5)
        until(lambda: info(server).get("backup_status") == "err", "nothing is told")
        said = info(server)["backup_last_error"]
        assert "the credentials are wrong" in said, said
        repository.write_credentials(*repository.store.key)
        until(lambda: is_archived(server), f"they are not read again: {info(server)}")
        assert repository.store.key[1] not in server.log_tail(100_000)
    assert repository.store.names(repository.bucket)
