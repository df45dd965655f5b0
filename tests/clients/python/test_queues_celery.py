"""What the server tells of Celery's queues is what kombu and Celery tell, in the course of random work."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from celery import Celery
from harness.queues import until
from kombu import Connection, Exchange, Producer
from kombu import Queue as KombuQueue

HERE = Path(__file__).resolve().parent
STEPS = 120


class Walk:
    """Random work on the queues of one exchange; messages are taken and acknowledged by hand."""

    def __init__(self, connection, names, priorities, seed):
        self.random = random.Random(seed)
        self.priorities = priorities
        self.channel = connection.channel()
        exchange = Exchange("shop", type="direct")
        self.queues = {name: KombuQueue(name, exchange, routing_key=f"to.{name}", channel=self.channel) for name in names}
        self.producer = Producer(self.channel, exchange)
        self.taken = []
        for queue in self.queues.values():
            queue.declare()

    def some(self):
        return self.queues[self.random.choice(list(self.queues))]

    def publish(self):
        queue = self.some()
        for _ in range(self.random.randint(1, 4)):
            self.producer.publish({"n": 1}, routing_key=queue.routing_key, priority=self.random.choice(self.priorities))

    def take(self):
        if message := self.some().get():
            self.taken.append(message)

    def ended(self):
        return self.taken.pop(self.random.randrange(len(self.taken))) if self.taken else None

    def acknowledge(self):
        if message := self.ended():
            message.ack()

    def reject(self):
        if message := self.ended():
            message.reject(requeue=False)

    def requeue(self):
        if message := self.ended():
            message.requeue()

    def purge(self):
        self.some().purge()

    def step(self):
        name = self.random.choice(STEPS_OF_WALK)
        getattr(self, name)()
        return name


STEPS_OF_WALK = ["publish"] * 8 + ["take"] * 10 + ["acknowledge"] * 4 + ["reject", "requeue", "requeue"] + ["purge"]


def waiting_in(channel, name):
    """What a passive queue_declare returns; itself it finds neither empty queues nor those behind a prefix."""
    return channel._size(name)


@pytest.mark.parametrize("seed, db, options, before", [
    (1, 0, {}, ""),
    (2, 2, {"sep": ":", "priority_steps": list(range(10)), "queue_order_strategy": "priority"}, "db2/"),
    (3, 0, {"global_keyprefix": "shop:"}, "shop:"),
])
def test_depths_after_every_step(server, report, seed, db, options, before):
    deepest = {"mail": 0, "sms": 0, "unacked": 0}
    with Connection(server.url(db=db), transport_options=options) as connection:
        walk = Walk(connection, ["mail", "sms"], [0, 3, 5, 9] if seed != 3 else [0], seed)
        for i in range(STEPS):
            where = f"seed {seed}, step {i} ({walk.step()})"
            depths = {name: waiting_in(walk.channel, name) for name in walk.queues}
            for name, depth in depths.items():
                report.assert_tells(before + name, "celery", {"waiting": depth}, where)
            report.assert_tells(before + "unacked", "celery", {"unacked": len(walk.taken)}, where)
            deepest = {name: max(most, {**depths, "unacked": len(walk.taken)}[name]) for name, most in deepest.items()}
        assert min(deepest.values()) >= 3
        walk.taken.clear()
    assert set(report.names("celery")) <= {before + name for name in deepest}


def app_of(url):
    app = Celery("gated", broker=url, backend=url)
    app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, task_default_queue="mail", broker_connection_retry_on_startup=True,
                    worker_hijack_root_logger=False, task_routes={"gated.sms": {"queue": "sms"}})

    @app.task(name="gated.run")
    def run(gate):
        """Ends when its file is there; a bound ends what hangs."""
        until("the gate", lambda: os.path.exists(gate), 60)

    @app.task(name="gated.sms")
    def sms():
        return 1

    return app


if "GATED_URL" in os.environ:  # a worker imports this file
    app = app_of(os.environ["GATED_URL"])


def test_what_a_worker_has_in_hand_is_unacked_and_a_worker_waits_on_its_queues_once(server, report, tmp_path):
    url, gate = server.url(db=0), str(tmp_path / "gate")
    app = app_of(url)
    line = [sys.executable, "-m", "celery", "-A", "test_queues_celery", "worker", "-n", "w@test", "-P", "threads", "-c", "2", "-Q", "mail,sms"]
    for _ in range(10):
        app.send_task("gated.run", [gate])
    log = open(tmp_path / "log", "wb")
    worker = subprocess.Popen(line, env={**os.environ, "GATED_URL": url}, cwd=HERE, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        inspect = app.control.inspect(timeout=5, limit=1)
        in_hand = until("two that run", lambda: in_hand_of(inspect, worker), 100)
        report.assert_tells("unacked", "celery", {"unacked": in_hand}, "while two run")
        with app.connection_for_read() as connection:
            waiting = waiting_in(connection.default_channel, "mail")
        assert in_hand + waiting == 10
        report.assert_tells("mail", "celery", {"waiting": waiting}, "while two run")
        open(gate, "wb").close()
        until("all tasks", lambda: report.queue("mail")["states"]["waiting"] == 0 and not any((report.queue("unacked") or {"states": {}})["states"].values()))
        for name in ("mail", "sms"):
            report.wait_for_workers(name, "celery", 1)
        said = report.queue("mail")
        assert (said["added"], said["taken"]) == (10, 10)
        # Celery's own conversation with its workers is no queue.
        assert set(report.names()) <= {"mail", "sms", "unacked"}
    finally:
        open(gate, "wb").close()
        worker.terminate()
        worker.wait(60)
        log.close()
    for name in ("mail", "sms"):
        report.wait_for_workers(name, "celery", 0)


def in_hand_of(inspect, worker):
    """How many tasks the worker says it has, as soon as two of them run; None before, and when an answer does not come in time."""
    assert worker.poll() is None, "the worker has ended; its log tells why"
    told = [told and told.get("w@test") for told in (inspect.active(), inspect.reserved(), inspect.scheduled())]
    if None in told or len(told[0]) != 2:
        return None
    return sum(map(len, told))


def test_age_of_the_oldest_is_that_of_the_first_that_was_published(server, report):
    with Connection(server.url(db=0)) as connection:
        walk = Walk(connection, ["mail"], [0], 0)
        walk.producer.publish({}, routing_key="to.mail")
        since = time.time()
        time.sleep(1.5)  # three times what an age may be off
        walk.producer.publish({}, routing_key="to.mail")
        report.assert_tells("mail", "celery", {"waiting": 2}, "two", [since])
        now = time.time()
        walk.queues["mail"].get().ack()
        report.assert_tells("mail", "celery", {"waiting": 1}, "the second", [now])
        walk.queues["mail"].get().ack()
        said = report.queue("mail")
        assert said is None or said["oldest_age_ms"] is None
