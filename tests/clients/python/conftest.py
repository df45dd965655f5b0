"""The servers of a Python suite: one cache and one queue, plaintext and TLS on each."""

import ssl
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness import certs, servers  # noqa: E402


@pytest.fixture(scope="session")
def cache():
    with servers.Server("cache", password=servers.password()) as server:
        yield server


@pytest.fixture(scope="session")
def queue():
    with servers.Server("queue", password=servers.password()) as server:
        yield server


@pytest.fixture(scope="session", params=["plain", "tls"])
def tls(request):
    return request.param == "tls"


@pytest.fixture(scope="session")
def tls_options(tls):
    """Keyword arguments that redis-py wants for a server certificate of our own authority."""
    return {"ssl_ca_certs": str(certs.made().authority), "ssl_cert_reqs": ssl.CERT_REQUIRED} if tls else {}
