"""Which looks at keys count as a hit or a miss, and of which a `keymiss` is told: as in Redis.

Every command of looks.txt is sent to keys in every state that matters, and must count and tell what Redis 7.0, Redis 8.2 or
Valkey does. They agree but for commands that some of them do not know.
"""

import re
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from harness import wire
from machine import references
from scenario import words_of

LINES = [line for line in (Path(__file__).parent / "looks.txt").read_text().splitlines() if line and not line.startswith("#")]
KEY = re.compile(r"@([a-z])\d")
MADE = {
    "s": ["SET {} 5"],
    "p": ["PFADD {} a b"],
    "l": ["RPUSH {} 1 2 3"],
    "t": ["SADD {} 1 2 3"],
    "z": ["ZADD {} 1 a 2 b"],
    "h": ["HSET {} a 1 b 2"],
    "x": ["XADD {} 1-1 a b", "XADD {} 2-1 a b", "XGROUP CREATE {} g 0", "XREADGROUP GROUP g c COUNT 1 STREAMS {} >"],
    "g": ["GEOADD {} 1 1 a 2 2 b"],
}
ANOTHER_TYPE = {letter: "s" if letter != "s" else "l" for letter in MADE} | {"p": "h"}
EXPIRY_MS = 1


def keys_of(line):
    return list(dict.fromkeys(found[0] for found in KEY.finditer(line)))


def worlds_of(line):
    """The states of the keys that make a difference to this command."""
    keys = len(keys_of(line))
    return ["missing", "there", "wrong", "over"][:4 if keys else 1] + ["first", "others"] * (keys > 1)


class Observer:
    """One server, and what it counts and tells of a command."""

    def __init__(self, server):
        self.client, self.listener = server.client(timeout=30), server.client(timeout=30)
        self.client.call("DEBUG", "SET-ACTIVE-EXPIRE", "0")
        self.client.call("CONFIG", "SET", "notify-keyspace-events", "Em")
        self.listener.call("PSUBSCRIBE", "*")

    def close(self):
        self.client.close()
        self.listener.close()

    def prepare(self, line, world):
        made = [["FLUSHALL"], ["UNWATCH"]]
        for i, key in enumerate(keys_of(line)):
            if world == "missing" or world == "first" and i > 0 or world == "others" and i == 0:
                continue
            letter = key[1] if world != "wrong" else ANOTHER_TYPE[key[1]]
            made += [step.format(key).split() for step in MADE[letter]]
            if world == "over":
                made.append(["PEXPIRE", key, EXPIRY_MS])
        made.append(["CONFIG", "RESETSTAT"])
        self.client.send(b"".join(wire.encode(*words) for words in made))
        problems = [reply for reply in (self.client.read() for _ in made) if isinstance(reply, wire.ReplyError)]
        assert not problems
        if world == "over":
            time.sleep(5 * EXPIRY_MS / 1000)

    def look(self, line, world):
        """(what kind of error it is, hits, misses, the keys that were told to be missing)"""
        self.prepare(line, world)
        self.client.send(wire.encode(*words_of(line)))
        reply = self.client.raw()
        error = reply.split()[0].decode() if reply.startswith(b"-") else ""
        stats = self.client.call("INFO", "stats").decode()
        hits, misses = (int(re.search(rf"keyspace_{name}:(\d+)", stats)[1]) for name in ("hits", "misses"))
        self.client.call("PUBLISH", "end", "")
        told = iter(self.listener.read, [b"pmessage", b"*", b"end", b""])
        return error, hits, misses, [message[3].decode() for message in told]


def show(look):
    error, hits, misses, told = look
    return f"{error or 'reply'}, {hits} hits, {misses} misses, told: {' '.join(told) or 'nothing'}"


@pytest.fixture(scope="module")
def observers():
    """Ours, and the references by name."""
    with ExitStack() as stack:
        def observer(server):
            return stack.enter_context(closing(Observer(stack.enter_context(server))))

        yield observer(references.subject()), {name: observer(references.server(name)) for name in references.NAMES}


@pytest.mark.parametrize("line", LINES)
def test_same_looks(observers, line):
    ours, theirs = observers
    wrong = []
    for world in worlds_of(line):
        got = ours.look(line, world)
        seen = []
        for name, reference in theirs.items():
            seen.append((name, reference.look(line, world)))
            if seen[-1][1] == got:
                break
        else:
            wrong += [world, *(f"    {name}: {show(look)}" for name, look in [*seen, ("here", got)])]
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_command_with_keys_is_compared(observers):
    """Scripts and channels are compared elsewhere; what no reference knows cannot be."""
    ours, theirs = observers
    known = {name for reference in theirs.values() for name in with_keys(reference)}
    compared = {b"|".join(words_of(line)[:n]).lower() for line in LINES for n in (1, 2)}
    assert with_keys(ours) & known - compared == set()


def with_keys(observer):
    """The names of the commands and subcommands that have keys."""
    rows = observer.client.call("COMMAND")
    rows += [subcommand for row in rows for subcommand in row[9]]
    return {row[0] for row in rows if (row[3] or b"movablekeys" in row[2]) and not {b"@scripting", b"@pubsub"} & set(row[6])}
