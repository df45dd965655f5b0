"""Puts single commands together to an episode: what several connections do, from an empty server on.

Connection A does most. B and C block, D touches what A watches, S listens to keyspace events, T has its reads
tracked, P asks for the state at the end.
"""

from random import Random

from .compare import mark_of
from .drive import Step
from .generate import Generator
from .tame import tamed
from .values import KEYS

# How often a step of the episode is one of these; the rest are single commands.
SHARES = (("transaction", 0.02), ("script", 0.04), ("blocked", 0.015), ("subscriber", 0.004), ("tracked", 0.01),
          ("watched", 0.02), ("expiring", 0.0015), ("many", 0.01))
EVENTS_SHARE = 0.25  # of the episodes
EVENTS_EVERY = 12
SMALL_LIMITS_SHARE = 0.6
CROSS_SHARE = 0.25
PATTERNS_APART = (b"n*", b"ch*")  # no channel matches two: which is told first is the server's own order
PAUSE_SECONDS = b"0.03"  # longer than SHORT by more than a busy machine may be late
SHORT = b"10"  # milliseconds

LIMITS = {
    "hash-max-listpack-entries": ("512", "4"), "hash-max-listpack-value": ("64", "8"),
    "list-max-listpack-size": ("-2", "4"), "set-max-intset-entries": ("512", "4"),
    "set-max-listpack-entries": ("128", "4"), "set-max-listpack-value": ("64", "8"),
    "zset-max-listpack-entries": ("128", "4"), "zset-max-listpack-value": ("64", "8"),
    "stream-node-max-entries": ("100", "5"), "list-compress-depth": ("0", "1"),
}

CALL = b"return redis.call(unpack(ARGV))"
PCALL = b"return redis.pcall(unpack(ARGV))"
CALL3 = b"redis.setresp(3) return redis.call(unpack(ARGV))"
SHOW = (b"local function show(v) local t = type(v) if t ~= 'table' then return t .. ':' .. tostring(v) end "
        b"if v.err then return 'err ' .. v.err end if v.ok then return 'ok ' .. v.ok end if v.double then return 'double ' .. "
        b"string.format('%.17g', v.double) end if v.big_number then return 'big ' .. v.big_number end if v.map or v.set then return 'table' end "
        b"local parts = {} for i = 1, #v do parts[i] = show(v[i]) end return '{' .. table.concat(parts, ',') .. '}' end ")
SHOW2 = SHOW + b"return show(redis.pcall(unpack(ARGV)))"
SHOW3 = SHOW + b"redis.setresp(3) return show(redis.pcall(unpack(ARGV)))"
SEVERAL = (b"local out, one = {}, {} for _, word in ipairs(ARGV) do if word == '|' then out[#out + 1] = redis.pcall(unpack(one)) one = {} "
           b"else one[#one + 1] = word end end return out")
WRAPPERS = (CALL, PCALL, CALL3, SHOW2, SHOW3, SEVERAL)  # scripts that run the commands in their arguments

WAITERS = (
    ("list", b"BLPOP {k} {k} 0"), ("list", b"BRPOP {k} 0"), ("list", b"BLMOVE {k} {k} LEFT RIGHT 0"), ("list", b"BRPOPLPUSH {k} {k} 0"),
    ("list", b"BLMPOP 0 2 {k} {k} LEFT COUNT 2"), ("sorted-set", b"BZPOPMIN {k} {k} 0"), ("sorted-set", b"BZPOPMAX {k} 0"),
    ("sorted-set", b"BZMPOP 0 2 {k} {k} MIN COUNT 3"), ("stream", b"XREAD BLOCK 0 STREAMS {k} $"),
    ("stream", b"XREAD COUNT 1 BLOCK 0 STREAMS {k} {k} 1-0 $"), ("stream", b"XREADGROUP GROUP g1 c1 BLOCK 0 STREAMS {k} >"),
)
FEEDERS = {"list": ("RPUSH", "LPUSH", "LMOVE", "RENAME", "COPY", "RESTORE", "SORT", "LINSERT", "SET", "DEL", "MOVE", "SWAPDB"),
           "sorted-set": ("ZADD", "ZINCRBY", "ZUNIONSTORE", "ZRANGESTORE", "RENAME", "COPY", "GEOADD", "SET", "DEL", "GEOSEARCHSTORE"),
           "stream": ("XADD", "XGROUP CREATE", "XGROUP DESTROY", "DEL", "RENAME", "XDEL", "SET", "COPY", "XTRIM", "XSETID")}


