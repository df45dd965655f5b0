"""An application on Celery that finds its queue through Sentinels; it adds jobs for as long as its input is open, and tells each in a line.

The worker is `celery -A celery_jobs worker`. The environment says where Sentinels are (JOBS_BROKER, as Celery writes it), the password of
servers and Sentinels, the authority of their certificates, and the file in which each job leaves a line.
"""

import os
import ssl
import sys
import threading
import time

from celery import Celery

PASSWORD = os.environ["JOBS_PASSWORD"]
TLS = {"ssl_ca_certs": os.environ["JOBS_AUTHORITY"], "ssl_cert_reqs": ssl.CERT_REQUIRED}
VISIBLE_SECONDS = 5

app = Celery("jobs", broker=os.environ["JOBS_BROKER"])
app.conf.update(
    broker_use_ssl=TLS,
    broker_transport_options={
        "master_name": "jobs",
        "sentinel_kwargs": {"password": PASSWORD, "ssl": True, **TLS, "socket_timeout": 1},
        "socket_timeout": 2, "socket_connect_timeout": 1,
        "visibility_timeout": VISIBLE_SECONDS, "unacked_restore_interval": 1, "unacked_restore_throttle": 1,
    },
    broker_connection_retry_on_startup=True, broker_connection_max_retries=None, task_ignore_result=True,
    task_acks_late=True, worker_prefetch_multiplier=1, worker_hijack_root_logger=False,
)


@app.task(name="note")
def note(word):
    """Appends a word to the file."""
    with open(os.environ["JOBS_FILE"], "a", encoding="utf-8") as file:
        file.write(f"{word}\n")


def add(number):
    """What came of adding one job."""
    try:
        note.apply_async((f"j{number}",), retry=False)
        return "added"
    except Exception as problem:  # noqa: BLE001 - whatever it is, it is told
        print(f"{type(problem).__name__}: {problem}", file=sys.stderr, flush=True)
        return "unknown"


def main():
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    for number in range(1_000_000):
        print(add(number), f"j{number}", flush=True)
        time.sleep(0.02)


if __name__ == "__main__":
    main()
