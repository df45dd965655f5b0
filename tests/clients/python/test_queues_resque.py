"""What the server tells of Resque's queues. Debian has no Resque, so its steps are done by hand, as its documentation describes the keys:
the set `resque:queues` names them, jobs are pushed to the tail of `resque:queue:<name>` and taken from its head, and what has failed is
pushed to the list `resque:failed`."""

import json
import random
import time
from datetime import datetime, timezone

QUEUES = ["mail", "sms"]
STEPS = 120


def enqueue(client, name, count):
    client.call("SADD", "resque:queues", name)
    for _ in range(count):
        client.call("RPUSH", f"resque:queue:{name}", json.dumps({"class": "Send", "args": [1]}))


def fail(client, name, when):
    failed_at = datetime.fromtimestamp(when, timezone.utc).strftime("%Y/%m/%d %H:%M:%S UTC")
    text = json.dumps({"failed_at": failed_at, "payload": {"class": "Send", "args": [1]}, "exception": "RuntimeError", "queue": name})
    client.call("RPUSH", "resque:failed", text)


def test_queues_after_every_step_of_random_work(report):
    choose, client = random.Random(1), report.client
    pushed, failed = {name: [] for name in QUEUES}, []
    counts = {name: [0, 0] for name in QUEUES}
    for i in range(STEPS):
        name, step = choose.choice(QUEUES), choose.choice(["push", "push", "work", "work", "fail", "clear failed"])
        if step == "push":
            count = choose.randint(1, 3)
            enqueue(client, name, count)
            pushed[name] += [time.time()] * count
            counts[name][0] += count
        elif step in ("work", "fail") and pushed[name]:
            client.call("LPOP", f"resque:queue:{name}")
            pushed[name].pop(0)
            counts[name][1] += 1
            if step == "fail":
                when = int(time.time()) - choose.randrange(1000)
                fail(client, name, when)
                failed.append(when)
        elif step == "clear failed" and choose.random() < 0.2:
            client.call("DEL", "resque:failed")
            failed.clear()
        where = f"step {i} ({step})"
        for name in QUEUES:
            said = report.assert_tells(name, "resque", {"waiting": len(pushed[name])}, where, [next(iter(pushed[name]), None)])
            if said:
                assert [said["added"], said["taken"]] == counts[name], where
        report.assert_tells("failed", "resque", {"failed": len(failed)}, where, [], [next(iter(failed), None)])
    assert sum(added for added, _ in counts.values()) > 50 and counts["mail"][1] > 10


def test_a_queue_that_is_removed_is_forgotten_at_once(report):
    enqueue(report.client, "mail", 1)
    enqueue(report.client, "failed", 1)
    fail(report.client, "mail", time.time())
    assert report.names("resque") == ["failed", "mail", "resque:queue:failed"]
    report.client.call("LPOP", "resque:queue:mail")
    assert "mail" in report.names("resque")  # its name is kept
    report.client.call("SREM", "resque:queues", "mail")
    assert report.names("resque") == ["failed", "resque:queue:failed"]
