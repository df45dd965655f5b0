"""Bad input: what Redis answers to bytes that are no request, and that the server goes on afterwards."""

import select
import socket
import time

import pytest
from harness import servers, wire


def conversation(server, chunks, pause=0.02, read_seconds=1.0):
    """(all bytes received, whether the server closed) after sending the chunks one by one."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for chunk in chunks:
                s.sendall(chunk)
                time.sleep(pause)
        except (BrokenPipeError, ConnectionResetError):
            pass  # closed in the middle: what came before counts
        return received(s, read_seconds)


def received(s, seconds):
    got, end = b"", time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if not select.select([s], [], [], left)[0]:
            return got, False
        try:
            more = s.recv(1 << 16)
        except ConnectionResetError:
            return got, True
        if not more:
            return got, True
        got += more
        end = time.monotonic() + 0.2
    return got, False


def one(words):
    return wire.encode(*words.split())


CONVERSATIONS = {
    "inline": [b"PING\r\n"],
    "inline with a bare newline": [b"PING\nPING\n"],
    "inline with quotes": [b'SET k "a b\\x41\\n"\r\nGET k\r\n'],
    "inline with single quotes": [b"SET k 'it\\'s'\r\nGET k\r\n"],
    "inline with unbalanced quotes": [b'SET k "open\r\n', b"PING\r\n"],
    "inline with a quote stuck to text": [b'SET k "a"b\r\n'],
    "empty lines": [b"\r\n\r\n\nPING\r\n"],
    "blank line": [b"   \r\nPING\r\n"],
    "inline too long": [b"x" * 70_000],
    "inline just long enough": [b"ECHO " + b"x" * 60_000 + b"\r\n"],
    "http post": [b"POST / HTTP/1.1\r\nHost: x\r\n\r\nPING\r\n"],
    "multibulk count is no number": [b"*abc\r\n"],
    "multibulk count is empty": [b"*\r\nPING\r\n"],
    "multibulk count is too large": [b"*1048577\r\n"],
    "multibulk count is huge": [b"*99999999999999999999\r\n"],
    "multibulk count is zero": [b"*0\r\nPING\r\n"],
    "multibulk count is negative": [b"*-1\r\nPING\r\n"],
    "multibulk count has a sign": [b"*+1\r\n$4\r\nPING\r\n"],
    "multibulk line too long": [b"*" + b"1" * 70_000],
    "bulk without dollar": [b"*1\r\nPING\r\n"],
    "bulk length is no number": [b"*1\r\n$abc\r\nPING\r\n"],
    "bulk length is negative": [b"*1\r\n$-1\r\n"],
    "bulk length is too large": [b"*2\r\n$4\r\nECHO\r\n$536870913\r\n"],
    "bulk length is huge": [b"*1\r\n$99999999999999999999\r\n"],
    "bulk length line too long": [b"*1\r\n$" + b"1" * 70_000],
    "bulk longer than said": [b"*1\r\n$4\r\nPINGPONG\r\n", b"PING\r\n"],
    "empty command name": [b"*1\r\n$0\r\n\r\n", b"PING\r\n"],
    "split in every byte": [bytes([b]) for b in one("SET k value") + one("GET k")],
    "pipeline and garbage": [one("PING") * 3 + b"*1\r\n!bad\r\n" + one("PING")],
    "a request in two halves": [one("SET k v")[:9], one("SET k v")[9:] + one("GET k")],
    "inline between requests": [one("SET k v") + b"GET k\r\n" + one("PING")],
    "resp reply as a request": [b"+OK\r\n", b":1\r\n"],
    "deep pipeline": [one("PING") * 5000],
    "unknown then known": [one("FOO bar") + one("PING")],
    "quit in a pipeline": [one("PING") + one("QUIT") + one("PING")],
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_same_answer_to_bad_input(redis_server, subject, name):
    chunks = CONVERSATIONS[name]
    pause = 0.001 if len(chunks) > 10 else 0.02
    expected, got = conversation(redis_server, chunks, pause), conversation(subject, chunks, pause)
    assert got == expected
    with subject.client() as c:
        assert c.call("PING") == b"PONG"


def test_a_half_request_holds_up_nobody(subject):
    halves = [socket.create_connection(("127.0.0.1", subject.port)) for _ in range(200)]
    try:
        for s in halves:
            s.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\nabc")
        with subject.client(timeout=5) as c:
            begin = time.monotonic()
            for _ in range(200):
                assert c.call("PING") == b"PONG"
            assert time.monotonic() - begin < 3
            c.call("DEL", "k")
    finally:
        [s.close() for s in halves]
    with subject.client() as c:
        assert c.call("EXISTS", "k") == 0


def test_a_reader_that_never_reads_is_cut_and_others_go_on(subject):
    """A subscriber that does not read is closed at its output limit (32mb), as in Redis."""
    with subject.client(timeout=30) as sender, subject.client() as lazy:
        lazy.send(wire.encode("SUBSCRIBE", "flood"))
        lazy.raw()
        payload = b"x" * 100_000
        delivered = 1
        for _ in range(800):
            delivered = sender.call("PUBLISH", "flood", payload)
            if delivered == 0:
                break
        assert delivered == 0, "80 MB were kept for a client that reads nothing"
        assert sender.call("PING") == b"PONG"


def test_a_dead_blocked_client_gets_no_element(subject):
    with subject.client() as c:
        c.call("DEL", "dead")
        doomed = subject.client()
        doomed.send(wire.encode("BLPOP", "dead", "0"))
        time.sleep(0.1)
        doomed.close()
        time.sleep(0.1)
        c.call("RPUSH", "dead", "job")
        assert c.call("LRANGE", "dead", 0, -1) == [b"job"]
        c.call("DEL", "dead")


def test_a_close_in_the_same_moment_loses_no_element(subject):
    """The push goes out right after the close: the element must still be there."""
    with subject.client() as c:
        kept = 0
        for i in range(50):
            doomed = subject.client()
            doomed.send(wire.encode("BLPOP", "race", "0"))
            time.sleep(0.01)
            doomed.close()
            c.call("RPUSH", "race", i)
            kept += c.call("DEL", "race")
        assert kept == 50


def test_many_connections_come_and_go(subject):
    for _ in range(10):
        clients = [subject.client() for _ in range(100)]
        assert all(c.call("PING") == b"PONG" for c in clients)
        [c.close() for c in clients]
    with subject.client() as c:
        end = time.monotonic() + 5
        while True:
            info = c.call("INFO", "clients").decode()
            connected = int(info.split("connected_clients:")[1].split("\r")[0])
            if connected <= 3:
                break
            assert time.monotonic() < end, f"{connected} clients are still counted"
            time.sleep(0.05)


def test_a_value_of_many_megabytes(subject):
    value = bytes(range(256)) * (64 * 1024 * 4)
    with subject.client(timeout=60) as c:
        assert c.call("SET", "large", value) == b"OK"
        assert c.call("GET", "large") == value
        assert c.call("DEL", "large") == 1


def test_a_runaway_script_leaves_the_server_answering():
    with servers.Server("server", password=servers.password(), tls=False) as server, server.client() as c, server.client() as other:
        c.call("CONFIG", "SET", "busy-reply-threshold", 100)
        c.send(wire.encode("EVAL", "while true do end", "0"))
        time.sleep(0.4)
        other.send(wire.encode("GET", "k"))
        assert str(other.read()).startswith("BUSY")
        other.send(wire.encode("SCRIPT", "KILL"))
        assert other.read() == b"OK"
        assert "script" in str(c.read()).lower()
        assert other.call("PING") == b"PONG"
        other.send(wire.encode("SCRIPT", "KILL"))
        assert str(other.read()).startswith("NOTBUSY")
