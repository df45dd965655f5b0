"""What the server tells of Sidekiq's queues is what Sidekiq::Queue and Sidekiq::Stats tell, in the course of random work."""

import json
import os
import random
import subprocess
import time

import pytest
from harness import servers
from harness.queues import until

RUBY = servers.ROOT / "tests" / "clients" / "ruby"
STEPS = 150
SETS = {"schedule": "scheduled", "retry": "retry", "dead": "dead"}
QUEUES = ["mail", "sms"]


class AtHand:
    """Sidekiq in a Ruby process, which does one thing at a time and answers with its own numbers."""

    def __init__(self, server, db=0):
        self.environment = {**os.environ, "SIDEKIQ_TEST_URL": server.url(db=db)}
        self.process = subprocess.Popen(["ruby", RUBY / "sidekiq_at_hand.rb"], env=self.environment, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def do(self, *words):
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"{words} ended Ruby"
        self.told_at = time.time()
        return json.loads(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


def random_step(choose):
    name, job, ago = choose.choice(QUEUES), choose.choice(["Succeed", "Fail", "Die"]), choose.randrange(1000)
    return choose.choice([
        ("push", name, job, choose.randint(1, 3), ago), ("push", name, job, 1, ago), ("push_bulk", name, job, choose.randint(1, 5)),
        ("schedule", name, job, 3600), ("work", name, ago), ("work", name, 0), ("work", name, ago), ("work", name, 0),
        ("enqueue_scheduled",), ("retry_one",), ("kill_one",), ("revive_one",), ("delete_one", name),
        ("clear", name) if choose.random() < 0.3 else ("look",),
    ])


def assert_told(report, at_hand, own, before, where):
    for name in QUEUES:
        queue = own["queues"].get(name, {"size": 0, "latency": 0})
        oldest = [at_hand.told_at - queue["latency"] if queue["size"] else None]
        report.assert_tells(before + name, "sidekiq", {"waiting": queue["size"]}, where, oldest)
    failed = {"schedule": [None], "retry": [own["retry_failed_at"]], "dead": [own["dead_at"]]}
    for name, state in SETS.items():
        report.assert_tells(before + name, "sidekiq", {state: own[state]}, where, oldest_failed=failed[name])


@pytest.mark.parametrize("seed, db", [(1, 0), (2, 3)])
def test_states_and_latencies_after_every_step(server, report, seed, db):
    before = f"db{db}/" if db else ""
    choose = random.Random(seed)
    seen = set()
    with AtHand(server, db) as at_hand:
        for i in range(STEPS):
            step = random_step(choose)
            own = at_hand.do(*step)
            seen |= {state for state in SETS.values() if own[state]}
            assert_told(report, at_hand, own, before, f"seed {seed}, step {i} {step}")
    assert seen == set(SETS.values())
    assert set(report.names("sidekiq")) <= {before + name for name in [*QUEUES, *SETS]}


def test_workers_are_the_threads_that_sidekiq_has(server, report):
    with AtHand(server) as at_hand:
        for name in QUEUES:
            at_hand.do("push", name, "Succeed", 20, 0)
        line = ["sidekiq", "-r", str(RUBY / "sidekiq_jobs.rb"), "-e", "test", "-c", "3", "-t", "1", "-q", "mail", "-q", "sms"]
        program = subprocess.Popen(line, env=at_hand.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            until("all jobs", lambda: not any(q["size"] for q in at_hand.do("look")["queues"].values()))
            assert at_hand.do("look")["threads"] == 3
            for name in QUEUES:
                report.wait_for_workers(name, "sidekiq", 3)
                assert [report.queue(name)[field] for field in ("added", "taken")] == [20, 20]
        finally:
            program.terminate()
            program.wait(30)
        for name in QUEUES:
            report.wait_for_workers(name, "sidekiq", 0)


def test_sets_of_sidekiqs_names_without_its_queues_are_nobodys_queue(report):
    report.client.call("ZADD", "retry", "1", "mine")
    report.client.call("SADD", "processes", "mine")
    assert report.queues() == []
