"""How the real program ends: a stop beside a busy script, and SHUTDOWN NOSAVE.

A script is one unit of the log. A stop that comes while it runs finds it whole in the log or not at all: one that has written
gets some seconds to end, and one that does not end by then goes down with the process.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import servers, wire  # noqa: E402

QUEUE = ["--appendfsync", "always", "--busy-reply-threshold", "50"]

# Writes, works for so many seconds, and writes again. TIME goes on in a script that takes longer than a moment.
TWO_WRITES = """
local function seconds() local now = redis.call('TIME') return now[1] + now[2] / 1000000 end
local began = seconds()
redis.call('SET', KEYS[1], 'first')
while seconds() - began < tonumber(ARGV[1]) do end
redis.call('SET', KEYS[2], 'second')
"""
FOR_EVER = 10_000


def begin_script(server, seconds):
    """The client whose script runs by now, and has written."""
    with server.client() as c:
        assert c.call("SET", "before", "kept") == b"OK"
    runner = server.client(timeout=60)
    runner.send(wire.encode("EVAL", TWO_WRITES, 2, "first", "second", seconds))
    with server.client() as c:
        end = time.monotonic() + 30
        while "BUSY" not in str(c.ask("PING")):
            assert time.monotonic() < end, "the script was never in the way"
    return runner


def found(server):
    server.restart()
    with server.client() as c:
        return [c.call("GET", name) for name in ("before", "first", "second")]


def test_a_stop_lets_a_script_that_has_written_come_to_its_end():
    with servers.Server("queue", tls=False, extra=QUEUE) as server:
        with begin_script(server, 2):
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(30) == 0, server.log_tail()
        assert found(server) == [b"kept", b"first", b"second"]


@pytest.mark.parametrize("how", ["SIGTERM", "SHUTDOWN NOSAVE"])
def test_a_script_that_does_not_end_leaves_nothing_behind(how):
    with servers.Server("queue", tls=False, extra=QUEUE) as server:
        with begin_script(server, FOR_EVER):
            if how == "SIGTERM":
                server.process.send_signal(signal.SIGTERM)
            else:
                with server.client() as c, pytest.raises((EOFError, OSError)):
                    c.call("SHUTDOWN", "NOSAVE")
            assert server.process.wait(30) == (1 if how == "SIGTERM" else 0), server.log_tail()
        assert found(server) == [b"kept", None, None]
        assert "A script does not end." in server.log.read_text()


@pytest.mark.parametrize("way", ["NOSAVE", "SAVE"])
def test_shutdown_saves_as_it_is_told_whatever_the_save_points_are(way):
    points = "3600 1" if way == "NOSAVE" else ""
    with servers.Server("server", tls=False, extra=["--save", points]) as server:
        with server.client() as c:
            assert c.call("SET", "k", "v") == b"OK"
            with pytest.raises((EOFError, OSError)):
                c.call("SHUTDOWN", way)
        assert server.process.wait(30) == 0, server.log_tail()
        assert (server.data() / "dump.rdb").exists() == (way == "SAVE")
        server.restart()
        with server.client() as c:
            assert c.call("GET", "k") == (b"v" if way == "SAVE" else None)


def test_a_stop_beside_a_long_command_saves_behind_it():
    with servers.Server("server", tls=False, extra=["--save", "3600 1"]) as server:
        with server.client() as c, server.client(timeout=60) as sleeper:
            assert c.call("SET", "k", "v") == b"OK"
            sleeper.send(wire.encode("DEBUG", "SLEEP", 4))
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(30) == 0, server.log_tail()
        server.restart()
        with server.client() as c:
            assert c.call("GET", "k") == b"v"


def test_shutdown_nosave_loses_nothing_that_a_queue_has_acknowledged():
    with servers.Server("queue", tls=False) as server:
        with server.client() as c:
            c.pipeline([("RPUSH", "l", n) for n in range(1000)])
            with pytest.raises((EOFError, OSError)):
                c.call("SHUTDOWN", "NOSAVE")
        assert server.process.wait(30) == 0, server.log_tail()
        server.restart()
        with server.client() as c:
            assert c.call("LLEN", "l") == 1000


def test_an_interrupt_after_a_stop_that_failed_stops_and_saves():
    with servers.Server("server", tls=False, extra=["--save", "3600 1"]) as server:
        with server.client() as c:
            assert c.call("SET", "k", "v") == b"OK"
        snapshot = server.data() / "dump.rdb"
        snapshot.mkdir()
        server.process.send_signal(signal.SIGINT)
        end = time.monotonic() + 30
        while "Errors trying to shut down" not in server.log.read_text():
            assert server.process.poll() is None and time.monotonic() < end, server.log_tail()
            time.sleep(0.02)
        snapshot.rmdir()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 0, server.log_tail()
        assert "You insist" not in server.log.read_text()
        server.restart()
        with server.client() as c:
            assert c.call("GET", "k") == b"v"


def test_who_starts_a_server_behind_the_terminal_gets_it_back_when_it_serves(tmp_path):
    """What scripts do: start, ask at once, and stop by the number in the file."""
    tandem, pidfile = servers.BINARIES / "tandem", tmp_path / "pid"

    def start(port, *words):
        line = [tandem, "server", "--port", str(port), "--bind", "127.0.0.1", "--dir", tmp_path, "--save", "", *words]
        # The output is read to its end: nobody may go on holding it.
        return subprocess.run([str(word) for word in line], capture_output=True, text=True, timeout=30, cwd=tmp_path)

    port = servers.free_port()
    began = start(port, "--daemonize", "yes", "--pidfile", pidfile)
    assert began.returncode == 0, began.stderr
    pid = int(pidfile.read_text())
    try:
        with wire.Client("127.0.0.1", port) as c:
            assert c.call("PING") == b"PONG"
            assert c.call("CONFIG", "GET", "daemonize") == [b"daemonize", b"yes"]
        assert os.getsid(pid) != os.getsid(0)
        taken = start(port, "--daemonize", "yes")
        assert taken.returncode != 0 and "bind: Address already in use." in taken.stderr, taken
        assert "os error" not in taken.stderr
    finally:
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 10
    while pidfile.exists():
        assert time.monotonic() < end, "it does not end"
        time.sleep(0.02)
