"""`tandem queues`: the table that a person reads, and the JSON that a script does."""

import csv
import io
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
    client.call("XGROUP", "CREATE", b"\xff\"", "c", "0", "MKSTREAM")
    keys = [queue["key"] for queue in json.loads(tell("--json", *port, **right).stdout)]
    assert "\ufffd\"" in keys, keys
    client.call("DEL", b"\xff\"")
    client.call("XGROUP", "CREATE", "a,b", "c", "0", "MKSTREAM")
    said = list(csv.DictReader(io.StringIO(tell("--csv", *port, **right).stdout)))
    assert [(q["name"], q["kind"], q["waiting"], q["delayed"], q["pending"]) for q in said] == [
        ("a,b/c", "stream", "0", "", "0"), ("mail", "bullmq", "2", "1", "")], said
    client.call("FLUSHALL")
    client.call("CONFIG", "SET", "queues-max", "0")
    try:
        assert tell(*port, **right).stdout == "No queue is followed: queues-max is 0.\n"
    finally:
        client.call("CONFIG", "SET", "queues-max", "1000")
    client.call("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+tandem")
    assert tell("--user", "reader", "-a", "pw", *port).stdout.startswith("No queues that this user may read")


def test_a_folder_of_up_is_enough_to_name_the_queue_in_it(tmp_path):
    said = tell("--dir", str(tmp_path))
    assert said.returncode == 1 and "the queue was not reached" in said.stderr and str(tmp_path) in said.stderr, said


def test_what_cannot_be_told_is_an_error(closed_server):
    refused = tell("-p", str(closed_server.port))
    assert refused.returncode == 1 and "NOAUTH" in refused.stderr and not refused.stdout, refused
    for words in (("--watch", "--json"), ("--json", "--csv"), ("-i", "2"), ("--watch", "-i", "0"), ("--scan",)):
        refused = tell("-p", str(closed_server.port), *words)
        assert refused.returncode == 2 and refused.stderr and not refused.stdout, refused
    wrong = tell("-p", str(closed_server.port), "mail")
    assert wrong.returncode == 2 and "'mail'" in wrong.stderr and not wrong.stdout, wrong
    helped = tell("--help")
    assert helped.returncode == 0 and "Usage: tandem queues" in helped.stdout and "Examples:" in helped.stdout, helped
