"""The console: who may see the page and the state, that both hold what a browser must be told, and that the state is the server's own."""

import base64
import concurrent.futures
import contextlib
import fcntl
import http.client
import json
import re
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest
from harness import certs, servers, wire

PASSWORD = "s3cret"
SCRIPT = "<script>alert(1)</script>"
SECONDS_MAX = 15
PAGE = Path(__file__).resolve().parent / "console_page.mjs"


class Console:
    """The console of a server as a browser asks for it."""

    def __init__(self, server, host="127.0.0.1", tls=False, context=None):
        self.port, self.host, self.tls = server.metrics_port, host, tls
        self.context = context or certs.client_context()

    def ask(self, path, user=None, password=PASSWORD, **headers):
        """Status, headers and body."""
        if user is not None:
            words = base64.b64encode(f"{user}:{password}".encode()).decode()
            headers["Authorization"] = f"Basic {words}"
        if self.tls:
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=SECONDS_MAX,
                                                     context=self.context)
        else:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=SECONDS_MAX)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()

    def state(self, parts="info,queues,slow,refused,clients", user="default", password=PASSWORD):
        status, _, body = self.ask(f"/console/state?parts={parts}", user, password)
        assert status == 200, (status, body)
        return json.loads(body)


@pytest.fixture(scope="module")
def server():
    """A queue with a console, which other machines could reach, and a user who may see the queues of one prefix only."""
    extra = ["--console", "yes", "--metrics-bind", "0.0.0.0"]
    with servers.Server("queue", password=PASSWORD, extra=extra) as running:
        with running.client() as client:
            client.call("ACL", "SETUSER", "reader", "on", f">{PASSWORD}", "~bull:mail:*", "+tandem")
            for name in ("mail", "secret", SCRIPT):
                client.call("HSET", f"bull:{name}:meta", "opts.maxLenEvents", "10000")
                client.call("LPUSH", f"bull:{name}:wait", "1", "2")
            client.call("CONFIG", "SET", "slowlog-log-slower-than", "0")
            client.call("ECHO", SCRIPT)
            client.call("CONFIG", "SET", "slowlog-log-slower-than", "10000")
        yield running


def as_table(reply):
    """TANDEM QUEUES in RESP3 as JSON has it."""
    if isinstance(reply, dict):
        return {key.decode(): as_table(value) for key, value in reply.items()}
    if isinstance(reply, list):
        return [as_table(item) for item in reply]
    return reply.decode() if isinstance(reply, bytes) else reply


# The ioctl that asks an interface for its IPv4 address (see netdevice(7)).
SIOCGIFADDR = 0x8915
# For documentation (RFC 5737).
NOBODYS_ADDRESS = "192.0.2.1"


def address_of(interface):
    """Its IPv4 address, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            told = fcntl.ioctl(asking, SIOCGIFADDR, struct.pack("256s", interface.encode()))
        except OSError:
            return None
    return socket.inet_ntoa(told[20:24])


@pytest.fixture(scope="module")
def own_address():
    """An address of this machine that is not loopback; a machine that has none gets one for the time."""
    addresses = [address_of(name) for _, name in socket.if_nameindex()]
    found = next((address for address in addresses if address and not address.startswith("127.")), None)
    if found:
        yield found
        return
    change = ["ip", "address", "{}", f"{NOBODYS_ADDRESS}/32", "dev", "lo"]
    added = subprocess.run([word.format("add") for word in change], capture_output=True, text=True)
    assert added.returncode == 0, f"without another address than loopback this needs root: {added.stderr}"
    yield NOBODYS_ADDRESS
    subprocess.run([word.format("del") for word in change], check=True)


def ask_at(address, server, password):
    """The page's answer to the default user over TLS at this address."""
    with socket.create_connection((address, server.metrics_port), timeout=SECONDS_MAX) as plain:
        with certs.client_context().wrap_socket(plain, server_hostname="localhost") as stream:
            words = base64.b64encode(f"default:{password}".encode()).decode()
            stream.sendall(f"GET /console HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {words}\r\n\r\n".encode())
            return b"".join(iter(lambda: stream.recv(65536), b""))


def acl_log(server):
    with server.client(protocol=3) as client:
        return client.call("ACL", "LOG")


