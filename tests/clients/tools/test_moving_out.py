"""Growing beyond one machine, by what stock tools do: a queue is emptied into a cluster, and a cache is one of several behind a proxy."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "differential"))

from harness import servers, wire  # noqa: E402
from machine import references  # noqa: E402

PATIENCE_S = 60
PASSWORD = "moving-out-2f9c"
# Node ports have a second one for the cluster, so many above.
BUS_PORT_OFFSET = 10_000


def until(condition, what):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def node_port():
    while (port := servers.free_port()) + BUS_PORT_OFFSET > 65_535:
        pass
    return port


def redis_cli(*words):
    done = subprocess.run(["redis-cli", *map(str, words)], capture_output=True, text=True, timeout=PATIENCE_S,
                          env={**os.environ, "REDISCLI_AUTH": PASSWORD})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(params=["7.0", "valkey"])
def cluster(request, tmp_path):
    """Ports of three real nodes that are one cluster."""
    program, nodes, ports = references.binary(request.param), [], []
    try:
        for _ in range(3):
            port = node_port()
            (folder := tmp_path / str(port)).mkdir()
            nodes.append(subprocess.Popen(
                [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--cluster-enabled", "yes",
                 "--requirepass", PASSWORD, "--masterauth", PASSWORD],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            ports.append(port)
        for port in ports:
            until(lambda port=port: answers(port), "a node does not start")
        redis_cli("--cluster", "create", *(f"127.0.0.1:{port}" for port in ports), "--cluster-yes")
        until(lambda: all("cluster_state:ok" in redis_cli("-p", port, "CLUSTER", "INFO") for port in ports), "no cluster comes about")
        yield ports
    finally:
        for node in nodes:
            node.kill()
            node.wait()


def answers(port):
    done = subprocess.run(["redis-cli", "-p", str(port), "PING"], capture_output=True, env={**os.environ, "REDISCLI_AUTH": PASSWORD})
    return b"PONG" in done.stdout


def fill(client):
    """Keys of every type, some of which end in an hour, and a queue's."""
    for n in range(200):
        client.call("SET", f"text:{n}", f"value {n}", *(["EX", 3600] if n % 2 else []))
        client.call("RPUSH", f"{{jobs:{n}}}:wait", *range(n % 50 + 1))
    client.call("HSET", "bull:mail:1", "name", "welcome", "data", '{"to":"a"}', "attempts", 3)
    client.call("ZADD", "bull:mail:delayed", *(word for n in range(300) for word in (n + 0.5, f"job {n}")))
    client.call("SADD", "numbers", *range(1000))
    client.call("SADD", "names", *(f"name {n}" for n in range(300)))
    client.call("XADD", "bull:mail:events", "1-1", "event", "added")
    client.call("XGROUP", "CREATE", "bull:mail:events", "readers", "0")
    client.call("XREADGROUP", "GROUP", "readers", "one", "STREAMS", "bull:mail:events", ">")
    client.call("SET", "large", "x" * 3_000_000)
    client.call("PFADD", "seen", *range(5000))


def contents(ask):
    """What each key holds, as commands tell it."""
    def read(key):
        readers = {
            b"string": ("GET", key), b"list": ("LRANGE", key, 0, -1), b"zset": ("ZRANGE", key, 0, -1, "WITHSCORES"),
            b"hash": ("HGETALL", key), b"set": ("SMEMBERS", key), b"stream": ("XRANGE", key, "-", "+"),
        }
        kind = bytes(ask("TYPE", key))
        value = ask(*readers[kind])
        return kind, ask("PTTL", key) > 0, sorted(value) if kind == b"set" else value
    return {key: read(key) for key in ask("KEYS", "*")}


def test_a_queue_is_emptied_into_a_cluster(cluster):
    with servers.Server("queue", password=PASSWORD, tls=False) as queue, queue.client() as source:
        fill(source)
        before = contents(source.call)
        said = redis_cli("--cluster", "import", f"127.0.0.1:{cluster[0]}", "--cluster-from", f"127.0.0.1:{queue.port}",
                         "--cluster-from-pass", PASSWORD)
        assert source.call("DBSIZE") == 0, said
        after = {}
        for port in cluster:
            with contextlib.closing(wire.Client("127.0.0.1", port)) as node:
                node.call("AUTH", PASSWORD)
                after |= contents(node.call)
        assert after == before


