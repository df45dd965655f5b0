"""Values for arguments: few keys, so that types collide, and numbers and strings from the edges.

`Values.of(command, argument)` chooses by the argument's name first and by its kind otherwise.
"""

import struct

LONG = 10**5  # seconds or milliseconds that no episode outlives

HOMES = {  # the keys that commands of a group mostly use
    "string": (b"a", b"b"), "bitmap": (b"a", b"b"), "hyperloglog": (b"b", b"p"), "list": (b"c", b"d"),
    "set": (b"e", b"f"), "sorted-set": (b"g", b"h"), "geo": (b"h", b"o"), "stream": (b"i", b"j"),
    "hash": (b"k", b"l"),
}
KEYS = tuple(sorted({key for home in HOMES.values() for key in home}))
ODD_KEYS = (b"", b"n\x00ul", b"with space", b"none", b"key:{tag}:" + b"x" * 60)

SMALL = tuple(str(n).encode() for n in range(-4, 12))
EDGES = (b"0", b"-1", b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808", b"4294967295",
         b"4294967296", b"2147483647", b"2147483648", b"-2147483648", b"-2147483649", b"1000000", b"65536", b"255",
         b"9223372036854775806", b"18446744073709551615", b"-9223372036854775809", b"128", b"512", b"999999999999")
NO_INTEGERS = (b"", b"abc", b"1.5", b" 1", b"1 ", b"+1", b"01", b"1e3", b"0x10", b"-", b"-0", b"1\x00", b"9" * 30)
DOUBLES = (b"0", b"1", b"-1", b"0.5", b"1.5", b"-2.75", b"3.0", b"0.1", b"0.2", b"100", b"1e3", b"12345.678",
           b"3.14159265358979", b"1e17", b"-0", b"2", b"3", b"10")
DOUBLE_EDGES = (b"inf", b"-inf", b"+inf", b"nan", b"-nan", b"infinity", b"1e308", b"-1e308", b"1.7976931348623157e308",
                b"5e-324", b"1e-300", b"1e400", b"9007199254740993", b"9223372036854775807", b"-9223372036854775808",
                b"18446744073709551616", b"0x1p3", b"1e21", b"123456789012345680000", b"1e-7", b"0.000001", b".5", b"5.",
                b"4.9e-324", b"0.30000000000000004", b"1.0000000000000002")
NO_DOUBLES = (b"", b"abc", b" 1", b"1 ", b"1,5", b"--1", b"1e", b"(1", b"1\x00", b"0x")
STRINGS = (b"a", b"b", b"c", b"d", b"e", b"f", b"1", b"2", b"3", b"10", b"-5", b"3.5", b"hello", b"foo", b"bar")
ODD_STRINGS = (b"", b"\x00", b"\xff\xfe", b"with space", b"a\r\nb", b"x" * 64, b"y" * 65, b"z" * 44, b"w" * 45, b"v" * 300,
               b"9223372036854775807", b"-9223372036854775808", b"12345678901234567890", b"007", b"1e5", b"nan", b"inf",
               b"0.1", b"\xc3\xa9", b"A", b"*", b"%d%s", b"'", b'"', b"q" * 5000, b" 12", b"-0", b"1.0", b"4294967296")
PATTERNS = (b"*", b"?", b"[a-f]", b"[^a]", b"[a", b"\\*", b"*[", b"h*", b"", b"**", b"*o*", b"[a-", b"[z-a]", b"[^", b"\\",
            b"a?", b"[abc]*", b"?*?", b"[\\]]", b"n\x00*")
IDS = (b"0-1", b"0-2", b"1-0", b"1-1", b"1-2", b"2-1", b"3-0", b"5-5", b"10-1", b"100-0", b"7", b"0", b"0-0")
ODD_IDS = (b"0-0", b"-1", b"1-", b"-", b"+", b"(1-1", b"(0", b"$", b">", b"18446744073709551615-18446744073709551615",
           b"18446744073709551615-18446744073709551614", b"18446744073709551615", b"18446744073709551616-0", b"abc", b"", b"1-x",
           b"1-*", b"5-*", b"200-*", b"1-1-1", b"9-9223372036854775807", b"(18446744073709551615-18446744073709551615", b"(+",
           b"01-1", b"*-1")
