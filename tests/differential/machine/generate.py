"""Makes single commands: by their grammar, then now and then spoiled (wrong arity, wrong tokens, wrong types).

Commands that cannot be compared at all (they speak of a process, its clients, its time) are left out here by
name; what a command may not say is `tame`'s business.
"""

from .tame import tamed
from .values import Values

WEIGHTS = {"string": 13, "list": 13, "set": 11, "hash": 15, "sorted-set": 17, "stream": 17, "generic": 14, "bitmap": 5,
           "hyperloglog": 3, "geo": 5, "connection": 1, "pubsub": 1, "scripting": 2, "server": 3, "transactions": 0}

# Of these groups only what is named takes part; of the others everything but what is in LEFT_OUT.
CHOSEN = {
    "connection": {"PING", "ECHO", "SELECT", "CLIENT GETNAME", "CLIENT SETNAME", "CLIENT NO-EVICT", "CLIENT SETINFO"},
    "pubsub": {"PUBLISH", "SPUBLISH", "PUBSUB CHANNELS", "PUBSUB NUMSUB", "PUBSUB NUMPAT", "PUBSUB SHARDCHANNELS",
               "PUBSUB SHARDNUMSUB"},
    "scripting": {"SCRIPT EXISTS", "SCRIPT LOAD", "EVALSHA", "EVALSHA_RO", "EVAL", "EVAL_RO", "FCALL", "FCALL_RO",
                  "FUNCTION DELETE", "FUNCTION LIST", "FUNCTION LOAD"},
    "server": {"DBSIZE", "FLUSHDB", "FLUSHALL", "SWAPDB", "COMMAND GETKEYS", "COMMAND GETKEYSANDFLAGS", "COMMAND COUNT",
               "COMMAND LIST", "LOLWUT"},
    "transactions": set(),
}
RARE = {"FLUSHDB": 0.05, "FLUSHALL": 0.02, "SWAPDB": 0.2, "SELECT": 0.3, "MOVE": 0.5, "DEL": 0.4, "UNLINK": 0.4, "KEYS": 0.3,
        "COMMAND LIST": 0.02, "COMMAND COUNT": 0.02, "LOLWUT": 0.02, "ECHO": 0.3, "PING": 0.3, "SCRIPT LOAD": 0.5,
        "XADD": 3, "ZADD": 2, "HSET": 2, "SADD": 2, "RPUSH": 2, "SET": 2, "XGROUP CREATE": 2, "XREADGROUP": 2, "RESTORE": 0.5,
        "GEOADD": 2, "ZRANGE": 2, "SORT": 1.5}
# Slow, of the process, or with replies that no two versions share.
LEFT_OUT = {"PFSELFTEST", "MIGRATE", "WAIT", "WAITAOF", "RANDOMKEY", "COMMAND COUNT", "COMMAND LIST", "LOLWUT", "CLUSTERSCAN",
            "FUNCTION LOAD", "FUNCTION LIST"}

SPOILED_SHARE = 0.10
CASE_SHARE = 0.04
OPTION_SHARE = 0.35
LARGE_SHARE = 0.02
LARGE = (20, 60, 130)  # repetitions; the last passes the largest default listpack

SCRIPT_TEXTS = (b"return 1", b"return KEYS", b"return ARGV", b"return {1,2,{3,'a'},false,nil,4}", b"return {ok='fine'}",
                b"return {err='ERR wrong'}", b"return redis.error_reply('My Err')", b"return 3.99", b"return 'x'..#KEYS",
                b"return redis.sha1hex('a')", b"return {double=3.5}", b"return tostring(redis.call('TYPE', KEYS[1]).ok)", b"syntax error(",
                b"return redis.call('NOSUCH')", b"return redis.call('GET')", b"error('boom')", b"return redis.status_reply('S')",
                b"redis.setresp(3) return {map={a=1}}", b"redis.setresp(3) return {set={a=true}}", b"return true",
                b"redis.setresp(3) return {double=1e300}", b"return nil", b"return cjson.encode({1,2,'x'})", b"redis.setresp(3) return true",
                b"return {cmsgpack.unpack(cmsgpack.pack(1,'a',{2,3}))}", b"return bit.bor(1,6)", b"return #ARGV")
