"""Whether two replies are the same, where Redis leaves an order, a pick or a moment open.

A *mark* says how a reply is compared: None by its bytes; `set` and `pairs` in any order; `shape` by types and
sizes; `scan` and `scanpairs` as a whole scan; `seconds`, `millis` and `idle` with tolerance for time; and a
list of marks, one for each element, for EXEC and for scripts that run several commands.
"""

import re

from scenario import shape, show, sorted_deep, tree_of

MARKS = {
    "set": "SMEMBERS SINTER SUNION SDIFF HKEYS HVALS KEYS SPOP PUBSUB_CHANNELS PUBSUB_SHARDCHANNELS",
    "pairs": "HGETALL PUBSUB_NUMSUB",
    "shape": "RANDOMKEY SRANDMEMBER HRANDFIELD ZRANDMEMBER DUMP OBJECT_FREQ OBJECT_IDLETIME MEMORY_USAGE TIME",
    "scan": "SCAN SSCAN", "scanpairs": "HSCAN ZSCAN",
    "seconds": "TTL EXPIRETIME HTTL HEXPIRETIME", "millis": "PTTL PEXPIRETIME HPTTL HPEXPIRETIME",
    "idle": "XINFO_CONSUMERS XINFO_STREAM", "pending": "XPENDING",
}
BY_NAME = {name: mark for mark, names in MARKS.items() for name in names.split()}
TOLERANCE = {"seconds": 3, "millis": 5000}
FAR = 50_000  # times to live below this are no times but replies like -1
IDLE_FIELDS = (b"idle", b"inactive")
MOMENT_MIN = 10**12  # milliseconds since 1970; a smaller number is no moment


def mark_of(words):
    first = words[0].upper().decode(errors="replace")
    if first in ("SORT", "SORT_RO"):
        return sort_mark([word.upper() for word in words])
    if first == "HSCAN" and b"NOVALUES" in [word.upper() for word in words]:
        return "scan"
    if first in BY_NAME or len(words) < 2:
        return BY_NAME.get(first)
    return BY_NAME.get(f"{first}_{words[1].upper().decode(errors='replace')}")


def sort_mark(words):
    """Without sorting, a set comes in the server's own order, and LIMIT takes any part of it."""
    if not any(word == b"BY" and b"*" not in by for word, by in zip(words, words[1:])):
        return None
    return "shape" if b"LIMIT" in words else "set"


def same(mark, theirs, ours):
    if theirs == ours:
        return True
    if mark is None or not theirs or not ours:
        return False
    try:
        return alike(mark, tree_of(theirs)[0], tree_of(ours)[0])
    except (ValueError, IndexError):
        return False  # not a reply, but what `drive` says of a connection


def alike(mark, theirs, ours):
    if mark is None or theirs[0] != ours[0] or theirs[0] == "-":
        return theirs == ours
    if isinstance(mark, list):
        return each_alike(mark, theirs, ours)
    return COMPARERS[mark](theirs, ours)


def each_alike(marks, theirs, ours):
    a, b = theirs[1], ours[1]
    if not isinstance(a, list) or not isinstance(b, list) or len(a) != len(b):
        return theirs == ours
    if len(marks) != len(a):
        return theirs == ours
    return all(map(alike, marks, a, b))


def in_groups(size):
    def ordered(tree):
        kind, parts = tree
        if not isinstance(parts, list):
            return tree
        parts = [sorted_deep(part) if part[0] == "~" else part for part in parts]
        return kind, sorted((tuple(parts[i:i + size]) for i in range(0, len(parts), size)), key=repr)
    return lambda theirs, ours: ordered(theirs) == ordered(ours)


def scans(size):
    compare = in_groups(size)

    def whole(theirs, ours):
        if not isinstance(theirs[1], list) or len(theirs[1]) != 2 or len(ours[1]) != 2:
            return theirs == ours
        return theirs[1][0] == ours[1][0] and compare(theirs[1][1], ours[1][1])
    return whole


def near(tolerance, least=FAR):
    def compare(theirs, ours):
        if theirs == ours:
            return True
        if theirs[0] != ours[0]:
            return False
        if theirs[0] == ":":
            a, b = int(theirs[1]), int(ours[1])
            return abs(a - b) <= tolerance and min(a, b) >= least
        if not isinstance(theirs[1], list) or len(theirs[1]) != len(ours[1]):
            return False
        return all(map(compare, theirs[1], ours[1]))
    return compare


def idle(theirs, ours):
    """Maps with times in them: moments are near each other, and what follows `idle` is small."""
    a, b = theirs[1], ours[1]
    if theirs[0] != ours[0] or not isinstance(a, list) or len(a) != len(b):
        return moments(theirs, ours)
    for i, (x, y) in enumerate(zip(a, b)):
        timed = i > 0 and a[i - 1][1] in IDLE_FIELDS and x[0] == y[0] == ":"
        if not (elapsed(x, y) if timed else idle(x, y)):
            return False
    return True


moments = near(5000, MOMENT_MIN)
elapsed = near(5000, 0)


def pending(theirs, ours):
    """XPENDING's rows: id, consumer, idle time, deliveries."""
    if theirs == ours:
        return True
    a, b = theirs[1], ours[1]
    if not isinstance(a, list) or len(a) != len(b):
        return False
    return all(x[0] == y[0] == "*" and isinstance(x[1], list) and len(x[1]) == len(y[1]) == 4
               and x[1][:2] == y[1][:2] and elapsed(x[1][2], y[1][2]) and x[1][3] == y[1][3] for x, y in zip(a, b))


COMPARERS = {
    "set": in_groups(1), "pairs": in_groups(2), "scan": scans(1), "scanpairs": scans(2),
    "shape": lambda theirs, ours: shape(theirs) == shape(ours),
    "seconds": near(TOLERANCE["seconds"], 1000), "millis": near(TOLERANCE["millis"]), "idle": idle, "pending": pending,
}


# What differences are called ------------------------------------------------------------------

def readable(reply, most=600):
    """One reply, or several in a row, as text on one line."""
    parts, at = [], 0
    try:
        while at < len(reply):
            tree, at = tree_of(reply, at)
            parts.append(show(tree))
    except (ValueError, IndexError):
        return repr(reply)[2:-1][:most]
    return " ".join(parts)[:most]


def kind_of(reply):
    """What is alike in many differences with one cause: the type, or an error's words without its particulars."""
    if reply[:1] == b"-":
        return re.sub(r"'[^']*'|[0-9]+|\bf_[0-9a-f]+", "_", reply.decode(errors="replace").strip())[:80]
    if reply[:1] in (b"*", b"~", b"%", b">") and b"-" in reply[:40]:
        return reply[:1].decode() + " with error"
    if reply[:1] == b"(":
        return reply.decode(errors="replace")
    return reply[:1].decode(errors="replace") + ("nil" if reply in (b"$-1\r\n", b"*-1\r\n") else "")
