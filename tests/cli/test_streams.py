"""What goes on until it is stopped, and what is measured: beside redis-cli 7.0, or by its shape where figures differ."""

import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from harness import servers

OURS = [str(servers.BINARIES / "tandem"), "cli"]
SECONDS_MAX = 15


class Running:
    """A program whose output is read as it comes."""

    def __init__(self, program, server, words, **variables):
        environment = {"PATH": os.environ["PATH"], **variables}
        # Line by line, as at a terminal: redis-cli itself would keep it back for a pipe.
        prefix = ["stdbuf", "-oL"] if program == ["redis-cli"] else []
        self.process = subprocess.Popen([*prefix, *program, "-p", str(server.port), *words], env=environment, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.out = b""

    def until(self, sign):
        end = time.monotonic() + SECONDS_MAX
        while not re.search(sign, self.out):
            assert time.monotonic() < end and self.process.poll() is None, (self.out, self.process.poll())
            self.out += self.process.stdout.read() or b""
            time.sleep(0.01)
        return self

    def stop(self):
        """All output and the exit code after Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(SECONDS_MAX)
        self.out += self.process.stdout.read() or b""
        self.process.stdout.close()
        self.process.stderr.close()
        return self.out, self.process.returncode


def pair(server, *words, **variables):
    return [Running(program, server, words, **variables) for program in (["redis-cli"], OURS)]


def calls(server, *commands):
    with server.client() as c:
        for words in commands:
            c.call(*words)


@pytest.mark.parametrize("options", ["", "--no-raw", "--csv", "--json", "-2 --json", "-3", "-3 --no-raw", "-3 --csv", "-d , -D ;"])
@pytest.mark.parametrize("command", ["subscribe news other", "psubscribe n*"])
def test_messages_are_printed_as_redis_cli_prints_them(open_server, options, command):
    both = pair(open_server, *options.split(), *command.split())
    for running in both:
        running.until(rb"subscribe[^~]*(other|n\*)[^~]*[12]")
    calls(open_server, ["PUBLISH", "news", "first"], ["PUBLISH", "news", "two\nlines"], ["PUBLISH", "news", "last"])
    theirs, ours = [running.until(b"last").stop() for running in both]
    assert ours == theirs and theirs[0].count(b"first") == 1


@pytest.mark.parametrize("options", ["", "--no-raw", "--csv", "--json"])
def test_commands_are_monitored_as_redis_cli_does(open_server, options):
    both = pair(open_server, *options.split(), "monitor")
    for running in both:
        running.until(b"OK")
    calls(open_server, ["SET", "a", "x y\n\x00"], ["GET", "last"])
    theirs, ours = [running.until(b"last").stop() for running in both]
    # The second one's connection is seen by the first one, if that was quicker.
    told = [[line for line in out.splitlines() if b"a" in line or b"last" in line] for out, _ in (theirs, ours)]
    assert told[0] == told[1] and len(told[0]) == 2 and theirs[1] == ours[1]


def test_a_line_of_figures_each_second(open_server):
    theirs, ours = [r.until(rb"(?m)(^\d+ .*\n){3}").stop()[0].decode().splitlines() for r in pair(open_server, "--stat", "-i", "0.05")]
    assert ours[:2] == theirs[:2]
    shape = re.compile(r"\d+ +[\d.]+[BKMG] +\d+ +\d+ +\d+ \(\+\d+\) +\d+ +$")
    assert all(shape.match(line) for line in ours[2:]), ours
    assert len(ours[2]) == len(theirs[2])


@pytest.mark.parametrize("options, shape", [
    ("", rb"\d+ \d+ \d+\.\d\d \d+\n"),
    ("--csv", rb"\d+,\d+,\d+\.\d\d,\d+\n"),
])
def test_round_trips_are_summed_up_after_a_span(open_server, options, shape):
    for program in (["redis-cli"], OURS):
        done = subprocess.run([*program, "-p", str(open_server.port), *options.split(), "--latency", "-i", "0.1"], capture_output=True,
                              timeout=SECONDS_MAX)
        assert re.fullmatch(shape, done.stdout) and done.returncode == 0, (program, done)


def test_round_trips_are_shown_as_they_are_taken(open_server):
    sign = rb"\x1b\[0G\x1b\[2Kmin: \d+, max: \d+, avg: \d+\.\d\d \(3 samples\)"
    for words in (["--latency"], ["--latency-history", "-i", "5"]):
        for running in pair(open_server, *words, FAKETTY="1"):
            running.until(sign).stop()
    for running in pair(open_server, "--latency-history", "-i", "0.1", FAKETTY="1"):
        running.until(rb" -- 0\.1\d seconds range\n").stop()


def test_the_spectrum_of_round_trips(open_server):
    for running in pair(open_server, "--latency-dist", "-i", "0.1"):
        running.until(rb"(\x1b\[38;5;0m(\x1b\[48;5;\d+m.)+\x1b\[0m\n){2}").stop()


def test_standstills_of_the_machine():
    for program in (["redis-cli"], OURS):
        done = subprocess.run([*program, "--intrinsic-latency", "1"], capture_output=True, timeout=SECONDS_MAX)
        shape = (rb"(Max latency so far: \d+ microseconds\.\n)+\n\d+ total runs \(avg latency: \d+\.\d{4} microseconds / \d+\.\d\d "
                 rb"nanoseconds per run\)\.\nWorst run took \d+x longer than the average latency\.\n")
        assert re.fullmatch(shape, done.stdout) and done.returncode == 0, (program, done)


def test_a_snapshot_in_a_file_and_in_a_pipe(open_server, tmp_path):
    calls(open_server, ["FLUSHALL"], ["SET", "big", "x" * 3_000_000], ["EVAL", "for i = 1, 20000 do redis.call('SET', 'k' .. i, i) end", "0"],
          ["FUNCTION", "LOAD", "REPLACE", "#!lua name=mine\nredis.register_function('f', function() return 1 end)"])
    told = []
    for at, program in enumerate((["redis-cli"], OURS)):
        file = tmp_path / f"{at}.rdb"
        done = subprocess.run([*program, "-p", str(open_server.port), "--rdb", str(file)], capture_output=True, timeout=SECONDS_MAX)
        assert done.returncode == 0 and done.stdout == b"", done
        told.append(re.sub(rb"\d+ bytes|/\d\.rdb", b"", done.stderr))
        checked = subprocess.run(["redis-check-rdb", str(file)], capture_output=True, timeout=SECONDS_MAX).stdout
        assert b"RDB looks OK" in checked and b"20001 keys read" in checked, checked
    assert told[0] == told[1]
    piped = subprocess.run([*OURS, "-p", str(open_server.port), "--rdb", "-"], capture_output=True, timeout=SECONDS_MAX)
    (tmp_path / "piped.rdb").write_bytes(piped.stdout)
    checked = subprocess.run(["redis-check-rdb", str(tmp_path / "piped.rdb")], capture_output=True, timeout=SECONDS_MAX).stdout
    assert b"20001 keys read" in checked and piped.returncode == 0
    functions = tmp_path / "functions.rdb"
    done = subprocess.run([*OURS, "-p", str(open_server.port), "--functions-rdb", str(functions)], capture_output=True, timeout=SECONDS_MAX)
    assert done.returncode == 0 and b"register_function" in functions.read_bytes() and functions.stat().st_size < 2000, done
    calls(open_server, ["FUNCTION", "FLUSH"], ["FLUSHALL"])


def test_a_snapshot_that_cannot_be_written(open_server, tmp_path):
    for file in (tmp_path / "none" / "x.rdb", "/dev/full"):
        outcomes = []
        for program in (["redis-cli"], OURS):
            done = subprocess.run([*program, "-p", str(open_server.port), "--rdb", str(file)], capture_output=True, timeout=SECONDS_MAX)
            outcomes.append((done.stdout, done.stderr.splitlines()[:3], done.returncode))
        assert outcomes[0] == outcomes[1] and outcomes[1][2] == 1, outcomes


def test_a_snapshot_that_ends_early_costs_no_earlier_one(tmp_path):
    def serve(listener):
        peer, _ = listener.accept()
        seen = b""
        while b"SYNC" not in seen:
            part = peer.recv(65536)
            seen += part
            if b"REPLCONF" in part:
                peer.sendall(b"+OK\r\n")
        peer.sendall(b"\n\n$1000\r\nREDIS0010 and no more")
        peer.close()

    file = tmp_path / "kept.rdb"
    file.write_bytes(b"earlier")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=[listener], daemon=True).start()
        done = subprocess.run([*OURS, "-p", str(listener.getsockname()[1]), "--rdb", str(file)], capture_output=True, timeout=SECONDS_MAX)
    assert done.returncode == 1 and b"Server closed the connection" in done.stderr, done
    assert file.read_bytes() == b"earlier" and os.listdir(tmp_path) == ["kept.rdb"]


def test_the_most_used_keys(tmp_path):
    with servers.Server("server", extra=["--save", "", "--maxmemory-policy", "allkeys-lfu"]) as server:
        calls(server, *[["SET", f"k{i}", "v"] for i in range(30)], *[["GET", "k7"]] * 2000, *[["GET", "k3"]] * 200)
        out = subprocess.run([*OURS, "-p", str(server.port), "--hotkeys"], capture_output=True, timeout=SECONDS_MAX, text=True)
        found = re.findall(r"hot key found with counter: (\d+)\tkeyname: \"(k\d+)\"", out.stdout)
        assert out.returncode == 0 and len(found) == 16 and found[0][1] == "k7" and found[1][1] == "k3", out.stdout
        assert [int(counter) for counter, _ in found] == sorted((int(counter) for counter, _ in found), reverse=True)


@pytest.mark.parametrize("tls", [False, True])
def test_replies_that_nobody_waits_for_do_not_stand_in_the_way(open_server, tls, tmp_path):
    """A gigabyte of replies to a megabyte of requests: who only sends and then reads has both sides wait for ever."""
    from harness import certs
    calls(open_server, ["SET", "big", "x" * 100_000])
    options = ["--tls", "--cacert", str(certs.made().authority)] if tls else []
    count = 10_000 if not tls else 3_000
    requests = b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n" * count
    done = subprocess.run([*OURS, "-p", str(open_server.port), *options, "--pipe"], input=requests, capture_output=True, timeout=90)
    assert done.stdout.endswith(f"errors: 0, replies: {count}\n".encode()) and done.returncode == 0, done


def test_what_nobody_watches_ends_where_the_user_or_the_database_is_refused(open_server):
    """Its requests would be carried out in the first database."""
    calls(open_server, ["DEL", "stray"])
    for start in (["-a", "wrong", "--user", "nobody"], ["-n", "9999"]):
        for work in (["--pipe"], ["--scan"], ["--bigkeys"]):
            for program in (["redis-cli"], OURS):
                words = [*program, "-p", str(open_server.port), *start, *work]
                done = subprocess.run(words, input=b"SET stray 1\r\n", capture_output=True, timeout=SECONDS_MAX)
                assert done.returncode == 1 and done.stdout == b"", (words, done)
    with open_server.client() as c:
        assert c.call("EXISTS", "stray") == 0


def test_a_reader_that_leaves_is_no_error(open_server):
    calls(open_server, ["DEL", "long"], ["EVAL", "for i = 1, 100 do redis.call('RPUSH', 'long', ('x'):rep(10000)) end", "0"])
    words = " ".join([*OURS, "-p", str(open_server.port), "-r", "1000", "lrange", "long", "0", "-1"])
    done = subprocess.run(["bash", "-c", f"{words} | head -1; echo ${{PIPESTATUS[0]}}"], capture_output=True, timeout=SECONDS_MAX)
    assert done.stdout == b"x" * 10_000 + b"\n141\n" and done.stderr == b"", done.stdout[-200:] + done.stderr


def test_words_are_bytes(open_server):
    for program in (["redis-cli"], OURS):
        done = subprocess.run([*program, "-p", str(open_server.port), "echo", b"\xff\x01\xc3"], capture_output=True, timeout=SECONDS_MAX)
        assert (done.stdout, done.returncode) == (b"\xff\x01\xc3\n", 0)


def test_help_on_the_command_line(open_server):
    told = subprocess.run([*OURS, "-p", str(open_server.port), "help", "config", "set"], capture_output=True, text=True, timeout=SECONDS_MAX)
    assert "CONFIG SET parameter value" in told.stdout and "group: server" in told.stdout and "\x1b" not in told.stdout
    told = subprocess.run([*OURS, "-p", "1", "help"], capture_output=True, text=True, timeout=SECONDS_MAX)
    assert "help COMMAND" in told.stdout and told.returncode == 0


def test_what_is_not_here_says_so():
    for words in (["--cluster", "info"], ["--ldb", "--eval", "x"], ["--lru-test", "10"]):
        done = subprocess.run([*OURS, *words], capture_output=True, timeout=SECONDS_MAX)
        assert done.returncode == 1 and words[0].encode() in done.stderr and done.stdout == b"", done


def test_help_and_version_by_each_name(tmp_path):
    for name, words, first in [("tandem", ["cli"], "tandem cli"), ("redis-cli", [], "redis-cli"), ("valkey-cli", [], "valkey-cli")]:
        link = tmp_path / name
        link.symlink_to((servers.BINARIES / "tandem").resolve())
        version = subprocess.run([str(link), *words, "--version"], capture_output=True, text=True, timeout=SECONDS_MAX)
        assert re.fullmatch(re.escape(first) + r" \d+\.\d+\.\d+.*\n", version.stdout) and version.returncode == 0, version
        told = subprocess.run([str(link), *words, "--help"], capture_output=True, text=True, timeout=SECONDS_MAX)
        assert f"Usage: {first} [OPTIONS]" in told.stdout and told.returncode == 0 and "\x1b" not in told.stdout