SHAS = (b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db", b"E0E1F9FABFC9D4800C877A703B823AC0578FF8DB", b"abc", b"0" * 40)


def chosen(command):
    if command.name in LEFT_OUT or "HELP" in command.name or command.group not in WEIGHTS:
        return False
    if command.group in CHOSEN:
        return command.name in CHOSEN[command.group]
    return True


class Generator:
    """Draws commands out of `commands` ({name: Command}). Everything random comes from `random`."""

    def __init__(self, commands, random, payloads=()):
        self.random = random
        self.values = Values(random, payloads)
        self.commands = [c for c in commands.values() if chosen(c)]
        self.cumulated = []
        total = 0.0
        members = {}
        for command in self.commands:
            members.setdefault(command.group, []).append(RARE.get(command.name, 1.0))
        for command in self.commands:
            weights = members[command.group]
            total += WEIGHTS[command.group] * RARE.get(command.name, 1.0) / sum(weights)
            self.cumulated.append(total)

    def command(self):
        """(words, Command): something that may be sent, whatever it answers."""
        while True:
            made, = self.random.choices(self.commands, cum_weights=self.cumulated)
            words = tamed(self.words_of(made), self.random)
            if words is not None:
                return words, made

    def words_of(self, command):
        random = self.random
        self.values.flavour = random.choice(("index", "score", "lex"))
        if command.words[0] in FLAVOURS:
            self.values.flavour = FLAVOURS[command.words[0]]
        words = list(command.words)
        if command.name in WRITTEN:
            words += WRITTEN[command.name](self)
        else:
            self.sequence(command, command.arguments, words)
        self.flavoured(command, words)
        if random.random() < SPOILED_SHARE:
            self.spoil(words, len(command.words))
        if random.random() < CASE_SHARE:
            words = [self.recased(word) if word.isalpha() else word for word in words]
        return words

    # Grammar ---------------------------------------------------------------------------------

    def sequence(self, command, arguments, words):
        count_at, repeated = None, None
        pairs = sum(1 for a in arguments if a.multiple and not a.optional) == 2
        for argument in arguments:
            if argument.name in ("numkeys", "numfields", "numargs"):
                count_at = len(words)
                words.append(b"")
                continue
            made = self.argument(command, argument, words, repeated if pairs else None)
            if made is None:
                continue
            if pairs:
                repeated = made
            if count_at is not None:
                words[count_at] = self.counted(made)
                count_at = None
        if count_at is not None:
            words[count_at] = b"0"

    def counted(self, made):
        return self.values.integer(None) if self.random.random() < 0.05 else b"%d" % made

    def argument(self, command, argument, words, times=None):
        """Appends one argument; gives how often it stands there, or None when it was left out."""
        random = self.random
        optional = argument.optional or argument.name in ("condition", "fields-condition")
        if optional and random.random() > OPTION_SHARE:
            return None
        if argument.multiple:
            times = times or self.repetitions()
        if argument.token and not argument.token_each and argument.kind != "pure-token":
            words.append(argument.token)
        for _ in range(times if argument.multiple else 1):
            if argument.token_each:
                words.append(argument.token)
            self.single(command, argument, words)
        return times or 1

    def single(self, command, argument, words):
        if argument.kind == "pure-token":
            words.append(argument.token or argument.name.upper().encode())
        elif argument.kind == "oneof":
            self.argument(command, self.random.choice(argument.parts), words)
        elif argument.kind == "block":
            self.sequence(command, argument.parts, words)
        else:
            words.append(self.values.of(command, argument))

    def repetitions(self):
        chance = self.random.random()
        if chance < 0.5:
            return 1
        return self.random.randrange(2, 5) if chance < 1 - LARGE_SHARE else self.random.choice(LARGE)

    def flavoured(self, command, words):
        """ZRANGE says what its bounds are after them; make the two agree more often than chance would."""
        if command.words[0] not in (b"ZRANGE", b"ZRANGESTORE") or self.random.random() < 0.1:
            return
        for flavour, token in (("score", b"BYSCORE"), ("lex", b"BYLEX")):
            if token in words:
                words.remove(token)
            if self.values.flavour == flavour:
                words.append(token)

    # Spoiling --------------------------------------------------------------------------------

    def spoil(self, words, begin):
        random = self.random
        for _ in range(1 if random.random() < 0.8 else 2):
            kind = random.randrange(6)
            if len(words) <= begin or kind == 0:
                words.append(self.values.of_any_kind())
                continue
            at = random.randrange(begin, len(words))
            if kind == 1:
                del words[at]
            elif kind == 2:
                words.insert(at, words[at])
            elif kind == 3:
                other = random.randrange(begin, len(words))
                words[at], words[other] = words[other], words[at]
            elif kind == 4:
                words[at] = self.values.of_any_kind()
            else:
                del words[at:]

    def recased(self, word):
        return bytes(c ^ 32 if self.random.random() < 0.5 else c for c in word)

    # Commands whose documentation says too little ----------------------------------------------

    def eval_words(self):
        return [self.random.choice(SCRIPT_TEXTS), *self.script_arguments()]

    def evalsha_words(self):
        return [self.random.choice(SHAS), *self.script_arguments()]

    def script_arguments(self):
        keys = [self.values.key(None) for _ in range(self.random.randrange(3))]
        return [self.counted(len(keys)), *keys, *(self.values.string(None) for _ in range(self.random.randrange(3)))]

    def inner_words(self):
        """A whole other command, for COMMAND GETKEYS."""
        made = self.random.choice(self.commands)
        return list(made.words) if made.name in WRITTEN else self.words_of(made)

    def by_pattern(self):
        return self.random.choice((b"*", b"*->f", b"nosort", b"k*", b"w_*->a", b"#", b"", b"a", b"*->", b"k*->x*"))

    def sort_words(self):
        random, words = self.random, [self.values.key(None)]
        if random.random() < 0.3:
            words += [b"BY", self.by_pattern()]
        if random.random() < 0.3:
            words += [b"LIMIT", self.values.integer(None), self.values.integer(None)]
        while random.random() < 0.25:
            words += [b"GET", self.by_pattern()]
        for token, share in ((b"ASC", 0.2), (b"DESC", 0.3), (b"ALPHA", 0.6)):
            # Equal texts of other keys stay in the order in which the server holds the elements.
            if random.random() < share and not (token == b"ALPHA" and b"BY" in words):
                words.append(token)
        return words

    def sort_store_words(self):
        words = self.sort_words()
        return words + [b"STORE", self.values.key(None)] if self.random.random() < 0.5 else words


FLAVOURS = {b"ZRANGEBYSCORE": "score", b"ZREVRANGEBYSCORE": "score", b"ZCOUNT": "score", b"ZREMRANGEBYSCORE": "score",
            b"ZRANGEBYLEX": "lex", b"ZREVRANGEBYLEX": "lex", b"ZLEXCOUNT": "lex", b"ZREMRANGEBYLEX": "lex",
            b"ZREMRANGEBYRANK": "index", b"ZREVRANGE": "index", b"LRANGE": "index", b"GETRANGE": "index", b"LTRIM": "index",
            b"SUBSTR": "index", b"BITCOUNT": "index", b"BITPOS": "index"}

WRITTEN = {
    "EVAL": Generator.eval_words, "EVAL_RO": Generator.eval_words,
    "EVALSHA": Generator.evalsha_words, "EVALSHA_RO": Generator.evalsha_words,
    "SCRIPT LOAD": lambda g: [g.random.choice(SCRIPT_TEXTS)], "SCRIPT EXISTS": lambda g: [g.random.choice(SHAS)],
    "COMMAND GETKEYS": Generator.inner_words, "COMMAND GETKEYSANDFLAGS": Generator.inner_words,
    "SORT": Generator.sort_store_words, "SORT_RO": Generator.sort_words,
    "FLUSHALL": lambda g: [], "FLUSHDB": lambda g: [],
}
