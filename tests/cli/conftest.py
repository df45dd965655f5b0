"""The servers that the command line talks to: an open one, and one with a password."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import servers  # noqa: E402

PASSWORD = "s3cret"


@pytest.fixture(scope="session")
def open_server():
    with servers.Server("server", extra=["--save", "", "--unixsocket", "server.sock", "--tls-auth-clients", "no"]) as server:
        yield server


@pytest.fixture(scope="session")
def closed_server():
    with servers.Server("server", password=PASSWORD, extra=["--save", ""]) as server:
        yield server
