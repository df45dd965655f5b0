"""`tandem check` over files that are damaged in many ways: what it says, what it writes, and that a server sees it the same.

One life of a server leaves a directory; each case damages a copy of it. What is whole by the check must start, what starts
must be whole, and what a repair writes must start and hold every key that the damage did not concern.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import servers, wire  # noqa: E402

# Only ends a hang.
SECONDS_MAX = 120
WHOLE, DAMAGED, NOT_LOOKED = 0, 1, 2

BASE = {f"base:{n}": f"{n} {'b' * 40}" for n in range(40)}
LOG = {f"log:{n}": f"{n} {'x' * 120}" for n in range(60)}


def check(*words, code):
    line = [str(servers.BINARIES / "tandem"), "check", *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=SECONDS_MAX)
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout) if "--json" in words and done.stdout else done.stdout + done.stderr


def server(directory):
    return servers.Server("server", directory=directory, tls=False,
                          extra=["--appendonly", "yes", "--save", ""])


def keys_of(running):
    with running.client() as c:
        found = {}
        for key in c.call("KEYS", "*"):
            if c.call("TYPE", key) == b"string":
                found[key.decode()] = c.call("GET", key).decode()
        return found


def wait_rewritten(c):
    for _ in range(100_000):
        info = c.call("INFO", "persistence").decode()
        if "aof_rewrite_in_progress:0" in info and "aof_rewrite_scheduled:0" in info:
            return
    raise AssertionError("no end of the rewrite")


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    """A directory with a base, a file of batches, one for each key, a snapshot and users."""
    place = tmp_path_factory.mktemp("life")
    with server(place) as s, s.client() as c:
        for key, value in BASE.items():
            c.call("SET", key, value)
        c.call("BGREWRITEAOF")
        wait_rewritten(c)
        for key, value in LOG.items():
            c.call("SET", key, value)
        c.call("RPUSH", "list", *range(300))
        c.call("SAVE")
    (place / "data" / "users.acl").write_text("user default on nopass ~* &* +@all\nuser worker on >secret ~jobs:* +@all\n")
    return place / "data"


@pytest.fixture
def copy(life, tmp_path):
    (tmp_path / "server").mkdir()
    return shutil.copytree(life, tmp_path / "server" / "data")


def base_of(data):
    [path] = (data / "appendonlydir").glob("*.base.rdb")
    return path


def log_of(data):
    return max((data / "appendonlydir").glob("*.incr.aof"), key=lambda path: path.stat().st_size)


def manifest_of(data):
    [path] = (data / "appendonlydir").glob("*.manifest")
    return path


def flip(path, at, change=0x15):
    text = bytearray(path.read_bytes())
    text[at] ^= change
    path.write_bytes(text)


def overwrite(path, at, bytes_):
    text = bytearray(path.read_bytes())
    text[at:at + len(bytes_)] = bytes_
    path.write_bytes(text)


def starts(place, holds=None):
    """Whether a server starts there; then it holds this."""
    s = server(place)
    try:
        with s:
            if holds is not None:
                assert keys_of(s) == holds
            return True
    except RuntimeError as why:
        assert "tandem check" in str(why), f"the refusal names the command that helps: {why}"
        return False


def in_file(path, what):
    return path.read_bytes().index(what)


# Name, the damage, the words that are told of it, and the keys that a repair may not have.
LOSES_NOTHING = set()
CASES = {
    "a byte of a value in the base": (
        lambda d: flip(base_of(d), in_file(base_of(d), b"base:7")), ["one byte was changed"], LOSES_NOTHING),
    "a byte of the base's checksum": (
        lambda d: flip(base_of(d), base_of(d).stat().st_size - 3), ["of its checksum was changed"], LOSES_NOTHING),
    "the first byte of the base": (lambda d: flip(base_of(d), 0), ["one byte was changed"], LOSES_NOTHING),
    "the base is cut": (
        lambda d: base_of(d).write_bytes(base_of(d).read_bytes()[:-200]), ["ends early", "keys before it"], set(BASE)),
    "the base is gone": (lambda d: base_of(d).unlink(), ["the base is missing"], set(BASE)),
    "a byte of a value in the log": (
        lambda d: flip(log_of(d), in_file(log_of(d), b"log:30") + 20), ["one byte was changed", "batch "], LOSES_NOTHING),
    "a byte of a length in the log": (
        lambda d: flip(log_of(d), in_file(log_of(d), b"log:30") - 3, 1), ["one byte was changed"], LOSES_NOTHING),
    "a byte of a line that closes a batch": (
        lambda d: flip(log_of(d), log_of(d).read_bytes().index(b"#TDM:", in_file(log_of(d), b"log:30")) + 9),
        ["that closes the batch was changed"], LOSES_NOTHING),
    "the first byte of the log": (lambda d: flip(log_of(d), 0), ["one byte was changed"], LOSES_NOTHING),
    "zeros in the middle of the log": (
        lambda d: overwrite(log_of(d), in_file(log_of(d), b"log:30"), bytes(300)),
        ["Left out", "written between"], {"log:30", "log:31", "log:32"}),
    "a piece of the log is taken out": (
        lambda d: log_of(d).write_bytes(
            log_of(d).read_bytes()[:in_file(log_of(d), b"log:20")] + log_of(d).read_bytes()[in_file(log_of(d), b"log:25"):]),
        ["damage", "batches"], {f"log:{n}" for n in range(20, 26)}),
    "the log's file is gone": (lambda d: log_of(d).unlink(), ["the file is missing"], {*LOG, "list"}),
    "a byte of the manifest": (
        lambda d: flip(manifest_of(d), in_file(manifest_of(d), b"incr")), ["one byte was changed"], LOSES_NOTHING),
    "a line of the manifest is gone": (
        lambda d: manifest_of(d).write_bytes(b"".join(
            line for line in manifest_of(d).read_bytes().splitlines(keepends=True) if b"incr" not in line)),
        ["checksum is wrong", "taken for the base"], LOSES_NOTHING),
    "the manifest is gone": (lambda d: manifest_of(d).unlink(), ["the manifest is missing"], LOSES_NOTHING),
}


@pytest.mark.parametrize("name", CASES)
def test_damage_is_told_and_what_is_good_is_written_elsewhere(copy, tmp_path, name):
    damage, words, may_lose = CASES[name]
    damage(copy)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    text = check(copy, code=DAMAGED)
    for word in [*words, str(copy), "what to do", "--repair-to"]:
        assert word in text, text
    found = check(copy, "--json", code=DAMAGED)
    assert found["whole"] is False and found["subjects"][0]["refusal"], found
    repaired = tmp_path / "repaired"
    repaired.mkdir()
    told = check(copy, "--repair-to", repaired / "data", "--json", code=DAMAGED)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before, "nothing is changed in place"
    assert not starts(copy.parent)
    wanted = {**BASE, **LOG}
    with server(repaired) as s:
        there = keys_of(s)
    lost = set(wanted) - set(there)
    assert lost <= may_lose, f"{lost}\n{text}"
    assert all(wanted[key] == value for key, value in there.items())
    left_out = [finding for subject in told["subjects"] for finding in subject["findings"] if finding["left_out"]]
    assert bool(lost) <= bool(left_out), "what is not there is told"
    [written] = [one for one in told["written"] if one["contents"]]
    assert sum(written["contents"]["keys"].values()) == len(there) + ("list" not in may_lose)


def test_what_is_whole_starts_and_what_a_crash_leaves_is_whole(copy):
    text = check(copy, code=WHOLE)
    assert "whole" in text and "keys" in text and "damage" not in text
    found = check(copy, "--json", code=WHOLE)
    [log] = [subject for subject in found["subjects"] if subject["kind"] == "log"]
    assert log["contents"]["keys"] == {"string": 100, "list": 1}
    assert {subject["kind"] for subject in found["subjects"]} == {"log", "snapshot", "users"}
    assert "digest" not in check(copy, "--checksums-only", code=WHOLE)
    log_of(copy).write_bytes(log_of(copy).read_bytes() + b"*3\r\n$3\r\nSET\r\n$1\r\nx")
    text = check(copy, code=WHOLE)
    assert "note" in text and "ends in the middle" in text, text
    assert starts(copy.parent, {**BASE, **LOG})


@pytest.mark.parametrize("at", [3, 60, -200, -4])
def test_a_flipped_byte_of_a_snapshot_is_put_right(copy, tmp_path, at):
    dump = copy / "dump.rdb"
    whole = dump.read_bytes()
    digest = check(dump, "--json", code=WHOLE)["subjects"][0]["contents"]["digest"]
    flip(dump, at)
    found = check(dump, "--json", "--repair-to", tmp_path / "new", code=DAMAGED)
    assert found["written"][0]["contents"]["digest"] == digest
    overwrite(dump, len(whole) // 2, bytes(50))
    text = check(dump, code=DAMAGED)
    assert "damage" in text and "Left out" in text


def test_a_repair_says_what_is_not_taken_over(copy, tmp_path):
    (copy / "queue.conf").write_text("maxclients 100\n")
    (copy / "tls").mkdir()
    text = check(copy, "--repair-to", tmp_path / "new", code=WHOLE)
    [line] = [line for line in text.splitlines() if line.startswith("what to do")]
    assert f"`cp -a {copy}/queue.conf {copy}/tls {tmp_path}/new`" in line, text
    assert f"chown -R --reference={copy} {tmp_path}/new" in line and "appendonlydir" not in line, text


def test_users_are_judged_line_by_line(copy, tmp_path):
    users = copy / "users.acl"
    check(users, code=WHOLE)
    users.write_text(users.read_text() + "user broken on >x +@nosuchcategory\n")
    assert f"{users}:3" in check(users, code=DAMAGED)
    check(users, "--repair-to", tmp_path / "new", code=NOT_LOOKED)


def test_it_says_why_it_cannot_look_and_never_writes_over_anything(copy, tmp_path):
    assert "No such file" in check(tmp_path / "nowhere", code=NOT_LOOKED)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no file of a server" in check(empty, code=NOT_LOOKED)
    flip(log_of(copy), 100)
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("mine")
    assert "is not empty" in check(copy, "--repair-to", full, code=NOT_LOOKED)
    assert [path.name for path in full.iterdir()] == ["mine"]


@pytest.mark.skipif(not shutil.which("redis-server"), reason="there is no redis-server here")
def test_files_of_another_server_are_read_and_repaired(tmp_path):
    place = tmp_path / "redis"
    place.mkdir()
    theirs = servers.Server("queue", reference=True, directory=place, tls=False, extra=["--save", ""])
    with theirs as s, s.client() as c:
        for key, value in LOG.items():
            c.call("SET", key, value)
        c.call("SELECT", 2)
        c.call("SADD", "set", "a", "b")
        c.call("SAVE")
    data = place / "data"
    found = check(data, "--json", code=WHOLE)
    [log] = [subject for subject in found["subjects"] if subject["kind"] == "log"]
    assert log["contents"]["keys"] == {"string": 60, "set": 1}
    alone = log_of(data)
    assert check(alone, "--json", code=WHOLE)["subjects"][0]["contents"]["digest"] == log["contents"]["digest"]
    flip(alone, in_file(alone, b"log:30") - 6)
    text = check(data, code=DAMAGED)
    assert "cannot stand there" in text, text
    (tmp_path / "new").mkdir()
    check(data, "--repair-to", tmp_path / "new" / "data", code=DAMAGED)
    with server(tmp_path / "new") as s:
        assert set(LOG) - set(keys_of(s)) == {"log:30"}


def test_a_repository_is_restored_loaded_and_compared(copy, tmp_path):
    repository = tmp_path / "repository"
    tandem = [str(servers.BINARIES / "tandem")]
    now = [*tandem, "backup", "now", "--dir", copy, "--repository", repository, "--unencrypted"]
    subprocess.run(now, check=True, capture_output=True, timeout=SECONDS_MAX)
    found = check(repository, "--json", code=WHOLE)
    [restored] = found["restored"]
    assert restored["contents"]["keys"] == {"string": 100, "list": 1}
    assert restored["compared_at_base"] is None, "there is one base"
    with server(copy.parent) as s, s.client() as c:
        for n in range(300):
            c.call("SET", "again", f"{n} {'y' * 200}", "EX", 4_000_000)
        subprocess.run(now, check=True, capture_output=True, timeout=SECONDS_MAX)
        c.call("BGREWRITEAOF")
        wait_rewritten(c)
        c.call("SET", "behind", "the base")
        subprocess.run(now, check=True, capture_output=True, timeout=SECONDS_MAX)
    [restored] = check(repository, "--json", code=WHOLE)["restored"]
    assert restored["compared_at_base"] == restored["last_batch"] - 1, "two ways lead to the second base"
    assert restored["contents"]["keys"] == {"string": 102, "list": 1}
    assert check(repository, "--checksums-only", "--json", code=WHOLE)["restored"] == []
    for path in [path for path in repository.rglob("*") if path.is_file()]:
        whole = path.read_bytes()
        flip(path, len(whole) // 2)
        assert path.stem.split(".")[0] in check(repository, code=DAMAGED)
        path.write_bytes(whole)
        path.rename(path.with_name("away"))
        check(repository, code=DAMAGED)
        path.with_name("away").rename(path)
    done = subprocess.run([*tandem, "restore", "--from", repository, "--dir", tmp_path / "restored", "--json"],
                          check=True, capture_output=True, timeout=SECONDS_MAX)
    done = json.loads(done.stdout)
    assert done["contents"] == restored["contents"] and done["is_end"] is True


def test_a_log_whose_end_was_cut_off_in_place_is_told_as_a_start_tells_it(tmp_path):
    with servers.Server("queue", directory=tmp_path, tls=False) as s:
        with s.client() as c:
            for n in range(20):
                c.call("SET", f"key:{n}", "x" * 50)
        s.stop()
        [log] = (s.data() / "appendonlydir").glob("*.incr.aof")
        whole = log.read_bytes()
        check(s.data(), code=WHOLE)
        ends = [line.end() for line in re.finditer(rb"#TDM:[^\r]*\r\n", whole)]
        os.truncate(log, ends[len(ends) // 2])
        assert "its end was cut off" in check(s.data(), code=DAMAGED)
        found = check(s.data(), "--json", code=DAMAGED)
        assert "its end was cut off" in found["subjects"][0]["refusal"]
        with pytest.raises(RuntimeError, match="its end was cut off"):
            s.restart()
        # A copy of a running server looks so, and starts: it is another file.
        shutil.copytree(s.data(), tmp_path / "copy" / "data")
        check(tmp_path / "copy" / "data", code=WHOLE)


def test_a_refusal_names_check_before_what_is_cut_by_hand(life, tmp_path):
    shutil.copytree(life, tmp_path / "data")
    [*_, log] = sorted((tmp_path / "data" / "appendonlydir").glob("*.incr.aof"))
    damaged = bytearray(log.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    log.write_bytes(damaged)
    with pytest.raises(RuntimeError) as refused:
        server(tmp_path).start()
    said = str(refused.value)
    assert 0 < said.index("tandem check") < said.index("truncate -s"), said


def test_a_file_of_settings_is_no_log(tmp_path):
    settings = tmp_path / "queue.conf"
    settings.write_text("# A queue of ours\nport 6379\n")
    assert "no file of a server" in check(settings, code=NOT_LOOKED)


def test_what_failed_in_another_servers_log_is_told_and_no_damage(tmp_path):
    """A start passes it over, as other servers do; where it does not, it is damage."""
    logs = tmp_path / "data" / "appendonlydir"
    logs.mkdir(parents=True)
    (logs / "appendonly.aof.manifest").write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
    failing = wire.encode("SET", "k", "v") + wire.encode("RPUSH", "k", "v") + wire.encode("SET", "l", "v")
    file = logs / "appendonly.aof.1.incr.aof"
    file.write_bytes(failing)
    told = check(tmp_path / "data", code=WHOLE)
    assert "RPUSH is refused: WRONGTYPE" in told and "as a start does" in told
    with server(tmp_path) as s, s.client() as c:
        assert c.call("MGET", "k", "l") == [b"v", b"v"]
        assert "1 commands of the append only file failed" in s.log_tail()
    shutil.rmtree(logs)
    logs.mkdir()
    (logs / "appendonly.aof.manifest").write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
    file.write_bytes(failing + wire.encode("RPUSH", "l"))
    assert "RPUSH is refused: ERR wrong number of arguments" in check(tmp_path / "data", code=DAMAGED)
    with pytest.raises(RuntimeError, match="wrong number of arguments"):
        server(tmp_path).start()
