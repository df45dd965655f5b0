"""What happens to a queue's files while it runs, and where there is little of what a machine has."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import servers, wire  # noqa: E402


def until(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.mark.parametrize("what", ["directory", "file", "end"])
def test_what_is_removed_under_a_running_queue_is_written_anew(what):
    with servers.Server("queue", tls=False) as server:
        with server.client() as c:
            c.pipeline([("RPUSH", "l", i) for i in range(1000)])
            log = server.data() / "appendonlydir"
            if what == "directory":
                subprocess.run(["rm", "-rf", str(log)], check=True)
            else:
                [file] = log.glob("*.incr.aof")
                file.unlink() if what == "file" else file.write_bytes(file.read_bytes()[:100])
            until(lambda: b"Everything is written anew from memory" in server.log.read_bytes(), "it was not noticed")

            def heals():
                try:
                    return c.call("RPUSH", "l", "more") == 1001
                except wire.ReplyError as error:
                    assert "MISCONF" in str(error)
                    return False

            until(heals, "writes stay refused")
        server.kill()
        server.restart()
        with server.client() as c:
            assert c.call("LLEN", "l") == 1001


def test_a_server_beside_a_live_queue_does_not_start_and_nothing_is_lost():
    with servers.Server("queue", tls=False) as server:
        with server.client() as c:
            c.pipeline([("RPUSH", "l", i) for i in range(100)])
            for words in (["--appendonly", "yes"], ["--save", "60 1"]):
                second = servers.Server("server", tls=False, directory=server.directory, extra=words)
                try:
                    with pytest.raises(RuntimeError, match="a queue uses the directory"):
                        second.start()
                finally:
                    second.stop()
            c.pipeline([("RPUSH", "l", i) for i in range(100)])
        server.kill()
        server.restart()
        with server.client() as c:
            assert c.call("LLEN", "l") == 200


class Narrow(servers.Server):
    """A server with few descriptors."""

    def command(self):
        return ["prlimit", "--nofile=60:60", *super().command()]


def test_with_few_descriptors_fewer_clients_are_let_in_and_all_of_them_are_served():
    with Narrow("queue", tls=False) as server:
        clients, refused = [], 0
        try:
            for _ in range(70):
                client = server.client(timeout=10)
                clients.append(client)
                try:
                    assert client.call("PING") == b"PONG"
                except (wire.ReplyError, OSError, EOFError):
                    refused += 1
            first = clients[0]
            most = int(first.call("CONFIG", "GET", "maxclients")[1])
            assert 5 <= most < 60 and len(clients) - refused <= most
            assert first.call("SET", "k", "v") == b"OK" and first.call("SAVE") == b"OK"
            first.call("BGREWRITEAOF")
            until(lambda: b"aof_rewrite_in_progress:0" in first.call("INFO", "persistence"), "the rewrite goes on")
            assert b"aof_last_bgrewrite_status:ok" in first.call("INFO", "persistence")
        finally:
            for client in clients:
                client.close()
