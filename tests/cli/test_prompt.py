"""The prompt, used as a person would: through a pseudo-terminal, key by key."""

import os
import pty
import re
import select
import signal
import socket
import threading
import time

import pytest

from harness import certs, servers
from conftest import PASSWORD

SECONDS_MAX = 15
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """A program at a terminal: what it shows, and keys for it."""

    def __init__(self, words, home, **variables):
        self.shown = b""
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "xterm", **variables}
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(words[0], words, environment)

    def type(self, text):
        os.write(self.fd, text.encode())

    def read(self, seconds):
        """More of what is shown; false if nothing came or the program has ended."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        try:
            part = os.read(self.fd, 65536)
        except OSError:
            return False
        self.shown += part
        return bool(part)

    def until(self, text):
        """Waits for a text behind what has been waited for, and takes all up to it. It is compared without colours."""
        end = time.monotonic() + SECONDS_MAX
        while True:
            plain = ESCAPES.sub(b"", self.shown)
            at = plain.find(text.encode())
            if at >= 0:
                taken = plain[: at + len(text.encode())]
                self.shown = plain[len(taken):]
                return taken.decode(errors="replace")
            if not self.read(0.2):
                assert time.monotonic() < end, f"no {text!r} in {plain[-2000:]!r}"

    def ask(self, line, *answers):
        """Types a line, and waits for these texts one after the other."""
        self.type(line + "\r")
        for answer in answers:
            self.until(answer)

    def code(self):
        """Waits for the end: the exit code."""
        end = time.monotonic() + SECONDS_MAX
        while time.monotonic() < end:
            self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = None
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"it goes on: {self.shown[-2000:]!r}")

    def close(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def prompt(open_server, tmp_path):
    opened = []

    def start(*words, port=None, **variables):
        line = [str(servers.BINARIES / "tandem"), "cli", "-p", str(port or open_server.port), *words]
        opened.append(Terminal(line, tmp_path, **variables))
        return opened[-1]

    with open_server.client() as c:
        c.call("FLUSHALL")
    yield start
    for terminal in opened:
        terminal.close()


def at(server):
    return f"127.0.0.1:{server.port}> "


def test_commands_and_their_replies(prompt, open_server):
    t = prompt()
    t.until(at(open_server))
    t.ask("set a 'x y'", "OK\n")
    t.ask("get a", '"x y"\n')
    t.ask("incr n", "(integer) 1\n")
    t.ask("get a b", "(error) ERR wrong number of arguments for 'get' command\n")
    t.ask("get 'a", "Invalid argument(s)\n")
    t.type("exit\r")
    assert t.code() == 0


def test_the_prompt_tells_database_and_transaction(prompt, open_server):
    t = prompt("-n", "2")
    t.until(f"127.0.0.1:{open_server.port}[2]> ")
    t.ask("multi", f"127.0.0.1:{open_server.port}[2](TX)> ")
    t.ask("ping", "QUEUED\n")
    t.ask("exec", "1) PONG\n", f"127.0.0.1:{open_server.port}[2]> ")
    t.ask("select 0", at(open_server))
    t.type("quit\r")
    assert t.code() == 0


def test_ends_with_control_d_and_control_c(prompt, open_server):
    for key in ("\x04", "\x03"):
        t = prompt()
        t.until(at(open_server))
        t.type(key)
        assert t.code() == 0


def test_lines_come_back_also_in_the_next_run(prompt, open_server, tmp_path):
    t = prompt()
    t.until(at(open_server))
    t.ask("set kept 1", "OK\n")
    t.ask("auth secret-word", "(error)")
    t.ask("acl setuser somebody >other-secret", "OK\n")
    t.ask("\x1b[A", "OK\n")
    t.type("quit\r")
    assert t.code() == 0
    file = tmp_path / ".tandem_history"
    assert file.read_text() == "set kept 1\nquit\n"
    assert file.stat().st_mode & 0o777 == 0o600
    t = prompt()
    t.until(at(open_server))
    t.type("\x1b[A\x1b[A")
    t.until("set kept 1")
    t.ask("", "OK\n")


def test_another_file_of_history_or_none(prompt, open_server, tmp_path):
    for file in (tmp_path / "mine", "/dev/null"):
        t = prompt(REDISCLI_HISTFILE=str(file))
        t.until(at(open_server))
        t.ask("ping", "PONG\n")
        t.type("quit\r")
        assert t.code() == 0
    assert (tmp_path / "mine").read_text() == "ping\nquit\n"
    assert not (tmp_path / ".tandem_history").exists()


def test_names_are_completed(prompt, open_server):
    t = prompt()
    t.until(at(open_server))
    t.ask("randomk\t", "randomkey", "(nil)\n")
    t.ask("CONFIG RESETS\t", "CONFIG RESETSTAT", "OK\n")


def test_what_a_command_takes_is_shown_behind_it(prompt, open_server):
    t = prompt()
    t.until(at(open_server))
    t.type("getrange ")
    t.until("key start end")
    t.type("k ")
    t.until("start end")
    t.ask("0 -1", '""\n')
    t.ask(":set nohints", at(open_server))
    t.type("getrange ")
    t.until("getrange ")
    time.sleep(0.3)
    while t.read(0):
        pass
    assert b"start" not in t.shown


def test_preferences_from_the_file(prompt, open_server, tmp_path):
    (tmp_path / ".redisclirc").write_text(":set nohints\nset a 1\n")
    t = prompt()
    t.until(at(open_server))
    t.type("getrange ")
    t.until("getrange ")
    time.sleep(0.3)
    while t.read(0):
        pass
    assert b"start" not in t.shown
    with open_server.client() as c:
        assert c.call("EXISTS", "a") == 0


def test_help(prompt, open_server):
    t = prompt()
    t.until(at(open_server))
    t.type("help lpush\r")
    shown = t.until("group: list\n")
    assert "LPUSH key element [element ...]" in shown and "summary: " in shown and "since: 1.0.0" in shown
    t.type("help config\r")
    assert "CONFIG SET" in t.until("CONFIG SET")
    t.ask("help @hyperloglog", "PFADD")
    t.ask("help nosuch", "No command or group is named nosuch")


def test_messages_until_control_c(prompt, open_server):
    t = prompt()
    t.until(at(open_server))
    t.type("subscribe news other\r")
    t.until("Reading messages... (press Ctrl-C to quit)\n")
    t.until('1) "subscribe"\n2) "news"\n3) (integer) 1\n')
    t.until('1) "subscribe"\n2) "other"\n3) (integer) 2\n')
    with open_server.client() as c:
        assert c.call("PUBLISH", "news", "first") == 1
        t.until('1) "message"\n2) "news"\n3) "first"\n')
        assert c.call("PUBLISH", "other", "second") == 1
        t.until('1) "message"\n2) "other"\n3) "second"\n')
        t.type("\x03")
        t.until(at(open_server))
        assert c.call("PUBLISH", "news", "third") == 0
    t.ask("set a 1", "OK\n")


def test_all_commands_until_control_c(prompt, open_server):
    t = prompt("-n", "2")
    t.until("[2]> ")
    t.ask("monitor", "OK\n")
    with open_server.client() as c:
        c.call("SET", "seen", "x y")
    t.until('"SET" "seen" "x y"\n')
    t.type("\x03")
    t.until("[2]> ")
    t.ask("get seen", "(nil)\n")
    t.type("quit\r")
    assert t.code() == 0


def test_a_server_that_comes_back(prompt, tmp_path):
    with servers.Server("server", extra=["--save", ""]) as server:
        t = prompt(port=server.port)
        t.until(at(server))
        t.ask("ping", "PONG\n")
        server.kill()
        t.ask("ping", "Could not connect to Redis at", "not connected> ")
        server.restart()
        t.ask("ping", "PONG\n", at(server))


def test_a_connection_that_stood_idle_is_made_anew(prompt, open_server):
    t = prompt("-n", "2")
    t.until("[2]> ")
    t.ask("incr n", "(integer) 1\n")
    with open_server.client() as c:
        c.call("CLIENT", "KILL", "TYPE", "normal")
        # What is sent to a connection that is just being closed is lost.
        end = time.monotonic() + 10
        while b"connected_clients:1\r\n" not in c.call("INFO", "clients"):
            assert time.monotonic() < end
            time.sleep(0.01)
    t.ask("incr n", "(integer) 2\n")


def test_a_command_whose_reply_is_lost_is_not_sent_again(prompt):
    """The server may have done it."""
    seen = []

    def serve(listener):
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            while part := peer.recv(65536):
                if b"incr" in part:
                    seen.append(part)
                    break
                peer.sendall(b"-ERR no such thing\r\n")
            peer.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=[listener], daemon=True).start()
        t = prompt(port=listener.getsockname()[1])
        t.ask("ping", "(error) ERR no such thing\n")
        t.ask("incr n", "Error: Server closed the connection\n", "not connected> ")
        t.type("exit\r")
        assert t.code() == 0 and len(seen) == 1
        listener.shutdown(socket.SHUT_RDWR)


def test_a_password_is_typed_unseen(prompt, closed_server):
    t = prompt("--askpass", "ping", port=closed_server.port)
    t.until("Please input password: ")
    t.type(PASSWORD + "\r")
    shown = t.until("PONG\n")
    assert PASSWORD not in shown and t.code() == 0


def test_a_slow_command_is_told(prompt, open_server):
    t = prompt()
    t.until(at(open_server))
    t.ask("blpop none 0.6", "(nil)\n", "s)\n")


def test_messages_out_of_band(prompt, open_server):
    t = prompt("-3")
    t.until(at(open_server))
    t.ask("client tracking on", "OK\n")
    t.ask("get a", "(nil)\n")
    with open_server.client() as c:
        c.call("SET", "a", "1")
    t.ask("ping", "-> invalidate: 'a'\n", "PONG\n")


def test_a_server_that_was_told_to_be_silent(prompt, open_server):
    t = prompt()
    t.until(at(open_server))
    t.ask("client reply skip\rset a 1\rget a", '"1"\n')
    t.ask("client reply off\rset a 2\rclient reply on", "OK\n")
    t.ask("get a", '"2"\n')


def test_over_tls(prompt, open_server):
    t = prompt("--tls", "--cacert", str(certs.made().authority))
    t.until(at(open_server))
    t.ask("set a 1", "OK\n")
    t.ask("subscribe news", '3) (integer) 1\n')
    with open_server.client() as c:
        assert c.call("PUBLISH", "news", "first") == 1
    t.until('3) "first"\n')
    t.type("q")
    t.until(at(open_server))


COLOURS = re.compile(rb"\x1b\[[0-9;]*m")


def test_no_colour_where_none_is_wanted(prompt, open_server, tmp_path):
    program = str(servers.BINARIES / "tandem")
    for variables in ({}, {"NO_COLOR": "1"}):
        for words in (["--help"], ["up", "--help"], ["health", "--help"], ["health", "--no-such-thing"], ["completions", "no-such-shell"]):
            told = Terminal([program, *words], tmp_path, **variables)
            raw = b""
            while told.read(SECONDS_MAX):
                raw, told.shown = raw + told.shown, b""
            told.close()
            assert len(raw) > 50 and bool(COLOURS.search(raw)) == (not variables), (words, variables, raw)
        t = prompt(**variables)
        t.until(at(open_server))
        t.type("help get\r")
        # Colours are in what is shown until it is looked at.
        raw = b""
        while b"group:" not in ESCAPES.sub(b"", raw):
            assert t.read(SECONDS_MAX)
            raw, t.shown = raw + t.shown, b""
        assert bool(COLOURS.search(raw)) == (not variables), (variables, raw)


def test_a_snapshot_that_takes_long_tells_how_far_it_is(prompt, tmp_path):
    told = threading.Event()

    def serve(listener):
        peer, _ = listener.accept()
        seen = b""
        while b"SYNC" not in seen:
            part = peer.recv(65536)
            seen += part
            if b"REPLCONF" in part:
                peer.sendall(b"+OK\r\n")
        peer.sendall(b"\n$1000\r\n")
        sent = 0
        while not told.wait(0.1) and sent < 900:
            peer.sendall(b"x")
            sent += 1
        peer.sendall(b"x" * (1000 - sent))
        told.wait(SECONDS_MAX)
        peer.recv(1)

    file = tmp_path / "copy.rdb"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=[listener], daemon=True).start()
        t = prompt("--rdb", str(file), port=listener.getsockname()[1])
        t.until(" of 1000 bytes (")
        told.set()
        t.until("Transfer finished with success after 1000 bytes")
        assert t.code() == 0 and file.read_bytes() == b"x" * 1000
