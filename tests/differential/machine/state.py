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
    for database in range(DATABASES):
        select = Step("P", "call", [b"SELECT", b"%d" % database])
        keys_step = asked(b"KEYS", b"*")
        (_, _), keys = play([select, keys_step])
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
    for key in keys:
        steps = [asked(b"TYPE", key), asked(b"OBJECT", b"ENCODING", key), asked(b"PTTL", key)]
        found = first_difference(play, select, steps)
        if found:
            return found
        kind = wire.decode(play([steps[0]])[0][0])[0]
        if kind in READ:
            steps = [asked(*(key if word == b"{k}" else word for word in READ[kind]))]
            if kind == b"hash":
                steps.append(asked(b"HLEN", key))
        steps += [Step("P", "cross", [key])] if crosses and kind != b"none" else []
        found = first_difference(play, select, steps)
        if found:
            return found
    return None


def first_difference(play, select, steps):
    for step, replies in zip(steps, play(steps)):
        if not same(step.mark, *replies):
            return [select, step], *replies
    return None


def asked(*words):
    words = list(words)
    return Step("P", "call", words, mark_of(words))
