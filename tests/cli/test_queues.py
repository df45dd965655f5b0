"""`tandem queues`: the table that a person reads, and the JSON that a script does."""

import json
import os
import subprocess

from harness import servers

PROGRAM = [str(servers.BINARIES / "tandem"), "queues"]
SECONDS_MAX = 60


def tell(*words, **variables):
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run([*PROGRAM, *words], env=environment, capture_output=True, text=True, timeout=SECONDS_MAX)


def test_queues_are_a_table_or_json(closed_server):
    port = ("-p", str(closed_server.port))
    right = {"REDISCLI_AUTH": "s3cret"}
    client = closed_server.client()
    client.call("FLUSHALL")
    said = tell(*port, **right)
    assert (said.returncode, said.stderr) == (0, "") and said.stdout.startswith("No queues"), said
    client.call("HSET", "bull:mail:meta", "opts.maxLenEvents", "10000")
    client.call("LPUSH", "bull:mail:wait", "1", "2")
    client.call("ZADD", "bull:mail:delayed", "4", "3")
    said = tell(*port, **right)
    head, row = said.stdout.splitlines()
    assert head.split() == ["QUEUE", "KIND", "WORKERS", "ADDED", "TAKEN", "ADDED/S", "TAKEN/S", "OLDEST", "STATES"]
    assert row.split() == ["mail", "bullmq", "0", "2", "0", "0.0", "0.0", "-", "2", "waiting,", "1", "delayed"]
    (told,) = json.loads(tell("--json", *port, **right).stdout)
    assert (told["name"], told["kind"], told["states"]["waiting"]) == ("mail", "bullmq", 2)
    assert list(told)[-2:] == ["oldest_age_ms", "oldest_failed_age_ms"] and told["oldest_age_ms"] is None
    client.call("FLUSHALL")


def test_what_cannot_be_told_is_an_error(closed_server):
    refused = tell("-p", str(closed_server.port))
    assert refused.returncode == 1 and "NOAUTH" in refused.stderr and not refused.stdout, refused
    wrong = tell("-p", str(closed_server.port), "mail")
    assert wrong.returncode == 1 and "'mail'" in wrong.stderr and not wrong.stdout, wrong
    helped = tell("--help")
    assert helped.returncode == 0 and "Usage: tandem queues" in helped.stdout and "Examples:" in helped.stdout, helped