SCORE_BOUNDS = (b"-inf", b"+inf", b"inf", b"(1", b"1", b"0", b"2", b"(2", b"10", b"(-inf", b"(+inf", b"3", b"0.5", b"-1", b"(")
LEX_BOUNDS = (b"-", b"+", b"[a", b"(a", b"[c", b"(c", b"[", b"(", b"[f", b"(bar", b"[hello", b"a", b"", b"[\xff", b"-a", b"++")
BIT_TYPES = (b"u1", b"u2", b"u5", b"u8", b"u16", b"u31", b"u32", b"u63", b"i1", b"i2", b"i5", b"i8", b"i16", b"i32", b"i63", b"i64")
ODD_BIT_TYPES = (b"u64", b"u0", b"i0", b"i65", b"x8", b"", b"U8", b"I8", b"u", b"u-1", b"8", b"u 8", b"i08")
LONGITUDES = (b"13.361389", b"15.087269", b"2.349014", b"-122.27652", b"0", b"180", b"-180", b"179.9999", b"15", b"13.5", b"-180.1")
LATITUDES = (b"38.115556", b"37.502669", b"48.864716", b"37.805186", b"0", b"85.05112878", b"-85.05112878", b"86", b"37", b"38")
CHANNELS = (b"news", b"chat", b"n", b"", b"__keyspace@0__:a")
GROUPS = (b"g1", b"g2", b"g3", b"")
CONSUMERS = (b"c1", b"c2", b"alice")
DATABASES = (b"0", b"0", b"1", b"2", b"16", b"-1", b"abc", b"15")
TOKENS = (b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR", b"GET", b"EX", b"PX", b"KEEPTTL", b"LIMIT", b"COUNT", b"WITHSCORES", b"BYLEX",
          b"BYSCORE", b"REV", b"STORE", b"ASC", b"DESC", b"ALPHA", b"BLOCK", b"STREAMS", b"MAXLEN", b"MINID", b"~", b"=", b"LEFT",
          b"RIGHT", b"BEFORE", b"FIELDS", b"REPLACE", b"BIT", b"BYTE", b"MATCH", b"WEIGHTS", b"AGGREGATE", b"ANY", b"FOO", b"NOMKSTREAM",
          b"FULL", b"JUSTID", b"FORCE", b"ENTRIESREAD", b"MKSTREAM", b"TYPE", b"NOVALUES", b"PERSIST", b"FNX", b"FXX", b"NOACK")

SECONDS = (b"0", b"-1", b"-100", b"9223372036854775807", b"-9223372036854775808", b"9223372036854775", b"9223372036854776",
           b"9223372036854775808", b"18446744073709551616", b"")
RANDOM_COUNTS = (b"0", b"1", b"2", b"3", b"100000", b"-1", b"-3", b"-10", b"-9223372036854775808", b"9223372036854775807", b"abc", b"")


class Values:
    """Draws values. `payloads` are DUMP payloads of the reference, for RESTORE."""

    def __init__(self, random, payloads=()):
        self.random = random
        self.payloads = payloads
        self.flavour = "index"  # what start, stop, min and max are in the command being made

    def of(self, command, argument):
        maker = MAKERS.get((command.words[0], argument.name)) or MAKERS.get(argument.name) or KINDS[argument.kind]
        return maker(self, command)

    def of_any_kind(self):
        """Something for a place that wants something else."""
        return self.random.choice((self.string, self.integer, self.double, self.key, self.token))(None)

    def key(self, command):
        chance = self.random.random()
        home = HOMES.get(command.group) if command else None
        if home and chance < 0.75:
            return self.random.choice(home)
        return self.random.choice(ODD_KEYS if chance > 0.98 else KEYS)

    def token(self, _):
        return self.random.choice(TOKENS)

    def string(self, _):
        chance = self.random.random()
        if chance < 0.6:
            return self.random.choice(STRINGS)
        if chance < 0.85:
            return b"%d" % self.random.randrange(400)
        return self.random.choice(ODD_STRINGS)

    def integer(self, _):
        chance = self.random.random()
        if chance < 0.75:
            return self.random.choice(SMALL)
        return self.random.choice(EDGES if chance < 0.93 else NO_INTEGERS)

    def double(self, _):
        chance = self.random.random()
        if chance < 0.75:
            return self.random.choice(DOUBLES)
        return self.random.choice(DOUBLE_EDGES if chance < 0.94 else NO_DOUBLES)

    def pattern(self, _):
        return self.random.choice(PATTERNS)

    def lasting(self, _):
        """A time to live: over, or longer than any episode, or no number. Never twice the same, because GT and LT
        would compare times that two servers took at different moments."""
        if self.random.random() < 0.6:
            return b"%d" % self.random.randrange(LONG, 100 * LONG)
        return self.random.choice(SECONDS if self.random.random() < 0.7 else NO_INTEGERS)

    def moment(self, _):
        """A point in time, far from now."""
        if self.random.random() < 0.5:
            return b"%d" % self.random.randrange(4 * 10**12, 5 * 10**12)
        return self.random.choice((b"0", b"1", b"-1", b"1000000000", b"9223372036854775807", b"-5", b"abc", b"9223372036854775"))

    def identifier(self, _):
        chance = self.random.random()
        if chance < 0.4:
            return self.random.choice(IDS)
        if chance < 0.8:
            return b"%d-%d" % (self.random.randrange(300), self.random.randrange(4))
        return self.random.choice(ODD_IDS)

    def bound(self, _):
        if self.random.random() < 0.05:
            return self.random.choice(SCORE_BOUNDS + LEX_BOUNDS)
        if self.flavour == "score":
            return self.random.choice(SCORE_BOUNDS) if self.random.random() < 0.8 else self.double(None)
        if self.flavour == "lex":
            return self.random.choice(LEX_BOUNDS)
        return self.integer(None)

    def payload(self, _):
        """A DUMP payload, now and then with a byte changed (its checksum is then wrong, or made right again)."""
        if not self.payloads or self.random.random() < 0.05:
            return self.string(None)
        whole = self.random.choice(self.payloads)
        if self.random.random() < 0.85:
            return whole
        at = self.random.randrange(len(whole))
        return whole[:at] + struct.pack("B", self.random.randrange(256)) + whole[at + 1:]


