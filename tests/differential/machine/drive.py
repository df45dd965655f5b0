"""Plays steps to two servers and brings back what each said.

Calls in a row on one connection go out as one pipeline. A change of connection waits until everything before it
is answered, so the order in which a server sees the steps is the order in which they stand. That a client is
blocked is not guessed from silence: the server is asked how many are.
"""

import time
from collections import namedtuple

from harness import wire

# where: the connection's name. action:
#   call   send, and read one reply
#   send   send only: it may block. The result is empty, or the reply if there is one at once
#   read   what a `send` has brought since; b"(blocked)" closes the connection
#   drain  send a PING of our own after it and read everything up to its answer (pushes, many replies)
#   pause  both servers rest for words[0] seconds
#   cross  DUMP the key on each side, RESTORE it on the other, and say whether it came through
Step = namedtuple("Step", "where action words mark", defaults=(None,))

CHUNK_MAX = 100  # calls in one pipeline
REPLY_SECONDS_MAX = 10
BLOCK_SECONDS_MAX = 3
BLOCKED, CLOSED, SILENT = b"(blocked)", b"(closed)", b"(no reply)"
LAST = b"~drained~"
CROSSED = b"~crossed~"


class Connection:
    def __init__(self, server, protocol):
        self.client = server.client(protocol=protocol, timeout=REPLY_SECONDS_MAX)
        self.waiting = False  # a `send` has not been answered

    def ready(self):
        """Whether a whole reply can be read without waiting."""
        c = self.client
        c.socket.setblocking(False)
        try:
            while more := c.socket.recv(1 << 16):
                c.buffer += more
        except (BlockingIOError, ConnectionError):
            pass
        finally:
            c.socket.settimeout(REPLY_SECONDS_MAX)
        return bool(c.buffer) and wire.reply_end(c.buffer) is not None


class Side:
    """One server with its connections by name."""

    def __init__(self, server, protocol):
        self.server = server
        self.protocol = protocol
        self.connections = {}
        self.asking = server.client(timeout=REPLY_SECONDS_MAX)

    def connection(self, name):
        if name not in self.connections:
            self.connections[name] = Connection(self.server, self.protocol)
        return self.connections[name]

    def close(self, name):
        gone = self.connections.pop(name, None)
        if gone:
            gone.client.close()
            if gone.waiting:
                self.settle(lambda: self.blocked() == self.waiting())

    def close_all(self):
        for name in list(self.connections):
            self.close(name)

    def begin(self, setup):
        """An empty server and fresh connections, whatever has been before. The replies are read by `begun`."""
        self.close_all()
        if self.server.process.poll() is not None:
            self.server.restart()
            self.asking = self.server.client(timeout=REPLY_SECONDS_MAX)
        self.asking.send(b"".join(wire.encode(*line) for line in setup))

    def begun(self, setup):
        for _ in setup:
            self.asking.raw()

    # Calls -----------------------------------------------------------------------------------

    def push(self, where, data):
        try:
            self.connection(where).client.send(data)
        except OSError:
            pass  # reading says what became of the connection

    def replies(self, where, count):
        found = []
        try:
            client = self.connection(where).client
            for _ in range(count):
                found.append(client.raw())
        except (OSError, EOFError, ValueError) as problem:
            found += [self.broken(where, problem)] * (count - len(found))
        return found

    def broken(self, where, problem):
        self.close(where)
        if self.server.process.poll() is not None:
            return b"(died with %d)" % self.server.process.returncode
        if isinstance(problem, ValueError):
            return b"(no protocol: %b)" % str(problem).encode()
        return SILENT if isinstance(problem, TimeoutError) else CLOSED

    # Clients that block ------------------------------------------------------------------------

    def blocked(self):
        info = self.asking.call("INFO", "clients")
        return int(info.split(b"blocked_clients:")[1].split(b"\r")[0])

    def waiting(self):
        return sum(c.waiting for c in self.connections.values())

    def settle(self, done):
        end = time.monotonic() + BLOCK_SECONDS_MAX
        while not done():
            if time.monotonic() > end:
                return False
            time.sleep(0.0005)
        return True

    def send(self, where, words):
        if where in self.connections and self.connections[where].waiting:
            self.close(where)
        connection = self.connection(where)
        self.push(where, wire.encode(*words))
        connection.waiting = True
        self.settle(lambda: connection.ready() or self.blocked() >= self.waiting())
        return self.fetched(where) if connection.ready() else b""

    def fetched(self, where):
        self.connections[where].waiting = False
        return self.replies(where, 1)[0]

    def read(self, where):
        connection = self.connections.get(where)
        if connection is None or not connection.waiting:
            return b""
        self.settle(lambda: self.answered() + self.blocked() >= self.waiting())
        if connection.ready():
            return self.fetched(where)
        self.close(where)
        return BLOCKED

    def answered(self):
        return sum(c.waiting and c.ready() for c in self.connections.values())

    # Everything up to now ----------------------------------------------------------------------

    def drained(self, where):
        found = []
        try:
            while True:
                found.append(self.connection(where).client.raw())
                if LAST in found[-1]:
                    return b"".join(found)
        except (OSError, EOFError, ValueError) as problem:
            return b"".join(found) + self.broken(where, problem)


