"""Takes out of a command what two correct servers may answer differently, or what would not come to an end.

Time: nothing expires while an episode runs; it is over at once or far away. Chance: a random pick changes
nothing, or takes everything. Size: no reply of millions of elements. Each rule is about a command's words, so
that spoiled commands are held by it as well.
"""

LONG = 10**5  # what a short time to live is lengthened by
AFTER_TOKEN = {b"EX", b"PX"}
IN_PLACE = {b"EXPIRE": 2, b"PEXPIRE": 2, b"SETEX": 2, b"PSETEX": 2, b"HEXPIRE": 2, b"HPEXPIRE": 2, b"RESTORE": 2}
SCANS = {b"SCAN": 1, b"SSCAN": 2, b"HSCAN": 2, b"ZSCAN": 2}
EVERYTHING = b"100000"
END_OF_TIME = 2**63 - 2**42  # what RESTORE adds to now, and Redis up to 8.8 comes out before the beginning of time
PICK_MAX = 1000


def tamed(words, random):
    """The words, changed where needed, or None when there is no taming them."""
    name = words[0].upper()
    rule = RULES.get(name)
    if rule:
        words = rule(words, random)
        if words is None:
            return None
    return lengthened(name, words, random)


def short_time(word):
    return word.isdigit() and 0 < int(word) < LONG


def endless_time(word):
    return word.isdigit() and int(word) > END_OF_TIME


def lengthened(name, words, random):
    at = IN_PLACE.get(name)
    if at is not None and len(words) > at and (short_time(words[at]) or name == b"RESTORE" and endless_time(words[at])):
        words[at] = b"%d" % random.randrange(LONG, 100 * LONG)
    for i in range(len(words) - 1):
        if words[i].upper() in AFTER_TOKEN and short_time(words[i + 1]):
            words[i + 1] = b"%d" % random.randrange(LONG, 100 * LONG)
    return words


def spop(words, _):
    """All or nothing: which member goes is chance."""
    if len(words) == 2:
        words.append(EVERYTHING)
    elif len(words) > 2 and words[2].isdigit() and 0 < int(words[2]) < int(EVERYTHING):
        words[2] = EVERYTHING
    return words


def pick(words, _):
    """A negative count is answered with that many elements."""
    return None if any(is_number(word) and -2**63 < int(word) < -PICK_MAX for word in words[2:3]) else words


def is_number(word):
    return word.removeprefix(b"-").isdigit()


def scan(words, _):
    """A cursor means something to the server alone that has given it; one call must bring all."""
    at = SCANS[words[0].upper()]
    if len(words) > at and is_number(words[at]):
        words[at] = b"0"
    words[:] = [w for i, w in enumerate(words) if not (i > at and w.upper() == b"COUNT")]
    if len(words) > at:
        words[at + 1:at + 1] = [b"COUNT", EVERYTHING]
    return words


def xadd(words, random):
    """No id of the server's own time."""
    return None if b"*" in words else trim(words, random)


def trim(words, _):
    """An approximate trim that removes references as well: Redis 8.2 lets it remove nothing, so that the stream grows
    for ever; we remove whole nodes."""
    if any(word.upper() == b"DELREF" for word in words):
        words[:] = [b"=" if word == b"~" else word for word in words]
    return words


def few_databases(words, _):
    """Only four databases are looked at afterwards."""
    return None if any(is_number(word) and 3 < int(word) < 16 for word in words[1:]) else words


def set_range(words, _):
    """Writing stays near the beginning or is beyond all limits."""
    return None if any(is_number(word) and 5000 < int(word.lstrip(b"-")) < 2**20 for word in words[2:]) else words


RULES = {
    b"SPOP": spop, b"SRANDMEMBER": pick, b"HRANDFIELD": pick, b"ZRANDMEMBER": pick,
    b"SCAN": scan, b"SSCAN": scan, b"HSCAN": scan, b"ZSCAN": scan, b"XADD": xadd,
    b"XTRIM": trim,
    b"SELECT": few_databases, b"MOVE": few_databases, b"COPY": few_databases, b"SWAPDB": few_databases,
    b"SETRANGE": set_range, b"SETBIT": set_range,
}
