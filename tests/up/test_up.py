"""`tandem up`: one command brings both instances, with secrets and certificates made at the first start."""

import base64
import json
import os
import pty
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import servers, wire  # noqa: E402


def free_ports():
    ports = [servers.free_port() for _ in range(4)]
    names = ["--cache-port", "--queue-port", "--cache-metrics-port", "--queue-metrics-port"]
    return dict(zip(names, ports))


class Up:
    """A running `tandem up`, and what it printed."""

    def __init__(self, folder, ports):
        words = [str(servers.BINARIES / "tandem"), "up", "--dir", str(folder)]
        for name, port in ports.items():
            words += [name, str(port)]
        self.folder, self.ports = folder, ports
        self.log = folder.parent / f"up-{time.monotonic_ns()}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_urls(self, seconds=30):
        """The connection strings, with the passwords in them, which are not shown in a log. All that `up` tells has been told then."""
        end = time.monotonic() + seconds
        while True:
            text = self.log.read_text(errors="replace")
            urls = re.findall(r"rediss?://[^\s'\"]+", text)
            if re.search("^  to ask them: .*\n", text, re.MULTILINE):
                names = [("cache", self.ports["--cache-port"]), ("queue", self.ports["--queue-port"])]
                for name, port in names:
                    password = (self.folder / "secrets" / f"{name}-password").read_text().strip()
                    assert password not in text, "a password stands in the log"
                    urls = [u.replace("<password>", password) if u.endswith(f":{port}") else u for u in urls]
                return urls
            assert self.process.poll() is None and time.monotonic() < end, text
            time.sleep(0.05)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


def connect(url, authority=None):
    found = re.match(r"(rediss?)://(?:([^:@]*):([^@]*)@)?([^:/]+):(\d+)", url)
    context = ssl.create_default_context(cafile=authority) if found[1] == "rediss" else None
    client = wire.Client(found[4], int(found[5]), timeout=10, context=context)
    if found[3]:
        client.call("AUTH", found[2] or "default", found[3])
    return client


@pytest.fixture
def ports():
    return free_ports()


def test_first_start_second_start_and_stop(tmp_path, ports):
    folder = tmp_path / "state"
    up = Up(folder, ports)
    try:
        urls = up.wait_urls()
        plain = [url for url in urls if url.startswith("redis://")]
        by_port = {port: [u for u in plain if f":{port}" in u] for port in (ports["--cache-port"], ports["--queue-port"])}
        assert all(by_port.values()), f"no connection string for each instance in {urls}"
        with connect(by_port[ports["--cache-port"]][0]) as cache, connect(by_port[ports["--queue-port"]][0]) as queue:
            assert cache.call("CONFIG", "GET", "maxmemory-policy")[1] == b"allkeys-lru"
            assert queue.call("CONFIG", "GET", "appendonly")[1] == b"yes"
            queue.call("RPUSH", "jobs", *range(100))
            assert queue.call("ACL", "SETUSER", "worker", "on", ">secret", "~*", "+@all") == b"OK"
            assert queue.call("ACL", "SAVE") == b"OK"
            with pytest.raises(wire.ReplyError, match="a cache writes nothing to disk"):
                cache.call("SAVE")
        for path in folder.rglob("*"):
            mode = stat.S_IMODE(path.stat().st_mode)
            secret = re.search(r"password|secret|\.key$|key\.pem", path.name)
            assert not (secret and path.is_file() and mode & 0o077), f"{path} is {oct(mode)}"
        with wire.Client("127.0.0.1", ports["--queue-port"]) as stranger:
            with pytest.raises(wire.ReplyError, match="NOAUTH"):
                stranger.call("GET", "jobs")
    finally:
        assert up.stop() == 0, up.log.read_text()[-3000:]
    for port in ports.values():
        with pytest.raises(OSError):
            wire.Client("127.0.0.1", port, timeout=2)
    again = Up(folder, ports)
    try:
        assert sorted(set(again.wait_urls())) == sorted(set(urls)), "the secrets were made anew"
        with connect(by_port[ports["--queue-port"]][0]) as queue:
            assert queue.call("LLEN", "jobs") == 100
            assert queue.call("AUTH", "worker", "secret") == b"OK"
            assert queue.call("LLEN", "jobs") == 100
    finally:
        again.stop()


