"""compose.yaml as a user starts it: an image FROM scratch, both services healthy, data kept over a restart.

A Docker engine of our own runs for the test: its state lies in a temporary directory, and nothing of the machine's
own engine is touched.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import servers, wire  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
TARGET = "x86_64-unknown-linux-gnu" if os.uname().machine == "x86_64" else "aarch64-unknown-linux-gnu"


def run(*words, seconds=120, **more):
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL, **more)
    assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def engine():
    """A dockerd with its own socket, root and pidfile; yields the environment that reaches it."""
    state = Path(tempfile.mkdtemp(prefix="tandem-docker-"))
    host = f"unix://{state}/docker.sock"
    with open(state / "log", "wb") as log:
        daemon = subprocess.Popen(
            ["dockerd", "--iptables=false", "--ip6tables=false", "--storage-driver", "vfs", "--data-root", str(state / "data"), "--exec-root",
             str(state / "exec"), "--pidfile", str(state / "pid"), "--host", host], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    environment = {**os.environ, "DOCKER_HOST": host, "COMPOSE_PROJECT_NAME": "tandem-test", "COMPOSE_DOCKER_CLI_BUILD": "0", "DOCKER_BUILDKIT": "0"}
    try:
        end = time.monotonic() + 60
        while subprocess.run(["docker", "info"], env=environment, capture_output=True).returncode:
            assert daemon.poll() is None and time.monotonic() < end, (state / "log").read_text()[-3000:]
            time.sleep(0.2)
        yield environment
    finally:
        daemon.terminate()
        daemon.wait(30)
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="module")
def project(engine):
    """A copy of compose/ with static programs, as `Dockerfile.local` wants them."""
    folder = Path(tempfile.mkdtemp(prefix="tandem-compose-"))
    programs = ROOT / "target" / TARGET / "release"
    run("cargo", "build", "--release", "--locked", "--target", TARGET, "-p", "tandem", "-p", "tandem-cache", "-p", "tandem-queue",
        seconds=840, cwd=ROOT, env={**os.environ, "RUSTFLAGS": "-C target-feature=+crt-static"})
    shutil.copytree(ROOT / "compose", folder / "compose", ignore=shutil.ignore_patterns("secrets", "local", ".env"))
    local = folder / "compose" / "local"
    (local / "data").mkdir(parents=True)
    for name in ("tandem", "tandem-cache", "tandem-queue"):
        shutil.copy2(programs / name, local / name)
        assert "dynamically linked" not in subprocess.run(["file", programs / name], capture_output=True, text=True).stdout
    run(folder / "compose" / "setup.sh")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def stack(engine, project):
    ports = {name: servers.free_port() for name in ("CACHE", "QUEUE", "CACHE_METRICS", "QUEUE_METRICS")}
    environment = {**engine, "TANDEM_DOCKERFILE": "compose/Dockerfile.local", "TANDEM_OPEN_FILES": "4096",
                   **{f"TANDEM_{name}_PORT": str(port) for name, port in ports.items()}}

    def compose(*words, seconds=180):
        return run("docker-compose", "-f", "compose.yaml", "-f", "compose.dev.yaml", *words, cwd=project / "compose", env=environment, seconds=seconds)

    compose("build")
    compose("up", "-d")
    yield compose, environment, project
    compose("down", "-v", "-t", "20")


def container(stack, service):
    return stack[0]("ps", "-q", service).strip()


def wait_healthy(stack, service, seconds=90):
    end = time.monotonic() + seconds
    while True:
        state = run("docker", "inspect", "-f", "{{.State.Status}} {{.State.Health.Status}}", container(stack, service), env=stack[1]).strip()
        if state == "running healthy":
            return
        assert time.monotonic() < end, f"{service} is {state}:\n{run('docker', 'logs', container(stack, service), env=stack[1])[-2000:]}"
        time.sleep(0.5)


def connect(stack, service):
    """Reaches the container by its address in the internal network, where other services would."""
    name = container(stack, service)
    for address in run("docker", "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", name, env=stack[1]).split():
        try:
            client = wire.Client(address, {"cache": 6379, "queue": 6380}[service], timeout=5)
            break
        except OSError:
            continue
    else:
        raise AssertionError(f"{service} is not reachable")
    client.call("AUTH", (stack[2] / "compose" / "secrets" / f"{service}-password").read_text().strip())
    return client


@pytest.mark.timeout(900)
def test_both_become_healthy(stack):
    for service in ("cache", "queue"):
        wait_healthy(stack, service)


def test_both_answer_and_refuse_without_the_password(stack):
    for service in ("cache", "queue"):
        with connect(stack, service) as c:
            assert c.call("SET", "k", service) == b"OK"
            assert c.call("GET", "k") == service.encode()


def test_the_cache_evicts_and_the_queue_does_not(stack):
    with connect(stack, "cache") as c:
        assert c.call("CONFIG", "GET", "maxmemory-policy")[1] == b"allkeys-lru"
        assert 0 < int(c.call("CONFIG", "GET", "maxmemory")[1]) <= 512 << 20
    with connect(stack, "queue") as c:
        assert c.call("CONFIG", "GET", "maxmemory-policy")[1] == b"noeviction"
        assert 0 < int(c.call("CONFIG", "GET", "maxmemory")[1]) <= 1 << 30


def test_the_container_is_locked_down(stack):
    for service in ("cache", "queue"):
        said = run("docker", "inspect", "-f", "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} "
                   "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.Memory}}", container(stack, service), env=stack[1]).split()
        assert said[:4] == ["10001:10001", "true", "[ALL]", "unless-stopped"] and int(said[4]) > 0
        secret = (stack[2] / "compose" / "secrets" / f"{service}-password").read_text().strip()
        assert secret not in run("docker", "inspect", container(stack, service), env=stack[1])


@pytest.mark.timeout(180)
def test_the_queue_keeps_its_data_over_a_restart(stack):
    with connect(stack, "queue") as c:
        c.call("RPUSH", "jobs", *range(1000))
    stack[0]("restart", "-t", "20", "queue")
    wait_healthy(stack, "queue")
    with connect(stack, "queue") as c:
        assert c.call("LLEN", "jobs") == 1000
    run("docker", "kill", "-s", "KILL", container(stack, "queue"), env=stack[1])
    stack[0]("up", "-d")
    wait_healthy(stack, "queue")
    with connect(stack, "queue") as c:
        assert c.call("LLEN", "jobs") == 1000
