"""The command line as scripts use it: each invocation of `table.txt` prints and exits as redis-cli 7.0 does."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from harness import certs, servers

TABLE = Path(__file__).with_name("table.txt")
SCRIPTS = {
    "echo.lua": "return {KEYS, ARGV}",
    "error.lua": "return redis.error_reply('ERR wanted')",
    "broken.lua": "return (",
    "read.lua": "return redis.call('GET', KEYS[1])",
}
LINES_MIN = 150
SECONDS_MAX = 20


def lines():
    return [line for line in TABLE.read_text().splitlines() if line and not line.startswith("#")]


def understood(line, places):
    """Variables, words and standard input of a line."""
    for name, value in places.items():
        line = line.replace(f"${name}", str(value))
    line, _, given = line.partition("<<<")
    # Behind the sign stands one word, which may hold quotes of its own.
    stdin = given.strip()[1:-1].encode().decode("unicode_escape").encode("latin1")
    words = shlex.split(line)
    names_port = words[:1] == ["!"]
    words = words[names_port:]
    variables = {}
    while words and re.match(r"[A-Z_]+=", words[0]):
        name, value = words.pop(0).split("=", 1)
        variables[name] = value
    if "-p" not in words and not names_port:
        words = ["-p", str(places["PORT"]), *words]
    return variables, words, stdin


def fill(server):
    with server.client() as c:
        c.call("FLUSHALL")
        c.call("SET", "word", "value")
        c.call("SET", "number", "10")
        c.call("SET", "text", "two\nlines \"quoted\" \\ é")
        c.call("SET", "binary", b"\x00\x07\x08\t\r\n\x1b\x7f\xff")
        c.call("SET", "empty", "")
        c.call("RPUSH", "list", "a", "b c", "", "d")
        c.call("SADD", "one", "member")
        c.call("HSET", "hash", "field", "1", "other", "two words")
        c.call("ZADD", "zset", "1", "a", "2.5", "b", "inf", "c")
        c.call("XADD", "stream", "1-1", "f", "v")
        c.call("XADD", "stream", "2-1", "f", "v", "g", "w")


def told(line, out, err, code):
    """An outcome as it is compared. In which order redis-cli tells of types is chance."""
    return sorted(out.splitlines()) if "--bigkeys" in line or "--memkeys" in line else out, err, code


def run(program, variables, words, stdin, home):
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), **variables}
    done = subprocess.run([*program, *words], input=stdin, capture_output=True, timeout=SECONDS_MAX, env=environment)
    return done.stdout, done.stderr, done.returncode


@pytest.fixture(scope="session")
def places(open_server, closed_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    for name, text in SCRIPTS.items():
        (folder / name).write_text(text)
    return {"PORT": open_server.port, "CLOSED": closed_server.port, "NOBODY": servers.free_port(), "DIR": folder,
            "SOCKET": open_server.data() / "server.sock", "CA": certs.made().authority, "CERT": certs.made().client_certificate,
            "KEY": certs.made().client_key}


def test_the_table_is_long_enough():
    assert len(lines()) >= LINES_MIN and len(set(lines())) == len(lines())


@pytest.mark.parametrize("name", [["tandem", "cli"], ["redis-cli"]], ids=" ".join)
def test_each_invocation_is_redis_clis(name, open_server, closed_server, places, tmp_path):
    link = tmp_path / name[0]
    link.symlink_to((servers.BINARIES / "tandem").resolve())
    ours = [str(link), *name[1:]]
    differ = []
    for line in lines():
        outcomes = []
        for program in (["redis-cli"], ours):
            fill(open_server)
            with closed_server.client() as c:
                c.call("FLUSHALL")
            outcomes.append(told(line, *run(program, *understood(line, places), tmp_path)))
        if outcomes[0] != outcomes[1]:
            differ.append("\n".join([line, *(f"    {part!r}"[:600] for pair in zip(*outcomes) for part in pair)]))
    assert not differ, f"{len(differ)} of {len(lines())} differ:\n" + "\n".join(differ)