@pytest.fixture
def caches():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(servers.Server("cache", password=PASSWORD, tls=False)) for _ in range(3)]


@contextlib.contextmanager
def running(words, port):
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers_at_all(port), f"{words[0]} does not listen")
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def answers_at_all(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def keys_of(caches):
    """The keys of each cache by its port."""
    def keys(cache):
        with cache.client() as c:
            return set(c.call("KEYS", "*"))
    return {cache.port: keys(cache) for cache in caches}


def test_a_proxy_shares_keys_out_among_caches_by_consistent_hashing(caches, tmp_path):
    port = servers.free_port()
    settings = tmp_path / "nutcracker.yml"

    def proxy(members):
        lines = [f"   - 127.0.0.1:{cache.port}:1 cache-{number}" for number, cache in members]
        settings.write_text("\n".join([
            "caches:", f"  listen: 127.0.0.1:{port}", "  redis: true", f"  redis_auth: {PASSWORD}", "  hash: fnv1a_64",
            "  distribution: ketama", "  timeout: 5000", "  servers:", *lines, ""]))
        return running(["nutcracker", "-c", settings, "-s", str(servers.free_port()), "-p", tmp_path / "pid"], port)

    with proxy(list(enumerate(caches))), contextlib.closing(wire.Client("127.0.0.1", port)) as c:
        assert c.call("AUTH", PASSWORD) == b"OK"
        for n in range(900):
            assert c.call("SET", f"page:{n}", f"<{n}>") == b"OK"
        assert c.call("MGET", *(f"page:{n}" for n in range(900))) == [b"<%d>" % n for n in range(900)]
        assert c.call("EVAL", "return redis.call('GET', KEYS[1])", 1, "page:7") == b"<7>"
        assert c.call("DEL", "page:0", "page:1", "page:2") == 3
    before = keys_of(caches)
    assert sum(map(len, before.values())) == 897 and all(len(keys) > 150 for keys in before.values()), before
    # One cache less: keys of the others stay where they are.
    caches[2].stop()
    with proxy(list(enumerate(caches))[:2]), contextlib.closing(wire.Client("127.0.0.1", port)) as c:
        c.call("AUTH", PASSWORD)
        found = {key for keys in before.values() for key in keys if c.call("GET", key)}
    assert found == before[caches[0].port] | before[caches[1].port]


def test_haproxy_sends_clients_to_whoever_is_well(caches, tmp_path):
    port = servers.free_port()
    lines = [f"    server cache-{n} 127.0.0.1:{cache.port} check inter 200ms fall 2 rise 1{' backup' if n else ''}"
             for n, cache in enumerate(caches)]
    settings = tmp_path / "haproxy.cfg"
    settings.write_text("\n".join([
        "defaults", "    mode tcp", "    timeout connect 2s", "    timeout client 30s", "    timeout server 30s", "    timeout check 2s",
        "listen caches", f"    bind 127.0.0.1:{port}", "    option tcp-check",
        f'    tcp-check send "AUTH {PASSWORD}\\r\\n"', "    tcp-check expect string +OK",
        "    tcp-check send PING\\r\\n", "    tcp-check expect string +PONG",
        "    tcp-check send QUIT\\r\\n", "    tcp-check expect string +OK", *lines, ""]))

    def served_by():
        with contextlib.suppress(OSError, EOFError), contextlib.closing(wire.Client("127.0.0.1", port, timeout=5)) as c:
            c.call("AUTH", PASSWORD)
            return int(dict(line.split(":", 1) for line in c.call("INFO", "server").decode().splitlines() if ":" in line)["tcp_port"])

    with running(["haproxy", "-db", "-f", settings], port):
        until(lambda: served_by() == caches[0].port, "the first is not asked")
        caches[0].stop()
        until(lambda: served_by() == caches[1].port, "nobody takes over")
        caches[0].start()
        until(lambda: served_by() == caches[0].port, "the first is not asked again")
