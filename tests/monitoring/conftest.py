"""The scene and the Prometheus that watches it, once for all tests."""

import contextlib
import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import scene  # noqa: E402
import shipped  # noqa: E402
from harness import certs  # noqa: E402

OPEN_FILES = 8192


@pytest.fixture(scope="session")
def there(tmp_path_factory):
    """The servers, of which some trouble has not begun."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, most), most))
    with scene.Scene(tmp_path_factory.mktemp("scene")) as all_servers:
        yield all_servers


@pytest.fixture(scope="session")
def prometheus(there, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prometheus")
    guarded = there.servers["guarded"].metrics_port
    with shipped.Prometheus(folder, there.targets(), guarded, there.token, certs.made().authority) as running:
        everybody = len(there.servers)
        running.until(lambda: len(running.query('up{job="tandem"} == 1')) == everybody, "not all instances are scraped")
        yield running


@pytest.fixture(scope="session")
def troubles(there, prometheus):
    """All troubles at once; what ends each of them, by name."""
    with ThreadPoolExecutor(len(scene.TROUBLES)) as pool:
        running = {name: make(there, prometheus) for make, name, _ in scene.TROUBLES}
        for begun in [pool.submit(next, trouble) for trouble in running.values()]:
            begun.result()
        yield running
        for trouble in running.values():
            with contextlib.suppress(StopIteration):
                next(trouble)