def one_of(usual, odd=(), share=0.1):
    """A maker that takes from `odd` with the given share."""
    def draw(values, _):
        return values.random.choice(odd if odd and values.random.random() < share else usual)
    return draw


def size(values, _):
    """A bit or byte offset: below the limit that the run sets on strings, or beyond any."""
    if values.random.random() < 0.8:
        return b"%d" % values.random.choice((0, 1, 5, 7, 8, 9, 15, 63, 64, 100, 500, 4000))
    return values.random.choice((b"-1", b"9223372036854775807", b"4294967296", b"4294967295", b"8388608", b"1048576",
                                 b"abc", b"#1", b""))


def bit_place(values, command):
    chance = values.random.random()
    return b"#%d" % values.random.randrange(9) if chance < 0.3 else size(values, command)


KINDS = {
    "key": Values.key, "string": Values.string, "integer": Values.integer, "double": Values.double,
    "pattern": Values.pattern, "unix-time": Values.moment, "pure-token": Values.token,
}

MAKERS = {
    "seconds": Values.lasting, "milliseconds": Values.lasting, "ttl": Values.lasting,
    "unix-time-seconds": Values.moment, "unix-time-milliseconds": Values.moment,
    "start": Values.bound, "stop": Values.bound, "end": Values.bound, "min": Values.bound, "max": Values.bound,
    "id": Values.identifier, "lastid": Values.identifier, "last-id": Values.identifier,
    "max-deleted-id": Values.identifier, "id-selector": Values.identifier,
    "group": one_of(GROUPS[:2], GROUPS), "groupname": one_of(GROUPS[:2], GROUPS),
    "consumer": one_of(CONSUMERS), "consumername": one_of(CONSUMERS),
    "longitude": one_of(LONGITUDES), "latitude": one_of(LATITUDES),
    "encoding": one_of(BIT_TYPES, ODD_BIT_TYPES), "bit": one_of((b"0", b"1"), (b"2", b"-1", b"abc", b"")),
    "channel": one_of(CHANNELS), "shardchannel": one_of(CHANNELS),
    "destination-db": one_of(DATABASES), "db": one_of(DATABASES), "index1": one_of(DATABASES), "index2": one_of(DATABASES),
    "cursor": one_of((b"0",), (b"abc", b"-1", b"18446744073709551616", b"")),
    "serialized-value": Values.payload,
    "radius": one_of((b"100", b"200", b"1000", b"5000", b"0", b"1e7"), DOUBLE_EDGES + NO_DOUBLES + (b"-1",)),
    "width": one_of((b"400", b"1000", b"5000"), DOUBLE_EDGES + NO_DOUBLES + (b"-1",)),
    "height": one_of((b"400", b"1000", b"5000"), DOUBLE_EDGES + NO_DOUBLES + (b"-1",)),
    "weight": Values.double, "score": Values.double,
    (b"SELECT", "index"): one_of(DATABASES),
    (b"SETBIT", "offset"): size, (b"GETBIT", "offset"): size, (b"SETRANGE", "offset"): size,
    (b"BITFIELD", "offset"): bit_place, (b"BITFIELD_RO", "offset"): bit_place,
    (b"BITPOS", "start"): Values.integer, (b"BITPOS", "end"): Values.integer,
    (b"SRANDMEMBER", "count"): one_of(RANDOM_COUNTS), (b"HRANDFIELD", "count"): one_of(RANDOM_COUNTS),
    (b"ZRANDMEMBER", "count"): one_of(RANDOM_COUNTS),
    (b"XRANGE", "start"): Values.identifier, (b"XRANGE", "end"): Values.identifier,
    (b"XREVRANGE", "start"): Values.identifier, (b"XREVRANGE", "end"): Values.identifier,
    (b"XPENDING", "start"): Values.identifier, (b"XPENDING", "end"): Values.identifier,
    (b"XAUTOCLAIM", "start"): Values.identifier,
    (b"XCLAIM", "min-idle-time"): one_of((b"0",), (b"100000000", b"-1", b"abc")),
    (b"XAUTOCLAIM", "min-idle-time"): one_of((b"0",), (b"100000000", b"-1", b"abc")),
    (b"XPENDING", "min-idle-time"): one_of((b"0",), (b"100000000", b"-1", b"abc")),
    (b"XCLAIM", "ms"): one_of((b"0", b"100"), EDGES), (b"XCLAIM", "count"): Values.integer,
    (b"XADD", "threshold"): one_of(SMALL, IDS + ODD_IDS, 0.4), (b"XTRIM", "threshold"): one_of(SMALL, IDS + ODD_IDS, 0.4),
    "timeout": one_of((b"0", b"100", b"50.5"), (b"-1", b"abc", b"inf", b"nan", b"1e30", b"", b"9223372036854775807")),
}
