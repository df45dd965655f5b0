"""The loop: play an episode to both servers, compare, and run down whatever differs.

A difference is believed only when it comes again from empty servers; it is then made small, after the other
real servers were asked (what one of them answers as we do is a difference between versions, not ours), and reported once
for each kind. After a difference that is known the episode goes on.
"""

import time
from collections import Counter, namedtuple

from harness import wire

from . import state, store
from .compare import kind_of, mark_of, readable, same
from .drive import Side, Step, begin, play
from .episode import WRAPPERS, Episode
from .grammar import commands_of
from .known import Known
from .shrink import Shrinker

Found = namedtuple("Found", "signature episode setup steps theirs ours as_in")

EPISODE_STEPS = 500
DIFFERENCES_MAX = 200  # kinds; a run that finds so many has nothing more to tell
PAYLOADS = (
    ("SET", "a", "hello"), ("SET", "b", "12"), ("SET", "c", "x" * 300), ("RPUSH", "d", "a", "1", "-70000", "x" * 70),
    ("SADD", "e", "1", "2", "300"), ("SADD", "f", "a", "b", "1"), ("SADD", "g", *(f"m{n}" for n in range(140))),
    ("ZADD", "h", "1", "a", "2.5", "b", "-inf", "c"), ("ZADD", "i", *(str(w) for n in range(140) for w in (n / 4, f"m{n}"))),
    ("HSET", "j", "f", "v", "g", "12"), ("HSET", "k", *(str(w) for n in range(520) for w in (f"f{n}", n))),
    ("XADD", "l", "1-1", "f", "v"), ("XGROUP", "CREATE", "l", "g1", "0"), ("XREADGROUP", "GROUP", "g1", "c1", "STREAMS", "l", ">"),
    ("PFADD", "m", "a", "b", "c"), ("GEOADD", "n", "13.361389", "38.115556", "Palermo"),
)


