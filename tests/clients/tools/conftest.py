"""The servers that the tools talk to: one cache and one queue, plaintext and TLS on each."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness import servers  # noqa: E402


@pytest.fixture(scope="session")
def cache():
    with servers.Server("cache", password=servers.password()) as server:
        yield server


@pytest.fixture(scope="session")
def queue():
    users = [servers.ROOT / "profiles" / name for name in ("bullmq.acl", "celery.acl")]
    with servers.Server("queue", password=servers.password(), users=users) as server:
        yield server


@pytest.fixture(scope="session", params=["plain", "tls"])
def tls(request):
    return request.param == "tls"
