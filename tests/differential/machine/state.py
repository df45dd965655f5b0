"""Asks both servers for all they hold: keys, types, encodings, times to live, contents, digests."""

from harness import wire

from .compare import mark_of, same
from .drive import Step

DATABASES = 4
READ = {b"string": [b"GET", b"{k}"], b"list": [b"LRANGE", b"{k}", b"0", b"-1"], b"set": [b"SMEMBERS", b"{k}"],
        b"hash": [b"HGETALL", b"{k}"], b"zset": [b"ZRANGE", b"{k}", b"0", b"-1", b"WITHSCORES"],
        b"stream": [b"XINFO", b"STREAM", b"{k}", b"FULL", b"COUNT", b"0"]}


def difference(play, digests, crosses):
    """(steps that show it, their reply, our reply), or None. `play(steps)` gives pairs of replies."""
    selects = [Step("P", "call", [b"SELECT", b"%d" % database]) for database in range(DATABASES)]
    keys_step = asked(b"KEYS", b"*")
    names = play([step for select in selects for step in (select, keys_step)])[1::2]
    for select, keys in zip(selects, names):
        if not same(keys_step.mark, *keys):
            return [select, keys_step], *keys
        found = differing_key(play, select, sorted(wire.decode(keys[0])[0]), crosses)
        if found:
            return found
    if digests:
        step = asked(b"DEBUG", b"DIGEST")
        (digest,) = play([step])
        if digest[0] != digest[1]:
            return [step], *digest
    return None


def differing_key(play, select, keys, crosses):
    """Asks for all keys at once, first what they are and then what they hold."""
    if not keys:
        return None
    steps = [asked(*words) for key in keys for words in ((b"TYPE", key), (b"OBJECT", b"ENCODING", key), (b"PTTL", key))]
    replies = play([select, *steps])[1:]
    found = first_difference(select, steps, replies)
    if found:
        return found
    kinds = [wire.decode(theirs)[0] for theirs, _ in replies[::3]]
    stored = [(key, kind) for key, kind in zip(keys, kinds) if kind in READ]
    steps = [asked(*(key if word == b"{k}" else word for word in READ[kind])) for key, kind in stored]
    steps += [Step("P", "cross", [key]) for key, _ in stored] if crosses else []
    return first_difference(select, steps, play(steps))


def first_difference(select, steps, replies):
    for step, pair in zip(steps, replies):
        if not same(step.mark, *pair):
            return [select, step], *pair
    return None


def asked(*words):
    words = list(words)
    return Step("P", "call", words, mark_of(words))