def setup(random):
    """What both servers are told before: limits, so that values change their encoding early; then empty."""
    small = random.random() < SMALL_LIMITS_SHARE
    limits = [("CONFIG", "SET", name, random.choice(both) if small else both[0]) for name, both in LIMITS.items()]
    events = "KEA" if random.random() < EVENTS_SHARE else ""
    return [("CONFIG", "SET", "notify-keyspace-events", events), *limits, *ALWAYS], bool(events)


ALWAYS = (("CONFIG", "SET", "proto-max-bulk-len", "1048576"), ("DEBUG", "SET-ACTIVE-EXPIRE", "0"), ("SCRIPT", "FLUSH"),
          ("FUNCTION", "FLUSH"), ("FLUSHALL",))


class Episode:
    """`setup` and `steps`, both made from (seed, index) alone."""

    def __init__(self, commands, seed, index, size, payloads):
        self.random = Random(f"{seed}:{index}")
        self.setup, self.events = setup(self.random)
        self.generator = Generator(commands, self.random, payloads)
        self.by_name = commands
        self.steps = []
        self.crosses = self.random.random() < CROSS_SHARE
        if self.events:
            self.drain("S", b"PSUBSCRIBE", b"*")
        events_at = EVENTS_EVERY
        while len(self.steps) < size:
            self.grow()
            if self.events and len(self.steps) >= events_at:
                self.drain("S")
                events_at = len(self.steps) + EVENTS_EVERY
        if self.events:
            self.drain("S")

    # Adding steps ------------------------------------------------------------------------------

    def call(self, words, where="A", mark=None):
        self.steps.append(Step(where, "call", words, mark or mark_of(words)))

    def drain(self, where, *words):
        self.steps.append(Step(where, "drain", list(words)))

    def pause(self):
        self.steps.append(Step("A", "pause", [PAUSE_SECONDS]))

    def grow(self):
        chance = self.random.random()
        for name, share in SHARES:
            if chance < share:
                return getattr(self, name)()
            chance -= share
        words, command = self.generator.command()
        if blocks(words, command):
            self.waits(words, command)
        else:
            self.call(words)

    def simple(self):
        """A command that may stand anywhere."""
        return self.generator.command()[0]

    def of(self, names):
        """A command out of `names`, as far as the reference knows it."""
        known = [self.by_name[name] for name in names if name in self.by_name]
        while True:
            command = self.random.choice(known)
            words = tamed(self.generator.words_of(command), self.random)
            if words is not None:
                return words, command

    # Compositions ------------------------------------------------------------------------------

    def transaction(self):
        if self.random.random() < 0.3:
            self.call([b"WATCH", *(self.generator.values.key(None) for _ in range(self.random.randrange(1, 3)))])
            if self.random.random() < 0.5:
                words, command = self.generator.command()
                if not blocks(words, command):
                    self.call(words, "D" if self.random.random() < 0.5 else "A")
        self.call([b"MULTI"])
        for _ in range(self.random.randrange(6)):
            self.call(self.random.choice(([b"MULTI"], [b"WATCH", b"a"])) if self.random.random() < 0.02 else self.simple())
        self.call([b"DISCARD" if self.random.random() < 0.1 else b"EXEC"], mark="exec")
        if self.random.random() < 0.1:
            self.call([self.random.choice((b"EXEC", b"DISCARD", b"UNWATCH"))])

    def watched(self):
        """Whether one command of somebody else is a change of any key."""
        words, command = self.generator.command()
        if blocks(words, command):
            return
        self.call([b"WATCH", *KEYS])
        self.call(words, "D")
        self.call([b"MULTI"])
        self.call([b"PING"])
        self.call([b"EXEC"], mark="exec")

    def script(self):
        body = self.random.choice(WRAPPERS)
        read_only = self.random.random() < 0.15
        name = b"EVAL_RO" if read_only else b"EVAL"
        if body is SEVERAL:
            lines = [self.simple() for _ in range(self.random.randrange(1, 4))]
            words = [word for line in lines for word in (*line, b"|")]
            return self.call([name, body, b"0", *words], mark=[mark_of(line) for line in lines])
        words = self.simple()
        if mark_of(words) and body in (SHOW2, SHOW3):
            body = CALL
        self.call([name, body, b"0", *words], mark=mark_of(words))

    def waits(self, words, command):
        """A command that may block, on a connection of its own, with something happening meanwhile."""
        self.steps.append(Step("B", "send", words, mark_of(words)))
        self.feed(command.group)
        self.steps.append(Step("B", "read", [], mark_of(words)))

    def feed(self, group):
        for _ in range(self.random.randrange(1, 4)):
            words, command = self.of(FEEDERS.get(group, FEEDERS["list"]))
            if self.random.random() < 0.2:
                self.call([b"MULTI"])
                self.call(words)
                self.call([b"EXEC"], mark="exec")
            elif not blocks(words, command):
                self.call(words)

    def blocked(self):
        clients = ["B"] if self.random.random() < 0.6 else ["B", "C"]
        group, _ = self.random.choice(WAITERS)
        if self.random.random() < 0.6:
            for key in self.home(group):
                self.call([b"DEL", key])
        if group == "stream" and self.random.random() < 0.5:
            self.call([b"XGROUP", b"CREATE", self.home(group)[0], b"g1", b"$", b"MKSTREAM"])
        for client in clients:
            line = self.random.choice([line for kind, line in WAITERS if kind == group])
            words = [self.generator.values.key(KeysOf(group)) if word == b"{k}" else word for word in line.split()]
            self.steps.append(Step(client, "send", words))
        self.feed(group)
        for client in clients:
            self.steps.append(Step(client, "read", []))

    def home(self, group):
        return {"list": (b"c", b"d"), "sorted-set": (b"g", b"h"), "stream": (b"i", b"j")}[group]

    def subscriber(self):
        for _ in range(self.random.randrange(1, 4)):
            name = self.random.choice((b"SUBSCRIBE", b"PSUBSCRIBE", b"UNSUBSCRIBE", b"PUNSUBSCRIBE", b"SSUBSCRIBE", b"SUNSUBSCRIBE"))
            names = PATTERNS_APART if b"PSUB" in name or b"PUNSUB" in name else (b"news", b"chat", b"")
            least = 1 if b"UN" in name else 0  # all at once would go in the server's own order
            channels = [self.random.choice(names) for _ in range(self.random.randrange(least, 3))]
            self.drain("R", name, *channels)
            self.call([b"PUBLISH", b"news", b"hello"])
            self.drain("R", *self.random.choice(((), (b"GET", b"a"), (b"PING",), (b"SELECT", b"1"))))

    def tracked(self):
        options = self.random.choice(((), (b"NOLOOP",), (b"OPTIN",), (b"OPTOUT",), (b"BCAST",), (b"BCAST",), (b"BCAST", b"PREFIX", b"a")))
        self.drain("T", b"CLIENT", b"TRACKING", b"ON", *options)
        for _ in range(self.random.randrange(1, 5)):
            key = self.generator.values.key(None)
            self.drain("T", *self.random.choice(((b"GET", key), (b"EXISTS", key), (b"TYPE", key), (b"SET", key, b"1"),
                                                 (b"CLIENT", b"CACHING", b"YES"), (b"MGET", key, b"b"), (b"DEL", key))))
            words, command = self.generator.command()
            if not blocks(words, command):
                self.call(words)
        self.drain("T")
        self.drain("T", b"CLIENT", b"TRACKING", b"OFF")

    def expiring(self):
        """Something that is over after a pause: the one place where time passes."""
        values = self.generator.values
        for _ in range(self.random.randrange(1, 5)):
            key = values.key(None)
            ways = [
                [b"PEXPIRE", key, SHORT], [b"PSETEX", key, SHORT, b"v"], [b"SET", key, b"v", b"PX", SHORT], [b"GETEX", key, b"PX", SHORT],
                [b"HPEXPIRE", b"k", SHORT, b"FIELDS", b"2", values.string(None), b"a"]]
            self.call(self.random.choice([words for words in ways if words[0].decode() in self.by_name]))
        self.pause()

    def many(self):
        """One key grows through the limits of its encodings."""
        words, _ = self.of(("RPUSH", "SADD", "ZADD", "HSET", "XADD", "PFADD"))
        del words[2:]
        for i in range(self.random.choice((6, 12, 140))):
            more = [b"%d" % (i * 7 % 150) if self.random.random() < 0.9 else self.generator.values.string(None)]
            if words[0] in (b"ZADD", b"HSET"):
                more.insert(0, b"%d" % i)
            if words[0] == b"XADD":
                more = [b"%d-1" % (i + 1), b"f", *more]
            self.call([*words, *more])


class KeysOf:
    """Stands for a command where only the group matters."""

    def __init__(self, group):
        self.group = group


def blocks(words, command):
    if "blocking" in command.flags and command.words[0] not in (b"XREAD", b"XREADGROUP"):
        return True
    return any(word.upper() == b"BLOCK" for word in words)
