"""Celery 5.7 with the server as broker and result backend, in worker processes of their own."""

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import certs

HERE = Path(__file__).resolve().parent


def of(url, user):
    """The URL for another user of the same server, whose password they share."""
    return url.replace("://:", f"://{user}:")


def settings(url, prefix="", visibility=3600):
    """What `celery_app` reads from its environment."""
    return {"CELERY_TEST_URL": url, "CELERY_TEST_PREFIX": prefix, "CELERY_TEST_VISIBILITY": str(visibility),
            "CELERY_TEST_CA": str(certs.made().authority)}


def application(url, prefix="", visibility=3600):
    """The same module as the workers have, with its own settings and, as who sends tasks, fewer rights."""
    url = of(url, "celery-producer")
    os.environ.update(settings(url, prefix, visibility))
    spec = importlib.util.spec_from_file_location(f"celery_app_{abs(hash((url, prefix, visibility)))}", HERE / "celery_app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for task in list(module.app.tasks.values()):
        task.name = task.name.replace(module.__name__, "celery_app")
    return module


class Worker:
    def __init__(self, name, url, log, prefix="", visibility=3600, concurrency=2, more=()):
        self.name, self.log = name, log
        url = of(url, "celery-worker")
        line = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-n", f"{name}@test", "-c", str(concurrency),
                "-l", "INFO", *more]
        with open(log, "ab") as out:
            self.process = subprocess.Popen(line, env={**os.environ, **settings(url, prefix, visibility)}, cwd=HERE, stdout=out, stderr=out,
                                            stdin=subprocess.DEVNULL, start_new_session=True)

    def wait_ready(self, seconds=40):
        end = time.monotonic() + seconds
        while b"ready." not in self.log.read_bytes():
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()[-3000:]
            time.sleep(0.05)
        return self

    def kill(self):
        """The whole group: parent and children go at once, as when a machine dies."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


@pytest.fixture(scope="module")
def url(queue, tls):
    return queue.url(tls, db=0)


@pytest.fixture(scope="module")
def app(url):
    return application(url)


@pytest.fixture(scope="module")
def worker(url, app, tmp_path_factory):
    made = Worker("main", url, tmp_path_factory.mktemp("celery") / "worker.log").wait_ready()
    yield made
    made.stop()


def until(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.05)


def lines(path):
    return path.read_text().split() if path.exists() else []


def test_a_task_returns_its_value(app, worker):
    result = app.add.delay(2, 3)
    assert result.get(timeout=20) == 5
    assert result.state == "SUCCESS"
    result.forget()


def test_a_failure_carries_its_exception(app, worker):
    result = app.broken.delay()
    with pytest.raises(ValueError, match="on purpose"):
        result.get(timeout=20)
    assert result.state == "FAILURE" and "on purpose" in result.traceback


def test_chain_group_and_chord(app, worker):
    from celery import chain, chord, group
    assert chain(app.add.s(1, 2), app.add.s(3), app.add.s(4))().get(timeout=30) == 10
    assert group(app.add.s(i, i) for i in range(20))().get(timeout=30) == [2 * i for i in range(20)]
    assert chord([app.add.s(i, 1) for i in range(20)], app.total.s())().get(timeout=30) == 210
    nested = chord([chain(app.add.s(i, 1), app.add.s(1)) for i in range(5)], app.total.s())
    assert nested().get(timeout=30) == 20


def test_retries(app, worker, tmp_path):
    assert app.stubborn.delay(str(tmp_path / "tries")).get(timeout=30) == 2
    assert len(lines(tmp_path / "tries")) == 3


def test_eta_and_countdown(app, worker):
    sent = time.time()
    ran = app.now.apply_async(countdown=1.5).get(timeout=30)
    assert 1.4 <= ran - sent < 12


def test_inspect_ping_and_control(app, worker):
    assert app.app.control.inspect(timeout=5).ping()["main@test"] == {"ok": "pong"}
    assert "celery_app.add" in app.app.control.inspect(timeout=5).registered()["main@test"]
    task = app.now.apply_async(countdown=3600)
    until("the scheduled task", lambda: app.app.control.inspect(timeout=3).scheduled()["main@test"])
    app.app.control.revoke(task.id)
    until("the revocation", lambda: task.id in app.app.control.inspect(timeout=3).revoked()["main@test"])


def test_priorities(app, url, tmp_path):
    """Sent before the only worker of the queue starts: it must take the lowest number first."""
    path = tmp_path / "order"
    for priority in (9, 0, 5, 3, 7):
        app.note.apply_async((str(path), f"p{priority}"), priority=priority, queue="ranked")
    made = Worker("ranked", url, tmp_path / "log", concurrency=1, more=["-Q", "ranked"])
    try:
        until("five tasks", lambda: len(lines(path)) == 5, 60)
    finally:
        made.stop()
    assert lines(path) == ["p0", "p3", "p5", "p7", "p9"]


def test_acks_late_survives_a_killed_worker(queue, tls, tmp_path):
    """The message stays unacknowledged when its worker dies and comes back after the visibility timeout."""
    url = queue.url(tls, db=2)
    app = application(url, visibility=5)
    path = tmp_path / "runs"
    first = Worker("first", url, tmp_path / "first.log", visibility=5).wait_ready()
    result = app.slow.delay(str(path))
    until("the task to begin", lambda: lines(path) == ["begin"])
    first.kill()
    second = Worker("second", url, tmp_path / "second.log", visibility=5).wait_ready()
    try:
        assert result.get(timeout=80) == "done"
    finally:
        second.stop()
    assert lines(path) == ["begin", "begin"]


def test_three_tenants_share_the_server(queue, tls, tmp_path):
    """1,000 tasks with a global_keyprefix a tenant: each sees its own only."""
    url = queue.url(tls, db=3)
    tenants = ["red:", "green:", "blue:"]
    apps = {tenant: application(url, prefix=tenant) for tenant in tenants}
    workers = [Worker(tenant[:-1], url, tmp_path / f"{tenant[:-1]}.log", prefix=tenant, concurrency=2) for tenant in tenants]
    try:
        [w.wait_ready() for w in workers]
        sent = [(i, apps[tenants[i % 3]].add.delay(i, 1)) for i in range(1000)]
        assert [result.get(timeout=90) for _, result in sent] == [i + 1 for i, _ in sent]
        for tenant in tenants:
            replies = apps[tenant].app.control.inspect(timeout=5).ping()
            assert list(replies) == [f"{tenant[:-1]}@test"]
    finally:
        [w.stop() for w in workers]
    with queue.client() as client:
        client.call("SELECT", 3)
        names = client.call("KEYS", "*")
    assert names and all(name.split(b":")[0] + b":" in [t.encode() for t in tenants] for name in names), names[:5]
