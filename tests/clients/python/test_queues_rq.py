"""What the server tells of RQ's queues is what RQ's own getters tell, in the course of random work."""

import os
import random
import subprocess
import sys
import time
from datetime import timedelta

import pytest
import redis
from harness.queues import until
from rq import Queue, Retry, SimpleWorker, Worker
from rq.registry import FailedJobRegistry
from rq.timeouts import TimerDeathPenalty

STEPS = 80
REGISTRIES = {"active": "started", "deferred": "deferred", "scheduled": "scheduled", "completed": "finished", "failed": "failed"}
during = []


def succeed():
    """What runs while it is `active`: it looks at the queue from inside of a job."""
    for look in during:
        look()


def fail():
    raise ValueError("on purpose")


class HandWorker(SimpleWorker):
    """Runs jobs in this process; the alarm signal is left to pytest."""

    death_penalty_class = TimerDeathPenalty


class Walk:
    """Random work on one queue; after each step it stands still."""

    def __init__(self, connection, name, seed):
        self.queue = Queue(name, connection=connection)
        self.random = random.Random(seed)
        self.worker = HandWorker([self.queue], connection=connection)

    def step(self):
        name = self.random.choice(STEPS_OF_WALK)
        getattr(self, name)()
        return name

    def task(self):
        return fail if self.random.random() < 0.4 else succeed

    def add(self):
        self.age(self.queue.enqueue(self.task()))

    def add_at_front(self):
        self.age(self.queue.enqueue(self.task(), at_front=True))

    def add_scheduled(self):
        self.queue.enqueue_in(timedelta(hours=1), self.task())

    def add_to_retry(self):
        self.queue.enqueue(fail, retry=Retry(max=1, interval=self.random.choice([0, 3600])))

    def add_dependent(self):
        if self.queue.job_ids:
            self.queue.enqueue(self.task(), depends_on=self.random.choice(self.queue.job_ids))

    def age(self, job):
        """Else every age would be about nothing."""
        job.enqueued_at -= timedelta(seconds=self.random.randrange(1000))
        job.save()

    def work(self):
        self.worker.work(burst=True, max_jobs=1, logging_level="CRITICAL")

    def requeue(self):
        registry = self.queue.failed_job_registry
        if ids := registry.get_job_ids():
            registry.requeue(self.random.choice(ids))

    def cancel(self):
        if ids := self.queue.job_ids + self.queue.scheduled_job_registry.get_job_ids():
            self.queue.fetch_job(self.random.choice(ids)).cancel()

    def delete(self):
        if ids := self.queue.job_ids + self.queue.failed_job_registry.get_job_ids():
            self.queue.fetch_job(self.random.choice(ids)).delete()

    def empty(self):
        self.queue.empty()

    def states(self):
        registries = {state: getattr(self.queue, f"{name}_job_registry").count for state, name in REGISTRIES.items()}
        return {"waiting": self.queue.count, **registries}

    def oldest(self):
        """When the job that is taken next was enqueued, and when the one failed that failed first."""
        ids = self.queue.get_job_ids(0, 1)
        failed = self.queue.failed_job_registry.get_job_ids(0, 0)
        return ([self.queue.fetch_job(ids[0]).enqueued_at.timestamp()] if ids else [None],
                [self.queue.fetch_job(failed[0]).ended_at.timestamp()] if failed else [None])


STEPS_OF_WALK = ["add"] * 6 + ["add_at_front", "add_scheduled", "add_to_retry", "add_to_retry", "add_dependent", "add_dependent"] \
    + ["work"] * 9 + ["requeue", "cancel", "delete"] * 2 + ["empty"]


def assert_told(report, walk, told, where):
    oldest, oldest_failed = walk.oldest()
    return report.assert_tells(told, "rq", walk.states(), where, oldest, oldest_failed)


@pytest.mark.parametrize("seed, db, name, told", [(1, 0, "mail", "mail"), (2, 4, 'two words "grüße"', 'db4/two words "grüße"')])
def test_states_and_ages_after_every_step(server, report, seed, db, name, told):
    with redis.Redis(port=server.port, db=db) as connection:
        walk = Walk(connection, name, seed)
        wrong, looked = [], []

        def look():  # RQ takes an exception of a job for the job's failure
            try:
                assert assert_told(report, walk, told, f"seed {seed}, inside of a job")["states"]["active"] == 1
                looked.append(1)
            except AssertionError as error:
                wrong.append(error)

        during[:] = [look]
        try:
            for i in range(STEPS):
                assert_told(report, walk, told, f"seed {seed}, step {i} ({walk.step()})")
                assert not wrong, wrong[0]
        finally:
            during.clear()
        assert looked
        assert report.names("rq") == [told]


def test_workers_are_those_that_rq_counts(server, report, tmp_path):
    url = f"redis://127.0.0.1:{server.port}"
    line = [sys.executable, "-m", "rq.cli", "worker", "-u", url, "mail", "sms"]
    with redis.Redis(port=server.port) as connection:
        queues = [Queue(name, connection=connection) for name in ("mail", "sms")]
        for queue in queues:
            queue.enqueue(time.sleep, 0)
        worker = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
        try:
            until("both jobs", lambda: all(q.finished_job_registry.count == 1 for q in queues))
            for queue in queues:
                assert Worker.count(queue=queue) == 1
                report.wait_for_workers(queue.name, "rq", 1)
                assert [report.queue(queue.name)[field] for field in ("added", "taken")] == [1, 1]
            # A job that lasts until somebody opens the pipe.
            os.mkfifo(tmp_path / "pipe")
            queues[0].enqueue(subprocess.check_call, ["cat", str(tmp_path / "pipe")])
            until("the job to be at work", lambda: queues[0].started_job_registry.count == 1)
            report.wait_for_workers("mail", "rq", Worker.count(queue=queues[0]))
            assert report.queue("mail")["states"]["active"] == report.queue("mail")["workers"] == 1
            (tmp_path / "pipe").write_text("")
            until("the job to be done", lambda: queues[0].finished_job_registry.count == 2)
            # RQ forgets a stop that comes between two of its looks at the queues.
            until("the worker to wait", lambda: connection.info("clients")["blocked_clients"] == 1)
        finally:
            worker.terminate()
            try:
                worker.wait(30)
            finally:
                worker.kill()
        for queue in queues:
            assert Worker.count(queue=queue) == 0
            report.wait_for_workers(queue.name, "rq", 0)


def test_failed_jobs_are_told_after_their_queue_is_empty(server, report):
    with redis.Redis(port=server.port) as connection:
        walk = Walk(connection, "mail", 0)
        walk.queue.enqueue(fail)
        walk.work()
        assert FailedJobRegistry(queue=walk.queue).count == 1
        assert assert_told(report, walk, "mail", "after a failure")["states"]["failed"] == 1
