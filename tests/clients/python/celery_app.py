"""A Celery application as a project has it; the worker processes of the tests import it."""

import os
import ssl
import time

from celery import Celery

BROKER = os.environ["CELERY_TEST_URL"]
PREFIX = os.environ.get("CELERY_TEST_PREFIX", "")
TLS = {"ssl_ca_certs": os.environ["CELERY_TEST_CA"], "ssl_cert_reqs": ssl.CERT_REQUIRED} if BROKER.startswith("rediss") else None

app = Celery("shop", broker=BROKER, backend=BROKER)
app.conf.update(
    broker_use_ssl=TLS, redis_backend_use_ssl=TLS,
    broker_connection_retry_on_startup=True, worker_hijack_root_logger=False,
    task_queue_max_priority=10, task_default_priority=5, broker_transport_options={
        "priority_steps": list(range(10)), "queue_order_strategy": "priority", "sep": ":",
        "visibility_timeout": int(os.environ.get("CELERY_TEST_VISIBILITY", 3600)),
        "unacked_restore_interval": 1, "unacked_restore_throttle": 1,
        **({"global_keyprefix": PREFIX} if PREFIX else {}),
    },
    result_backend_transport_options={"global_keyprefix": PREFIX} if PREFIX else {},
    worker_prefetch_multiplier=1, result_expires=600, task_track_started=True,
)


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def now():
    return time.time()


@app.task
def note(path, word):
    """Appends a word to a file: the order of the lines is the order of the runs."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{word}\n")
    return word


@app.task(bind=True, max_retries=3)
def stubborn(self, path):
    with open(path, "a", encoding="utf-8") as file:
        file.write("try\n")
    if self.request.retries < 2:
        raise self.retry(countdown=0.2)
    return self.request.retries


@app.task
def broken():
    raise ValueError("on purpose")


@app.task(acks_late=True, reject_on_worker_lost=True)
def slow(path):
    """Says that it began; only its second run ends soon."""
    with open(path, "a", encoding="utf-8") as file:
        file.write("begin\n")
    with open(path, encoding="utf-8") as file:
        if len(file.readlines()) == 1:
            time.sleep(120)
    return "done"