def test_nobody_gets_in_without_a_users_password(server):
    console = Console(server)
    for path in ("/console", "/console/state"):
        status, headers, body = console.ask(path)
        assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="Tandem", charset="UTF-8"'), body
        for user, password in (("default", "wrong"), ("nobody", PASSWORD), ("default", "")):
            status, headers, body = console.ask(path, user, password)
            assert status == 401 and headers["WWW-Authenticate"] and "info" not in body, (user, password, body)
    denied = [entry for entry in acl_log(server) if entry[b"reason"] == b"auth"]
    assert {entry[b"username"] for entry in denied} >= {b"default", b"nobody"}, denied
    assert b"addr=127.0.0.1:" in denied[0][b"client-info"], denied[0]


def test_a_password_is_taken_over_tls_or_on_this_machine_only(server, own_address):
    status, headers, body = Console(server, own_address).ask("/console", "default")
    assert status == 403 and "WWW-Authenticate" not in headers and "HTTPS" in body, (status, body)
    status, _, body = Console(server).ask("/console", "default", Host="rebound.example")
    assert status == 403, body
    status, _, body = Console(server).ask("/console/state", "default", **{"Sec-Fetch-Site": "cross-site"})
    assert status == 403, body
    # What the data port asks of other machines is no matter here: the password has come over TLS already.
    extra = ["--console", "yes", "--metrics-tls", "yes", "--metrics-bind", "0.0.0.0", "--tls", "auto"]
    with servers.Server("cache", password=PASSWORD, extra=extra) as other:
        assert ask_at(own_address, other, PASSWORD).startswith(b"HTTP/1.1 200")
        assert ask_at(own_address, other, "wrong").startswith(b"HTTP/1.1 401")
        assert Console(other, tls=True).state("info")["parts"]["info"]["told"]["server"]["profile"] == "cache"


def test_where_clients_must_show_a_certificate_so_must_the_console(server):
    wants = ["--console", "yes", "--tls-auth-clients", "yes"]
    with servers.Server("queue", password=PASSWORD, extra=[*wants, "--metrics-tls", "yes"]) as other:
        status, headers, body = Console(other, tls=True).ask("/console", "default")
        assert status == 403 and "tls-auth-clients" in body, (status, body)
        assert Console(other, tls=True).ask("/metrics")[0] == 200, "scrapers need none"
        shown = Console(other, tls=True, context=certs.certified_context())
        assert [shown.ask("/console", "default", password)[0] for password in (PASSWORD, "wrong")] == [200, 401]
        with other.client() as client:
            client.call("CONFIG", "SET", "tls-auth-clients", "optional")
        assert Console(other, tls=True).ask("/console", "default")[0] == 200
    with servers.Server("queue", password=PASSWORD, extra=wants) as other:
        assert Console(other).ask("/console", "default")[0] == 200, "the data port takes plaintext from this machine, too"


def test_a_browser_is_told_what_the_page_may_do(server):
    status, headers, page = Console(server).ask("/console", "default")
    assert Console(server).ask("/console/", "default")[::2] == (200, page)
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy, policy
    for _, headers, _ in (Console(server).ask(path, "default") for path in ("/console", "/console/state", "/console/x")):
        expected = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}
        assert {name: headers[name] for name in expected} == expected, headers.items()
    assert not re.search(r"https?:|src=|href=", page), "it asks elsewhere"


def test_the_state_is_what_the_server_tells(server):
    console = Console(server)
    console.ask("/console", "nobody")
    state = console.state()
    with server.client(protocol=3) as client:
        queues = as_table(client.call("TANDEM", "QUEUES"))
    told = state["parts"]["queues"]["told"]
    assert {queue["name"] for queue in told} == {"mail", "secret", SCRIPT}
    age = ("oldest_age_ms", "oldest_failed_age_ms", "added_per_second", "taken_per_second")
    for told_queue, queue in zip(told, queues, strict=True):
        assert list(told_queue) == sorted(queue)
        assert {n: v for n, v in told_queue.items() if n not in age} == {n: v for n, v in queue.items() if n not in age}
    info = state["parts"]["info"]["told"]
    assert info["server"]["profile"] == "queue" and info["durability"]["log"]["is_writing"] is True, info
    assert info["keyspace"] == [{"db": 0, "keys": 6}] and info["memory"]["used_bytes"] > 0, info
    assert ["ECHO", SCRIPT] in [entry["command"] for entry in state["parts"]["slow"]["told"]]
    refused = [(entry["user"], entry["reason"]) for entry in state["parts"]["refused"]["told"]]
    assert ("nobody", "auth") in refused, refused
    assert state["parts"]["clients"]["told"]["clients"][-1]["user"] == "default"
    assert (state["user"], state["troubles"]) == ("default", [])
    assert console.ask("/console/state?parts=keys", "default")[0] == 400


