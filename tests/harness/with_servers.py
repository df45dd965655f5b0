"""Runs a command beside a cache and a queue, once over plaintext and once over TLS.

    python -m harness.with_servers [--variants plain,tls] COMMAND...

The command finds in its environment TANDEM_CACHE_URL, TANDEM_QUEUE_URL, TANDEM_VARIANT, TANDEM_CA (a file),
TANDEM_PASSWORD, TANDEM_QUEUE_PID (a file with the queue's process id: the queue is started anew when it
dies), TANDEM_QUEUE_USERS (the names of the queue's further users, of the same password), TANDEM_QUEUE_METRICS
(the address that Prometheus would read of the queue). Both servers have passwords. Exit status: that of the first run that failed.
"""

import os
import subprocess
import sys

from . import certs, servers

# What each part of an application on BullMQ may do.
USERS = servers.ROOT / "profiles" / "bullmq.acl"


def main():
    words = sys.argv[1:]
    variants = ["plain", "tls"]
    if words and words[0] == "--variants":
        variants, words = words[1].split(","), words[2:]
    return max(run(variant, words) for variant in variants)


def run(variant, words):
    secret = servers.password()
    with servers.Server("cache", password=secret) as cache, \
            servers.Server("queue", password=secret, supervise=True, users=[USERS]) as queue:
        tls = variant == "tls"
        environment = {**os.environ, "TANDEM_CACHE_URL": cache.url(tls), "TANDEM_QUEUE_URL": queue.url(tls),
                       "TANDEM_VARIANT": variant, "TANDEM_CA": str(certs.made().authority), "TANDEM_PASSWORD": secret,
                       "TANDEM_QUEUE_PID": str(queue.pidfile), "TANDEM_QUEUE_USERS": " ".join(queue.users),
                       "TANDEM_QUEUE_METRICS": f"http://127.0.0.1:{queue.metrics_port}/metrics"}
        print(f"# {variant}: {' '.join(words)}", flush=True)
        status = subprocess.run(words, env=environment, stdin=subprocess.DEVNULL).returncode
        if status:
            for server in (cache, queue):
                print(f"# last lines of the {server.kind}'s log:\n{server.log_tail()}", flush=True)
        return abs(status)


if __name__ == "__main__":
    sys.exit(main())