def get(url, **headers):
    """The status that a page answers with."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def test_the_consoles_that_are_told_are_there_for_users_unless_a_variable_says_otherwise(tmp_path, ports, monkeypatch):
    folder = tmp_path / "state"
    up = Up(folder, ports)
    try:
        urls = up.wait_urls()
        pages = re.findall(r"http://\S+/console\n", up.log.read_text())
        for name, page in zip(("cache", "queue"), map(str.strip, pages), strict=True):
            password = (folder / "secrets" / f"{name}-password").read_text().strip()
            login = base64.b64encode(f"default:{password}".encode()).decode()
            assert (get(page), get(page, Authorization=f"Basic {login}")) == (401, 200), page
        for url in (url for url in urls if url.startswith("redis:")):
            with connect(url) as client:
                assert client.call("CONFIG", "REWRITE") == b"OK"
    finally:
        assert up.stop() == 0, up.log.read_text()[-3000:]
    monkeypatch.setenv("TANDEM_CONSOLE", "no")
    again = Up(folder, {**ports, "--queue-metrics-port": 0})
    try:
        again.wait_urls()
        assert "/console" not in again.log.read_text() and get(pages[0].strip()) == 404
    finally:
        assert again.stop() == 0, again.log.read_text()[-3000:]


def test_settings_stay_and_a_password_that_was_changed_is_told(tmp_path, ports):
    folder = tmp_path / "state"
    up = Up(folder, ports)
    try:
        url = next(url for url in up.wait_urls() if f":{ports['--queue-port']}" in url and url.startswith("redis:"))
        with connect(url) as queue:
            assert queue.call("CONFIG", "SET", "timeout", "77", "hash-max-listpack-entries", "99") == b"OK"
            assert queue.call("CONFIG", "REWRITE") == b"OK"
            assert queue.call("ACL", "SETUSER", "default", "resetpass", ">another") == b"OK"
            assert queue.call("ACL", "SAVE") == b"OK"
    finally:
        assert up.stop() == 0, up.log.read_text()[-3000:]
    lines = [line for line in (folder / "queue.conf").read_text().splitlines() if line and not line.startswith("#")]
    assert sorted(lines) == ["hash-max-listpack-entries 99", "timeout 77"]  # and nothing that `up` says at each start
    again = Up(folder, ports)
    try:
        again.wait_urls()
        end = time.monotonic() + 30
        while "does not log in to the queue" not in again.log.read_text(errors="replace"):
            assert time.monotonic() < end, again.log.read_text()
            time.sleep(0.05)
        text = again.log.read_text()
        assert "does not log in to the cache" not in text
        assert (folder / "secrets" / "queue-password").read_text().strip() not in text
        with connect(f"redis://default:another@127.0.0.1:{ports['--queue-port']}") as queue:
            assert queue.call("CONFIG", "GET", "timeout") == [b"timeout", b"77"]
            assert queue.call("CONFIG", "GET", "hash-max-listpack-entries")[1] == b"99"
    finally:
        again.stop()


def test_a_new_password_in_the_file_counts_after_sighup():
    with servers.Server("queue", password="first-word", tls=False) as server:
        secret = server.directory / "password"
        secret.write_text("second-word\n")
        server.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 30
        while True:
            with server.client(login=False) as client:
                try:
                    assert client.call("AUTH", "second-word") == b"OK"
                    break
                except wire.ReplyError:
                    assert time.monotonic() < end, server.log_tail()
            time.sleep(0.05)
        with server.client(login=False) as client, pytest.raises(wire.ReplyError, match="WRONGPASS"):
            client.call("AUTH", "first-word")


def asked(folder, *words, typed=""):
    program = [str(servers.BINARIES / "tandem"), "cli"]
    done = subprocess.run([*program, *words], cwd=folder, capture_output=True, timeout=60, text=True, input=typed)
    return done.stdout, done.stderr, done.returncode


def health(*words):
    program = [str(servers.BINARIES / "tandem"), "health"]
    done = subprocess.run([*program, *words], capture_output=True, timeout=60, text=True, stdin=subprocess.DEVNULL)
    return done.stdout, done.stderr, done.returncode


def wait_for(what, seconds=60):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_hang_up_has_both_read_their_passwords_again(tmp_path):
    folder = tmp_path / "tandem-data"
    up = Up(folder, free_ports())
    try:
        urls = [url for url in up.wait_urls() if url.startswith("redis:")]
        for name in ("cache", "queue"):
            (folder / "secrets" / f"{name}-password").write_text(f"other-{name}\n")
        up.process.send_signal(signal.SIGHUP)
        wait_for(lambda: all(asked(tmp_path, f"--{name}", "ping")[0] == "PONG\n" for name in ("cache", "queue")))
        for url in urls:
            with pytest.raises(wire.ReplyError, match="WRONGPASS"):
                connect(url)
        assert "reading passwords and certificates again" in up.log.read_text()
    finally:
        assert up.stop() == 0, up.log.read_text()[-3000:]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_twice_at_once_stops_in_order(tmp_path, number):
    """Wrappers signal the process, and its group with it."""
    up = Up(tmp_path / "tandem-data", free_ports())
    up.wait_urls()
    up.process.send_signal(number)
    time.sleep(0.002)
    up.process.send_signal(number)
    assert up.process.wait(60) == 0, up.log.read_text()[-3000:]
    assert "killing" not in up.log.read_text()


def test_both_stop_when_their_terminal_is_closed(tmp_path):
    folder, ports = tmp_path / "tandem-data", free_ports()
    words = [str(servers.BINARIES / "tandem"), "up", "--dir", str(folder)]
    words += [str(word) for pair in ports.items() for word in pair]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(words[0], words)
    shown, status = b"", []
    try:
        while b"to ask them" not in shown:
            shown += os.read(terminal, 65536)
        os.close(terminal)
        wait_for(lambda: status.extend(os.waitpid(pid, os.WNOHANG)) or status[-2] == pid)
    finally:
        if pid not in status:
            # Its servers stop with it.
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status[-1]) == 0
    for port in ports.values():
        with pytest.raises(OSError):
            wire.Client("127.0.0.1", port, timeout=2)


def test_the_reason_of_an_early_end_is_told_once_more_and_nothing_else(tmp_path):
    folder, ports = tmp_path / "tandem-data", free_ports()
    folder.mkdir(mode=0o700)
    (folder / "queue.conf").write_text("maxmemory-policy allkeys-lru\n")
    up = Up(folder, ports)
    assert up.process.wait(60) == 1
    text = up.log.read_text()
    assert text.count("a queue must not evict") == 2, text
    _, told = text.split("tandem: the queue ended by itself")
    assert "a queue must not evict" in told and "just started" not in told, text


def test_a_found_password_that_does_not_fit_is_told_with_its_place(tmp_path):
    folder = tmp_path / "tandem-data"
    up = Up(folder, free_ports())
    try:
        up.wait_urls()
        said = "acl setuser default resetpass >another\n"
        assert asked(tmp_path, "--queue", typed=said) == ("OK\n", "", 0)
        out, err, code = asked(tmp_path, "--queue", "ping")
        assert out.startswith("NOAUTH") and "WRONGPASS" in err and code == 0
        assert f"that in {folder.name}/secrets/queue-password" in err and "--askpass" in err, err
        assert asked(tmp_path, "--queue", "--askpass", "ping", typed="another\n")[0] == "PONG\n"
    finally:
        assert up.stop() == 0


def test_a_found_password_is_sent_to_no_other_server(tmp_path):
    heard = bytearray()

    def listen(listener):
        peer, _ = listener.accept()
        with peer:
            while part := peer.recv(4096):
                heard.extend(part)
                peer.sendall(b"+PONG\r\n")

    up = Up(tmp_path / "tandem-data", ports := free_ports())
    try:
        up.wait_urls()
        with socket.create_server(("127.0.0.1", 0)) as other:
            stranger = threading.Thread(target=listen, args=[other], daemon=True)
            stranger.start()
            lines = [f"connect 127.0.0.1 {other.getsockname()[1]}", "ping", f"connect 127.0.0.1 {ports['--queue-port']}", "llen none"]
            out, err, code = asked(tmp_path, "--queue", typed="\n".join(lines) + "\n")
            stranger.join(60)
        assert (out, code) == ("PONG\n0\n", 0), "what was found for a server is used there again"
        assert b"ping" in heard and b"AUTH" not in heard.upper(), heard
        assert "is not sent" in err and "AUTH [USER] PASSWORD" in err, err
    finally:
        assert up.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may ask as somebody else")
def test_a_socket_of_another_user_is_told_as_such():
    program = str(servers.BINARIES / "tandem")
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        ask = lambda *words: subprocess.run([program, *words], user=65534, cwd=place, capture_output=True, timeout=60, text=True)  # noqa: E731
        try:
            ask("--version").check_returncode()
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("the program is in a folder that others may not enter")
        up = Up(Path(place) / "tandem-data", free_ports())
        try:
            up.wait_urls()
            for words in (["health", "queue"], ["health", "queue", "--dir", "tandem-data"], ["cli", "--queue", "ping"]):
                told = ask(*words)
                assert told.returncode == 1 and told.stdout == "", told
                assert "is for the user that runs the server" in told.stderr and "found" not in told.stderr, told
        finally:
            up.stop()
            up.log.unlink()


def test_health_in_words_and_in_json_and_on_a_port_that_speaks_tls(tmp_path, monkeypatch):
    monkeypatch.setenv("TANDEM_TLS", "required")
    folder = tmp_path / "tandem-data"
    up = Up(folder, ports := free_ports())
    try:
        up.wait_urls()
        out, err, code = health("queue", "--dir", str(folder))
        assert out.startswith("healthy: ") and (err, code) == ("", 0)
        out, err, code = health("queue", "--dir", str(folder), "--json")
        told = json.loads(out)
        assert told["alive"] and told["ready"] and told["reason"] is None and (err, code) == ("", 0)
        out, err, code = health("--address", f"127.0.0.1:{ports['--queue-metrics-port']}", "--json")
        assert json.loads(out).keys() == told.keys() and (err, code) == ("", 0)
        out, err, code = health("--address", f"127.0.0.1:{ports['--queue-port']}")
        assert (out, code) == ("", 1) and "speaks TLS" in err and "tandem health cache" in err
    finally:
        assert up.stop() == 0
    out, err, code = health("queue", "--dir", str(folder), "--json")
    assert json.loads(out)["alive"] is False and (err, code) == ("", 1)


def test_the_command_line_finds_both_without_a_password(tmp_path):
    ports = free_ports()
    up = Up(tmp_path / "tandem-data", ports)
    try:
        up.wait_urls()
        for name in ("cache", "queue"):
            assert asked(tmp_path, f"--{name}", "set", "mine", name) == ("OK\n", "", 0)
        told = re.search(r"to ask them: tandem cli (--cache[^,]*), tandem cli (--queue.*)", up.log.read_text())
        assert [asked(Path("/"), *words.split(), "get", "mine")[0] for words in told.groups()] == ["cache\n", "queue\n"]
        for name in ("cache", "queue"):
            assert asked(tmp_path / "tandem-data", "--dir", str(tmp_path / "tandem-data"), f"--{name}", "get", "mine") == (name + "\n", "", 0)
        assert asked(tmp_path, "--queue", "--user", "default", "get", "mine") == ("queue\n", "", 0)
        assert asked(tmp_path, "--cache", "set", "brought", "1") == ("OK\n", "", 0)
        line = [str(servers.BINARIES / "tandem"), "import", f"redis://127.0.0.1:{ports['--cache-port']}", "--into", "queue", "--by-keys", "--replace",
                "--dir", str(tmp_path / "tandem-data"), "--from-password-file", str(tmp_path / "tandem-data" / "secrets" / "cache-password")]
        done = subprocess.run(line, cwd="/", capture_output=True, timeout=60, text=True)
        assert done.returncode == 0, done
        assert asked(tmp_path, "--queue", "mget", "brought", "mine") == ("1\ncache\n", "", 0)
        assert asked(tmp_path, "--queue", "set", "mine", "queue") == ("OK\n", "", 0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("REDISCLI_AUTH", "another")
            out, err, code = asked(tmp_path, "--queue", "get", "mine")
            assert "WRONGPASS" in err and "queue" not in out, "the variable's password is asked with"
        out, err, code = asked(tmp_path, "--queue", "--user", "nobody", "get", "mine")
        assert out == "" and "default user's" in err and "--askpass" in err and code == 1, "another user has another password"
        other = asked(tmp_path, "--queue", "config", "set", "port", str(servers.free_port()))
        assert other == ("OK\n", "", 0) and asked(tmp_path, "--queue", "get", "mine") == ("queue\n", "", 0)
        out, err, code = asked(tmp_path, "--queue", "-p", "6380", "ping")
        assert out == "" and "say them without -h, -p, -s and -u" in err and code == 1
    finally:
        assert up.stop() == 0
    out, err, code = asked(tmp_path, "--queue", "ping")
    assert out == "" and "no queue was found" in err and "--dir" in err and code == 1


def test_the_command_line_speaks_tls_where_nothing_else_is_let_in(tmp_path, monkeypatch):
    monkeypatch.setenv("TANDEM_TLS", "required")
    up = Up(tmp_path / "tandem-data", free_ports())
    try:
        up.wait_urls()
        assert asked(tmp_path, "--queue", "ping") == ("PONG\n", "", 0)
    finally:
        assert up.stop() == 0