def test_a_user_sees_what_that_users_rules_allow(server):
    state = Console(server).state(user="reader")
    assert [queue["name"] for queue in state["parts"]["queues"]["told"]] == ["mail"]
    for part in ("info", "slow", "refused", "clients"):
        assert list(state["parts"][part]) == ["denied"], state["parts"][part]
        assert state["parts"][part]["denied"].startswith("NOPERM"), state["parts"][part]
    with server.client() as client:
        client.call("ACL", "SETUSER", "reader", "off")
        try:
            assert Console(server).ask("/console", "reader")[0] == 401
        finally:
            client.call("ACL", "SETUSER", "reader", "on")


def test_a_busy_server_is_told_as_busy_and_probes_go_on(server):
    with server.client() as client, server.client() as other:
        client.call("CONFIG", "SET", "busy-reply-threshold", "50")
        Console(server).state("info")
        client.socket.sendall(wire.encode("EVAL", "while true do end", "0"))
        try:
            time.sleep(0.3)
            parts = Console(server).state("info,queues")["parts"]
            assert parts["info"].get("failed", "").startswith("BUSY") or "told" in parts["info"], parts
            assert parts["queues"]["failed"].startswith("BUSY"), parts
            connection = http.client.HTTPConnection("127.0.0.1", server.metrics_port, timeout=SECONDS_MAX)
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
        finally:
            other.call("SCRIPT", "KILL")


def test_a_server_that_hangs_is_told_in_time_and_hangs_nobody_else():
    with servers.Server("server", password=PASSWORD, extra=["--console", "yes", "--io-threads", "1"]) as hanging:
        with hanging.client() as client:
            client.send(wire.encode("DEBUG", "SLEEP", "8"))
            began = time.monotonic()
            status, headers, _ = Console(hanging).ask("/console/state", "default")
            assert (status, headers["Retry-After"]) == (503, "2")
            assert 4 < time.monotonic() - began < 7
            assert Console(hanging).ask("/healthz")[0] == 200
            assert client.read() == b"OK"
        assert "told" in Console(hanging).state("info")["parts"]["info"]


def test_a_crowd_at_the_console_takes_no_scrapes_place(server):
    def once(_):
        return Console(server).ask("/console/state", "default")[0]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        seen = list(pool.map(once, range(64)))
    assert set(seen) <= {200, 503} and 200 in seen, seen
    connection = http.client.HTTPConnection("127.0.0.1", server.metrics_port, timeout=SECONDS_MAX)
    connection.request("GET", "/metrics")
    assert connection.getresponse().status == 200
    assert Console(server).state("queues")["parts"]["queues"]["told"], "the places come back"


def test_there_is_no_console_unless_it_was_asked_for():
    with servers.Server("queue", password=PASSWORD) as plain:
        assert Console(plain).ask("/console", "default")[0] == 404
        assert Console(plain).ask("/console/state", "default")[0] == 404
    with pytest.raises(RuntimeError, match="console: it is served on metrics-port"):
        servers.Server("queue", extra=["--console", "yes", "--metrics-port", "0"]).start()


def test_who_needs_no_password_is_let_in_from_this_machine_only(own_address):
    extra = ["--console", "yes", "--metrics-tls", "yes", "--metrics-bind", "0.0.0.0"]
    with servers.Server("queue", extra=extra) as open_server:
        assert Console(open_server, tls=True).ask("/console")[0] == 401, "a name is needed"
        assert Console(open_server, tls=True).ask("/console", "default", "any")[0] == 200
        answer = ask_at(own_address, open_server, "any")
    assert answer.startswith(b"HTTP/1.1 403") and b"protected mode" in answer, answer


def test_the_page_shows_what_is_told_as_text(server, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(Console(server).ask("/console", "default")[2])
    states = tmp_path / "states.json"
    states.write_text(json.dumps([Console(server).state(user=user) for user in ("default", "reader")]))
    ran = subprocess.run(["node", str(PAGE), str(page), str(states)], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
