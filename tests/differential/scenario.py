"""Reads and plays the scenario files: what is sent, to which connection, and how replies are compared.

A file holds blocks; a block begins with `== title` and is played from an empty server. Each further line is
one command in the words of redis-cli (quotes and \\xHH escapes as there), after optional marks:

    B: GET k        on connection B (A when nothing is said); connections open at first use
    B> BLPOP k 1    send only, and give the server time to take it; `B<` reads one reply or push later
    B$              B must have been closed by the server
    ~ SMEMBERS k    the order of the elements does not count (~2: of pairs, ~~: at every depth)
    # PTTL k        integers are compared as "an integer"
    ? RANDOMKEY     only the reply's shape is compared
    7 COMMAND INFO  only the first seven parts of each element count, whatever their order inside
    ! CONFIG SET x  the reply is not compared
    = 0.05          wait so many seconds

A word `seq:1:9:m` stands for m1 … m9, `pairs:1:3:f:v` for f1 v1 … f3 v3, `rep:5:ab` for ab five times in one
word, `sha1:TEXT` for the digest of TEXT; in quotes they stand for themselves. Lines that begin with a hash sign and no blank are comments.
"""

import hashlib
import re
import time
from collections import namedtuple
from pathlib import Path

from harness import wire

Step = namedtuple("Step", "line where action mark words")
Block = namedtuple("Block", "file title steps")

MARKS = {"~", "~2", "~~", "7", "#", "?", "!", "="}
ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", "a": b"\a", "b": b"\b"}
TAKE_SECONDS = 0.05
HELLO = re.compile(r" \$version \$[0-9.]+ (\$proto :\d) \$id :\d+")


def words_of(text):
    """Words as redis-cli splits them."""
    words, i = [], 0
    while i < len(text):
        if text[i] in " \t":
            i += 1
            continue
        as_is = text[i] in "\"'"
        word, i = quoted(text, i) if as_is else plain(text, i)
        words.extend([word] if as_is else expanded(word))
    return words


def plain(text, i):
    end = re.compile(r"[ \t]|$").search(text, i).start()
    found = text[i:end]
    prefix, _, rest = found.partition('"')
    if rest:  # prefix"quoted part"
        tail, end = quoted(text, i + len(prefix))
        return prefix.encode() + tail, end
    return found.encode(), end


def quoted(text, i):
    quote, out, i = text[i], bytearray(), i + 1
    while text[i] != quote:
        if text[i] == "\\" and quote == '"':
            if text[i + 1] == "x":
                out.append(int(text[i + 2:i + 4], 16))
                i += 4
            else:
                out += ESCAPES.get(text[i + 1], text[i + 1].encode())
                i += 2
        else:
            out += text[i].encode()
            i += 1
    return bytes(out), i + 1


def expanded(word):
    if word.startswith(b"seq:"):
        _, first, last, stem = word.split(b":", 3)
        return [stem + b"%d" % n for n in range(int(first), int(last) + 1)]
    if word.startswith(b"pairs:"):
        _, first, last, left, right = word.split(b":", 4)
        return [part + b"%d" % n for n in range(int(first), int(last) + 1) for part in (left, right)]
    if word.startswith(b"rep:"):
        _, count, stem = word.split(b":", 2)
        return [stem * int(count)]
    if word.startswith(b"sha1:"):
        return [hashlib.sha1(word[5:]).hexdigest().encode()]
    return [word]


def step_of(line):
    where, action, text = "A", "call", line
    if found := re.match(r"([A-Z])([:><$])\s?(.*)", line):
        where, text = found[1], found[3]
        action = {":": "call", ">": "send", "<": "read", "$": "closed"}[found[2]]
    mark, _, rest = text.partition(" ")
    if mark in MARKS or text in MARKS:
        text = rest
    else:
        mark = ""
    return Step(line, where, action, mark, words_of(text))


def blocks_of(path):
    found = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        line = line.strip()
        if line.startswith("=="):
            found.append(Block(Path(path).stem, line[2:].strip(), []))
        elif line and not (line.startswith("#") and not line.startswith("# ")):
            found[-1].steps.append(step_of(line))
    return found


def play(server, block, protocol):
    """What each step of the block brought, normalised."""
    with server.client() as cleaner:
        for words in (("FLUSHALL",), ("SCRIPT", "FLUSH"), ("CONFIG", "RESETSTAT"), ("SLOWLOG", "RESET")):
            cleaner.send(wire.encode(*words))
            cleaner.raw()
    clients, results = {}, []
    try:
        for step in block.steps:
            results.append(play_step(server, clients, step, protocol))
    finally:
        for client in clients.values():
            client.close()
    return results


def play_step(server, clients, step, protocol):
    if step.mark == "=":
        time.sleep(float(step.words[0]))
        return ""
    if step.where not in clients:
        clients[step.where] = server.client(protocol=protocol, timeout=10)
    client = clients[step.where]
    try:
        if step.action == "closed":
            return f"closed: {client.at_end(5)}"
        if step.action in ("call", "send"):
            client.send(wire.encode(*step.words))
        if step.action == "send":
            time.sleep(TAKE_SECONDS)
            return ""
        reply = normalised(client.raw(), step.mark)
        return HELLO.sub(" $version $V \\1 $id :N", reply)
    except (OSError, EOFError) as problem:
        return "no reply" if isinstance(problem, TimeoutError) else "closed"


# Normalising ---------------------------------------------------------------------------------

def tree_of(data, at=0):
    """(tree, end): (kind, text or list of trees)."""
    newline = data.index(b"\r\n", at)
    kind, text = data[at:at + 1].decode(), data[at + 1:newline]
    at = newline + 2
    if kind in "$=!" and int(text) >= 0:
        size = int(text)
        return (kind, data[at:at + size]), at + size + 2
    if kind in "*~>%|" and int(text) >= 0:
        parts = []
        for _ in range(int(text) * (2 if kind in "%|" else 1)):
            part, at = tree_of(data, at)
            parts.append(part)
        return (kind, parts), at
    return (kind, text), at


def normalised(data, mark):
    tree, _ = tree_of(data)
    if mark == "!":
        return ""
    if mark == "?":
        return show(shape(tree))
    if mark == "#":
        return show(without_integers(tree))
    if mark == "7":
        tree = sorted_deep((tree[0], [(kind, parts[:7]) for kind, parts in tree[1]]))
    if mark == "~~":
        tree = sorted_deep(tree)
    if mark in ("~", "~2") and isinstance(tree[1], list):
        size = 2 if mark == "~2" or tree[0] == "%" else 1
        parts = [tuple(tree[1][i:i + size]) for i in range(0, len(tree[1]), size)]
        tree = (tree[0], [part for group in sorted(parts, key=repr) for part in group])
    return show(tree)


def sorted_deep(tree):
    kind, content = tree
    return (kind, sorted(map(sorted_deep, content), key=repr)) if isinstance(content, list) else tree


def shape(tree):
    kind, content = tree
    return (kind, [shape(part) for part in content] if isinstance(content, list) else b"" if kind != "-" else content)


def without_integers(tree):
    kind, content = tree
    if isinstance(content, list):
        return (kind, [without_integers(part) for part in content])
    return (kind, b"N") if kind == ":" else tree


def show(tree):
    kind, content = tree
    if isinstance(content, list):
        return f"{kind}{len(content)}[" + " ".join(map(show, content)) + "]"
    return kind + repr(bytes(content))[2:-1]