class Hunt:
    """One run. `others` are servers to ask about versions; `report(Found)` is called for each new kind.
    `only_calls` leaves out what needs more than one reply to one command, for a server that is a plain proxy."""

    def __init__(self, theirs, ours, protocol, reference, seed, others=(), report=lambda found: None,
                 only_calls=False):
        self.theirs, self.ours = Side(theirs, protocol), Side(ours, protocol)
        self.others = {name: Side(server, protocol) for name, server in others}
        self.seed, self.report, self.only_calls = seed, report, only_calls
        self.known = Known(reference)
        self.commands, self.missing = common_commands(theirs, ours)
        self.payloads = payloads_of(self.theirs)
        self.digests = all(b"ERR" not in digest_reply(side) for side in (self.theirs, self.ours))
        self.found, self.explained = {}, {}
        self.count = Counter()

    def run(self, commands_max=None, seconds_max=None, only=None):
        end = time.monotonic() + seconds_max if seconds_max else None
        index = only or 0
        while True:
            self.episode(index)
            index += 1
            self.count["episodes"] += 1
            if only is not None or len(self.found) >= DIFFERENCES_MAX:
                break
            if (commands_max and self.count["commands"] >= commands_max) or (end and time.monotonic() >= end):
                break
        return self

    # One episode -------------------------------------------------------------------------------

    def episode(self, index):
        made = Episode(self.commands, self.seed, index, EPISODE_STEPS, self.payloads)
        if self.only_calls:
            made.steps = [step for step in made.steps if step.action in ("call", "pause")]
        results = self.fresh_play(made.setup, made.steps)
        self.count["commands"] += len(made.steps)
        at, new = self.first_that_counts(made.steps, results)
        if new:
            return self.investigate(index, made.setup, made.steps[:at + 1])
        if at is not None:
            self.count["cut short"] += 1
            return None
        probe = state.difference(lambda steps: play(self.theirs, self.ours, steps), self.digests, made.crosses)
        if probe and not self.passed(probe[0][-1], *probe[1:]):
            self.investigate(index, made.setup, made.steps + probe[0])

    def fresh_play(self, setup, steps):
        begin(self.theirs, self.ours, setup)
        return play(self.theirs, self.ours, steps)

    def first_that_counts(self, steps, results):
        """(index, whether it is new) of the first difference that is new, or known but leaves different states
        behind, so that what follows it says nothing. (None, False) if there is none."""
        for at, step, mark in resolved(steps, results):
            if same(mark, *results[at]):
                continue
            if not self.passed(step, *results[at]):
                return at, True
            if not self.harmless(step, *results[at]):
                return at, False
        return None, False

    def passed(self, step, theirs, ours):
        """Whether this difference is known or has been dealt with in this run."""
        sign = signature(step, theirs, ours)
        if sign in self.explained:
            self.count["explained"] += 1
        elif sign in self.found:
            self.count["again"] += 1
        else:
            return self.known_already(step, theirs, ours)
        return True

    def known_already(self, step, theirs, ours):
        if not self.known.reason(store.step_text(step), readable(theirs), readable(ours)):
            return False
        self.count["known"] += 1
        return True

    def harmless(self, step, theirs, ours):
        """Whether the servers still hold the same after it."""
        if theirs[:1] == ours[:1] == b"-":
            return True
        name = " ".join(word.upper().decode(errors="replace") for word in step.words[:2])
        command = self.commands.get(name) or self.commands.get(name.split(" ")[0])
        return step.action == "call" and command is not None and "write" not in command.flags and command.group != "scripting"

    # A difference ------------------------------------------------------------------------------

    def investigate(self, index, setup, steps):
        steps = self.unwrapped(setup, steps)
        if self.known_already(steps[-1], *self.fresh_play(setup, steps)[-1]):
            return None  # seen without what was around it
        sign = self.sign_of_last(setup, steps)
        if sign is None:
            self.count["vanished"] += 1
            return None
        if sign in self.found or sign in self.explained:
            self.count["again"] += 1
            return None
        like_ours = self.version_like_ours(setup, steps)
        if like_ours:
            theirs, ours = self.fresh_play(setup, steps)[-1]
            self.explained[sign] = Found(sign, index, [], steps[-1:], theirs, ours, like_ours)
            return self.report(self.explained[sign])
        shrinker = Shrinker(lambda candidate: self.sign_of_last(setup, candidate) == sign)
        steps = shrinker.shrunk(steps)
        setup = self.fewer_settings(setup, steps, sign)
        theirs, ours = self.fresh_play(setup, steps)[-1]
        if self.known_already(steps[-1], theirs, ours):
            return None
        found = Found(sign, index, setup, steps, theirs, ours, self.version_like_ours(setup, steps))
        (self.explained if found.as_in else self.found)[sign] = found
        return self.report(found)

    def sign_of_last(self, setup, steps):
        """The signature of the difference that the last step shows, or None."""
        results = self.fresh_play(setup, steps)
        at, step, mark = list(resolved(steps, results))[-1]
        if same(mark, *results[at]):
            return None
        return signature(step, *results[at])

    def unwrapped(self, setup, steps):
        """The same difference without the script or the transaction around it, if it is there without."""
        bare = bared(steps)
        if bare is None:
            return steps
        results = self.fresh_play(setup, bare)
        for at, _, mark in resolved(bare, results):
            if not same(mark, *results[at]):
                return bare[:at + 1]
        return steps

    def fewer_settings(self, setup, steps, sign):
        """The setup without what the difference does not need."""
        for line in [line for line in setup if line[0] == "CONFIG" and line[2] != "proto-max-bulk-len"]:
            fewer = [other for other in setup if other is not line]
            default = [("CONFIG", "SET", line[2], DEFAULTS[line[2]])]
            if self.sign_of_last(default + fewer, steps) == sign:
                setup = fewer
                begin(self.theirs, self.ours, default)
        return setup

    def version_like_ours(self, setup, steps):
        """The name of another server that answers the last step as we do. Asked before shrinking, because differences
        between versions are many and this is quick; and after, because before it they may have gone apart earlier."""
        for name, side in self.others.items():
            begin(side, self.ours, setup)
            results = play(side, self.ours, steps)
            at, _, mark = list(resolved(steps, results))[-1]
            if same(mark, *results[at]):
                return name
        return None


