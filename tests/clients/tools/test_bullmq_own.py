"""BullMQ's own suite, of the last version whose package has it, against a queue: the numbers are those on Redis 7.0.

Some of its tests listen to a stream from its end on, and hear nothing when they are late: what fails is tried again.
"""

import os
import re
import subprocess

import pytest
from harness import servers

FOLDER = servers.ROOT / "tests" / "clients" / "node" / "bullmq1"
TESTS = {"bulk": 2, "child-pool": 6, "clean": 8, "compat": 22, "connection": 2, "delay": 4, "events": 8, "flow": 8,
         "getters": 13, "job": 31, "obliterate": 5, "pause": 8, "rate_limiter": 4, "repeat": 17,
         "sandboxed_process": 12, "stalled_jobs": 3, "worker": 46}


@pytest.fixture(scope="module")
def queue():
    with servers.Server("queue", tls=False, reference=False) as server:
        yield server


@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", TESTS)
def test_bullmqs_own_suite_passes(queue, name):
    words = ["npx", "mocha", "--exit", "--timeout", "20000", "--retries", "2", "--require", "./lead.cjs",
             f"node_modules/bullmq/dist/test/test_{name}.js"]
    # Its ioredis leaves a promise behind whose refusal nobody hears when it is closed while it connects.
    environment = {**os.environ, "TANDEM_PORT": str(queue.port), "NODE_OPTIONS": "--unhandled-rejections=warn"}
    done = subprocess.run(words, cwd=FOLDER, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    passing = re.search(r"(\d+) passing", done.stdout)
    assert done.returncode == 0 and passing and int(passing[1]) == TESTS[name], done.stdout[-3000:] + done.stderr[-1000:]
