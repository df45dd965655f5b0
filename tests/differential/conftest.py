"""Servers side by side: Redis 7.0, a newer Redis, and the one under test."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from harness import servers  # noqa: E402
from machine import references  # noqa: E402


@pytest.fixture(scope="session")
def redis_server():
    with servers.Server("server", reference=True, tls=False) as server:
        yield server


@pytest.fixture(scope="session")
def subject():
    with servers.Server("server", tls=False) as server:
        yield server


@pytest.fixture(scope="session")
def newer_redis():
    with references.server("8.2") as server:
        yield server
