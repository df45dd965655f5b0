"""What the server tells of queues that nobody waits on, because their libraries ask again and again: Dramatiq's and arq's."""

import asyncio
import random
import time

import pytest
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.message import Message

STEPS = 200


class DramatiqWalk:
    """Random work on one queue; what is taken is in `taken` until it is acknowledged."""

    def __init__(self, server, db, namespace, seed):
        self.random = random.Random(seed)
        # Maintenance would give back what a broker without a heartbeat has taken; nothing here is that slow.
        self.broker, counting = (RedisBroker(url=server.url(db=db), namespace=namespace, maintenance_chance=0) for _ in range(2))
        self.broker.declare_queue("mail")
        self.counting = counting  # has taken nothing: then Dramatiq's size is that of all
        self.consumers = {name: self.broker.consume(name, prefetch=10_000, timeout=1) for name in ("mail", "mail.DQ")}
        self.ids, self.taken, self.late, self.dead = [], [], [], 0

    def message(self):
        at = int(time.time() * 1000) - self.random.randrange(1_000_000)
        return Message(queue_name="mail", actor_name="work", args=(), kwargs={}, options={}, message_timestamp=at)

    def send(self):
        self.ids += [self.broker.enqueue(self.message()) for _ in range(self.random.randint(1, 3))]

    def send_late(self):
        self.broker.enqueue(self.message(), delay=3_600_000)

    def take(self):
        """A consumer fetches all that there is, and hands out one after the other."""
        while (message := next(self.consumers["mail"])) is not None:
            self.taken.append(message)
            self.ids.pop(0)

    def take_late(self):
        while (message := next(self.consumers["mail.DQ"])) is not None:
            self.late.append(message)

    def one_of(self, messages):
        return messages.pop(self.random.randrange(len(messages))) if messages else None

    def acknowledge(self):
        if message := self.one_of(self.taken):
            self.consumers["mail"].ack(message)

    def refuse(self):
        if message := self.one_of(self.taken):
            self.consumers["mail"].nack(message)
            self.dead += 1

    def end_late(self):
        if message := self.one_of(self.late):
            self.consumers["mail.DQ"].ack(message)

    def step(self):
        name = self.random.choice(["send"] * 4 + ["send_late", "take", "take_late", "end_late", "refuse"] + ["acknowledge"] * 3)
        getattr(self, name)()
        return name


@pytest.mark.parametrize("seed, db, namespace, told", [(1, 0, "dramatiq", "mail"), (2, 5, "shop", "db5/shop:mail")])
def test_dramatiq_after_every_step(server, report, seed, db, namespace, told):
    walk = DramatiqWalk(server, db, namespace, seed)
    most = {}
    for i in range(STEPS):
        where = f"seed {seed}, step {i} ({walk.step()})"
        oldest = [walk.ids[0].message_timestamp / 1000 if walk.ids else None]
        states = {"waiting": len(walk.ids), "unacked": len(walk.taken), "dead": walk.dead}
        said = report.assert_tells(told, "dramatiq", states, where, oldest)
        if said:
            told_states = {state: said["states"][state] for state in ("waiting", "unacked", "delayed")}
            assert sum(told_states.values()) == walk.counting.do_qsize("mail"), where
            most = {state: max(most.get(state, 0), depth) for state, depth in said["states"].items()}
    assert min(most.values()) >= 3, most
    walk.broker.flush("mail")
    assert walk.counting.do_qsize("mail") == 0
    report.assert_tells(told, "dramatiq", {"waiting": 0, "unacked": 0, "delayed": 0}, "flushed", [None])


async def run_late(ctx):
    await asyncio.sleep(0)


async def assert_arq(server, report):
    settings = RedisSettings(port=server.port)
    pool = await create_pool(settings)
    for i in range(20):  # the moment from which it is due is all that arq keeps
        await pool.enqueue_job("run_late", _defer_by=i - 100 if i < 15 else 3600)
    waiting = len(await pool.queued_jobs())
    said = report.assert_tells("arq:queue", "arq", {"waiting": waiting}, "twenty jobs", [time.time() - 100])
    assert waiting == 20 and said["workers"] == 0
    worker = Worker([run_late], redis_settings=settings, burst=True, max_burst_jobs=5, handle_signals=False)
    await worker.async_run()
    await worker.close()
    assert len(await pool.queued_jobs()) == 15
    report.assert_tells("arq:queue", "arq", {"waiting": 15}, "five jobs are done")
    await pool.aclose()


def test_arq(server, report):
    asyncio.run(asyncio.wait_for(assert_arq(server, report), 60))
    assert report.names() == ["arq:queue"]