def resolved(steps, results):
    """(index, step, mark) of each step, with EXEC's mark made from what was queued before it."""
    queued = {}
    for at, (step, (theirs, _)) in enumerate(zip(steps, results)):
        mark = step.mark
        if mark == "exec":
            mark = queued.pop(step.where, [])
        elif theirs == b"+QUEUED\r\n":
            queued.setdefault(step.where, []).append(mark)
        elif step.words and step.words[0] in (b"MULTI", b"DISCARD") and theirs == b"+OK\r\n":
            queued.pop(step.where, None)
        yield at, step, mark


def bared(steps):
    """The steps with the last one taken apart: a script into its commands, EXEC into what it would run."""
    last = steps[-1]
    if last.action == "call" and last.words[0] in (b"EVAL", b"EVAL_RO") and last.words[1:2] != [] and last.words[1] in WRAPPERS:
        lines = lines_of(last.words) if isinstance(last.mark, list) else [last.words[3:]]
        return steps[:-1] + [last._replace(words=line, mark=mark_of(line)) for line in lines]
    if last.mark == "exec":
        begin = max((at for at, step in enumerate(steps) if step.words == [b"MULTI"]), default=None)
        return None if begin is None else steps[:begin] + steps[begin + 1:-1]
    return None


def lines_of(words):
    lines = [[]]
    for word in words[3:]:
        if word == b"|":
            lines.append([])
        else:
            lines[-1].append(word)
    return lines[:-1]


def signature(step, theirs, ours):
    words = [word.upper().decode(errors="replace") for word in step.words[:2]] or [step.where]
    name = " ".join(words) if words[0] in CONTAINERS else words[0]
    if step.action in ("drain", "read", "cross"):
        name = step.action
    return name, kind_of(theirs), kind_of(ours)


CONTAINERS = {"OBJECT", "XINFO", "XGROUP", "CLIENT", "COMMAND", "SCRIPT", "FUNCTION", "PUBSUB", "DEBUG"}
DEFAULTS = {
    "notify-keyspace-events": "", "hash-max-listpack-entries": "512", "hash-max-listpack-value": "64",
    "list-max-listpack-size": "-2", "set-max-intset-entries": "512", "set-max-listpack-entries": "128",
    "set-max-listpack-value": "64", "zset-max-listpack-entries": "128", "zset-max-listpack-value": "64",
    "stream-node-max-entries": "100", "list-compress-depth": "0",
}


def common_commands(theirs, ours):
    """({name: Command} that both know, names that only the reference knows)."""
    with theirs.client(protocol=3) as client:
        commands = commands_of(client)
    with ours.client(protocol=3) as client:
        here = {row[0].upper() for row in client.call("COMMAND")}
    missing = sorted({c.words[0].decode() for c in commands.values() if c.words[0] not in here})
    # Sorted: COMMAND tells them in an order of chance, and a seed is to mean the same commands every time.
    return {name: c for name, c in sorted(commands.items()) if c.words[0] in here}, missing


def payloads_of(side):
    """DUMP payloads of every type, as the reference writes them."""
    begin(side, side, [("FLUSHALL",), *PAYLOADS])
    return [payload for (_, key, *_) in PAYLOADS if (payload := side.asking.call("DUMP", key))]


def digest_reply(side):
    side.push("P", wire.encode("DEBUG", "DIGEST"))
    return side.replies("P", 1)[0]


# Telling --------------------------------------------------------------------------------------

def text_of(found, seed, reference, protocol):
    """A found difference for a reader: where it is from, how to see it, what each side says."""
    kept = [line for line in found.setup if line[:2] == ("CONFIG", "SET") and line[2] != "proto-max-bulk-len"]
    lines = [f"{'version' if found.as_in else 'DIFFERENCE'}: seed {seed} episode {found.episode}, {reference}, resp{protocol}: "
             + " / ".join(found.signature) + (f" (as in {found.as_in})" if found.as_in else "")]
    lines += ["    " + store.command_text([word.encode() for word in line]) for line in kept]
    lines += ["    " + store.step_text(step)[:1000] for step in found.steps]
    lines += [f"    theirs: {readable(found.theirs)}", f"    ours:   {readable(found.ours)}"]
    return "\n".join(lines)


def scenario_of(found, seed):
    kept = [line for line in found.setup if line[:2] == ("CONFIG", "SET") and line[2] != "proto-max-bulk-len"]
    return store.block(f"found: {' '.join(found.signature[0].split())} {seed}.{found.episode}", kept, found.steps)
