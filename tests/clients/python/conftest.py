"""The servers of a Python suite: one cache and one queue, plaintext and TLS on each."""

import ssl
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness import certs, servers  # noqa: E402
from harness.queues import Report  # noqa: E402


@pytest.fixture(scope="session")
def cache():
    with servers.Server("cache", password=servers.password()) as server:
        yield server


@pytest.fixture(scope="session")
def queue():
    # What the file itself says must be added for the databases, the queue and the prefixes that the tests use.
    rules = ["~ranked*", "&/2.celery.pidbox", "&/2.celeryev/worker.*"]
    for tenant in ["red:", "green:", "blue:"]:
        rules += [f"~{tenant}*", f"&{tenant}/3.celery.pidbox", f"&{tenant}/3.celeryev/worker.*", f"&{tenant}*"]
    with servers.Server("queue", password=servers.password(), users=[servers.ROOT / "profiles" / "celery.acl"], more_rules=rules) as server:
        yield server


@pytest.fixture(scope="module")
def server():
    """A queue of a module's own, for what is told of its queues."""
    with servers.Server("queue", tls=False, reference=False) as server:
        yield server


@pytest.fixture
def report(server):
    """What the server tells of its queues, of which none is left from before."""
    report = Report(server)
    report.forget_all()
    yield report
    report.close()


@pytest.fixture(scope="session", params=["plain", "tls"])
def tls(request):
    return request.param == "tls"


@pytest.fixture(scope="session")
def tls_options(tls):
    """Keyword arguments that redis-py wants for a server certificate of our own authority."""
    return {"ssl_ca_certs": str(certs.made().authority), "ssl_cert_reqs": ssl.CERT_REQUIRED} if tls else {}
