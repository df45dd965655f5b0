"""What a server's memory does at the moments that kill servers: snapshots, restarts, large reads, full memory."""

import re
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import servers, wire  # noqa: E402

ELEMENTS, ELEMENT = 30_000, b"x" * 2000
DATA_BYTES = ELEMENTS * len(ELEMENT)
# What a whole second copy is far above, and timing far below.
RISE_BYTES_MAX = DATA_BYTES // 3


def info(client, field):
    return int(re.search(rb"^%s:(\d+)" % field.encode(), client.call("INFO", "everything"), re.M).group(1))


def high_water(server):
    """The most that the process has had in memory, bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) * 1024


def forget_high_water(server):
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


def fill(client, kind):
    make = {
        "list": lambda i: ("RPUSH", "x", b"%d-" % i + ELEMENT),
        "hash": lambda i: ("HSET", "x", i, ELEMENT),
        "stream": lambda i: ("XADD", "x", f"{i + 1}-0", "f", ELEMENT),
    }[kind]
    for begin in range(0, ELEMENTS, 1000):
        client.pipeline([make(i) for i in range(begin, begin + 1000)])


@pytest.mark.parametrize("kind", ["list", "hash", "stream"])
@pytest.mark.timeout(120)
def test_one_large_value_is_saved_and_loaded_without_a_second_copy(kind):
    with servers.Server("server", tls=False, extra=["--save", ""]) as server:
        with server.client() as c:
            fill(c, kind)
            digest = c.call("DEBUG", "DIGEST")
            forget_high_water(server)
            before = high_water(server)
            assert c.call("SAVE") == b"OK"
            assert high_water(server) - before < RISE_BYTES_MAX
        server.kill()
        server.restart()
        with server.client() as c:
            assert c.call("DEBUG", "DIGEST") == digest
            assert high_water(server) < info(c, "used_memory") + RISE_BYTES_MAX + (32 << 20)


def test_an_empty_server_takes_less_than_a_megabyte():
    with servers.Server("server", tls=False, extra=["--save", ""]) as server, server.client() as c:
        time.sleep(2.5)
        assert info(c, "used_memory") < 1_000_000


def test_a_request_of_very_many_arguments_leaves_nothing_behind():
    with servers.Server("server", tls=False, extra=["--save", ""]) as server, server.client() as c:
        before = info(c, "used_memory")
        request = wire.encode("SADD", "s", *range(100_000))
        for at in range(0, len(request), 50_000):
            c.send(request[at:at + 50_000])
            time.sleep(0.001)
        assert c.read() == 100_000
        assert c.call("UNLINK", "s") == 1
        end = time.monotonic() + 20
        while (now := info(c, "used_memory")) > before + 400_000:
            assert time.monotonic() < end, f"{now - before} bytes stay"
            time.sleep(0.1)


def test_a_pipeline_of_large_reads_is_run_in_turns():
    reads = 60
    with servers.Server("server", tls=False, extra=["--save", ""]) as server:
        with server.client() as c, server.client() as watcher:
            c.call("SET", "v", b"x" * (1 << 20))
            before = info(watcher, "eventloop_cycles")
            c.send(wire.encode("GET", "v") * reads + wire.encode("SET", "done", "1"))
            while watcher.call("EXISTS", "done") == 0:
                time.sleep(0.005)
            # A tick for each, beside those of the watcher and of the regular work.
            assert info(watcher, "eventloop_cycles") - before >= reads
            for _ in range(reads):
                assert len(c.read()) == 1 << 20


@pytest.mark.parametrize("threads", [1, 4])
def test_what_clients_may_hold_together_bounds_memory_whoever_serves_them(threads):
    limit = 20 << 20
    options = ["--save", "", "--io-threads", threads, "--maxmemory-clients", limit]
    with servers.Server("server", tls=False, extra=[str(option) for option in options]) as server:
        with server.client() as c:
            assert c.call("SET", "large", b"x" * 1_000_000) == b"OK"
            before = high_water(server)
            readers = [server.client() for _ in range(150)]
            for reader in readers:
                reader.send(wire.encode("GET", "large") * 20)
            end = time.monotonic() + 30
            while info(c, "evicted_clients") < 100:
                assert time.monotonic() < end, "they hold too much"
                time.sleep(0.05)
            # All that they asked for is 3 GB. Beside what may be held there is a batch and what is on its way out, of each thread.
            assert high_water(server) - before < limit + (15 << 20) + threads * (10 << 20)
            for reader in readers:
                reader.close()


def test_a_long_argument_counts_no_more_when_it_has_come():
    with servers.Server("server", tls=False, extra=["--save", "", "--maxmemory-clients", "1gb"]) as server:
        with server.client() as c, server.client() as watcher:
            c.call("CLIENT", "SETNAME", "sender")

            def counted():
                lines = watcher.call("CLIENT", "LIST").decode().splitlines()
                (line,) = [line for line in lines if " name=sender " in line]
                return int(re.search(r" tot-mem=(\d+)", line).group(1))

            # All of the rest comes with one read.
            before = counted()
            request = wire.encode("SET", "k", b"x" * 60_000) + wire.encode("BLPOP", "nothing", 0)
            c.send(request[:1000])
            until = time.monotonic() + 10
            while counted() < before + 30_000:
                assert time.monotonic() < until
            c.send(request[1000:])
            assert c.read() == b"OK"
            assert counted() < before + 10_000


def test_keys_that_are_evicted_between_two_requests_are_told_of_before_the_second_reply():
    with servers.Server("server", tls=False, extra=["--save", "", "--maxmemory-policy", "volatile-random"]) as server:
        with server.client(protocol=3) as c:
            c.call("CLIENT", "TRACKING", "ON")
            c.call("CONFIG", "SET", "maxmemory", info(c, "used_memory") + 100_000)
            c.call("SETEX", "volatile", "10000", "x")
            c.call("GET", "volatile")
            c.call("SETBIT", "large", 1_600_000, 0)
            c.send(wire.encode("GETBIT", "large", 0))
            assert b"invalidate" in c.raw()
            assert c.raw() == b":0\r\n"


@pytest.mark.parametrize("policy", ["allkeys-lru", "noeviction"])
def test_what_a_script_holds_and_leaves_neither_evicts_nor_refuses(policy):
    limit = ["--save", "", "--maxmemory", "64mb", "--maxmemory-policy", policy]
    with servers.Server("server", tls=False, extra=limit) as server, server.client() as c:
        c.call("SETRANGE", "data", 49_999_999, "x")
        before = info(c, "used_memory")
        for script in (
            "local s = string.rep('x', 15000000) redis.call('SET', 'new', #s) return #s",
            "for i = 1, 8 do local s = string.rep('x', 15000000 + i) end redis.call('SET', 'new', 1) return 15000000",
            "return #string.rep('x', 15000000)",
        ):
            assert c.call("EVAL", script, 0) == 15_000_000
            assert info(c, "used_memory") - before < 1 << 20
            assert c.call("RPUSH", "list", "a") == 1
            assert c.call("DEL", "list") == 1
        assert c.call("EXISTS", "data", "new") == 2


def test_a_reply_of_many_large_values_is_given_up_while_it_is_built():
    with servers.Server("server", tls=False, extra=["--save", "", "--maxmemory", "200mb"]) as server:
        with server.client() as c:
            c.call("SETRANGE", "big", 999_999, "x")
            forget_high_water(server)
            before = high_water(server)
            for words in (["MGET"] + ["big"] * 3000, ["EVAL", "local t = {} t[1] = t t[2] = t return t", 0]):
                with pytest.raises(wire.ReplyError, match="the reply is larger than"):
                    c.call(*words)
            # The buffer is doubled to take what comes next.
            assert high_water(server) - before < 300 << 20
            assert c.call("PING") == b"PONG"


IN_ORDER = {
    "strings": lambda i: ("SET", f"k{i}", b"x" * 1_000_000),
    "overwritten": lambda i: ("SET", f"k{i % 10}", b"x" * 1_000_000),
    "hashes": lambda i: ("HSET", f"h{i // 500 % 7}", f"f{i}", b"x" * 10_000),
    "lists": lambda i: ("RPUSH", f"l{i // 1000}", b"x" * 5_000),
}


@pytest.mark.parametrize("kind, writes, keys_min", [("strings", 150, 15), ("overwritten", 150, 10), ("hashes", 9_000, 3), ("lists", 8_000, 2)])
@pytest.mark.timeout(120)
def test_a_full_cache_of_large_values_refuses_nothing_and_keeps_what_fits(kind, writes, keys_min):
    """Large values are freed by another thread: until that is done they must have nothing else evicted for them."""
    with servers.Server("cache", tls=False) as server, server.client() as c:
        c.call("CONFIG", "SET", "maxmemory", info(c, "used_memory") + 20_000_000)
        fewest = writes
        for i in range(writes):
            reply = c.call(*IN_ORDER[kind](i))
            assert reply == b"OK" or isinstance(reply, int), (i, reply)
            if i >= writes // 3 and i % (writes // 100) == 0:
                fewest = min(fewest, c.call("DBSIZE"))
        assert fewest >= keys_min