def begin(theirs, ours, setup):
    for side in (theirs, ours):
        side.begin(setup)
    for side in (theirs, ours):
        side.begun(setup)


def play(theirs, ours, steps):
    """[(their reply, our reply)] of each step."""
    results, at = [], 0
    while at < len(steps):
        step = steps[at]
        if step.action == "call":
            end = at + 1
            while end < len(steps) and end - at < CHUNK_MAX and steps[end].action == "call" and steps[end].where == step.where:
                end += 1
            results += pipelined(theirs, ours, step.where, steps[at:end])
            at = end
        else:
            results.append(ACTIONS[step.action](theirs, ours, step))
            at += 1
    return results


def pipelined(theirs, ours, where, steps):
    data = b"".join([wire.encode(*step.words) for step in steps])
    theirs.push(where, data)
    ours.push(where, data)
    return list(zip(theirs.replies(where, len(steps)), ours.replies(where, len(steps))))


def drained(theirs, ours, step):
    data = (wire.encode(*step.words) if step.words else b"") + wire.encode("PING", LAST)
    for side in (theirs, ours):
        side.push(step.where, data)
    return theirs.drained(step.where), ours.drained(step.where)


def rested(_theirs, _ours, step):
    time.sleep(float(step.words[0]))
    return b"", b""


def crossed(theirs, ours, step):
    """Both as `theirs` would say it: the same value after the journey, or what went wrong."""
    key = step.words[0]
    replies = []
    for giver, taker in ((theirs, theirs), (ours, theirs), (theirs, ours)):
        payload = one(giver, "DUMP", key)
        if not isinstance(payload, bytes):
            return b"", b""  # gone, or expired
        restored = one(taker, "RESTORE", CROSSED, 0, payload, "REPLACE")
        replies.append(f"{restored} {one(taker, 'OBJECT', 'ENCODING', CROSSED)} {contents(taker, CROSSED)}")
        one(taker, "DEL", CROSSED)
    return replies[0].encode(), next((r for r in replies[1:] if r != replies[0]), replies[0]).encode()


def one(side, *words):
    side.push("P", wire.encode(*words))
    return wire.decode(side.replies("P", 1)[0] or b"_\r\n")[0]


def contents(side, key):
    kind = one(side, "TYPE", key)
    value = one(side, *READERS.get(kind, ("GET",))[:1], key, *READERS.get(kind, ("GET",))[1:])
    if kind == b"set":
        value = sorted(value)
    if kind == b"hash":
        value = sorted(value.items()) if isinstance(value, dict) else sorted(zip(value[::2], value[1::2]))
    return f"{kind} {value}"


READERS = {b"string": ("GET",), b"list": ("LRANGE", 0, -1), b"set": ("SMEMBERS",), b"hash": ("HGETALL",),
           b"zset": ("ZRANGE", 0, -1, "WITHSCORES"), b"stream": ("XRANGE", "-", "+")}

ACTIONS = {
    "send": lambda t, o, step: (t.send(step.where, step.words), o.send(step.where, step.words)),
    "read": lambda t, o, step: (t.read(step.where), o.read(step.where)),
    "drain": drained,
    "pause": rested,
    "cross": crossed,
}
