"""A RESP client small enough to trust: it sends bytes and keeps the reply's own bytes.

The suites that compare servers need to see what no client library shows: the exact type of each
reply. `Client.raw` gives a reply as it came; `decode` turns one into Python values that keep every
distinction (`Simple`, `ReplyError`, `Push`, …).
"""

import socket


class ReplyError(Exception):
    """An error reply. Two are equal when their text is."""

    def __eq__(self, other):
        return isinstance(other, ReplyError) and self.args == other.args

    def __hash__(self):
        return hash(self.args)


class Simple(bytes):
    """A status reply, equal to the bytes it says."""


class Push(list):
    """An out-of-band message of RESP3."""


def encode(*words):
    """A command as clients send it: an array of bulk strings."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, (bytes, bytearray)) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def reply_end(data, at=0):
    """Where the reply that begins at `at` ends, or None when bytes are missing."""
    pending = 1
    while pending:
        newline = data.find(b"\r\n", at)
        if newline < 0:
            return None
        kind, text = data[at:at + 1], data[at + 1:newline]
        at = newline + 2
        pending -= 1
        if kind in b"$=!" and kind and int(text) >= 0:
            at += int(text) + 2
            if at > len(data):
                return None
        elif kind in b"*~>" and int(text) > 0:
            pending += int(text)
        elif kind == b"%":
            pending += 2 * int(text)
        elif kind == b"|":
            pending += 2 * int(text) + 1
        elif kind not in (b"$", b"=", b"!", b"*", b"~", b">", b"+", b"-", b":", b"_", b",", b"#", b"("):
            raise ValueError(f"not a reply: {data[at - 40:at + 40]!r}")
    return at


def decode(data, at=0):
    """(value, end) of the reply at `at`, which must be whole."""
    newline = data.index(b"\r\n", at)
    kind, text = data[at:at + 1], bytes(data[at + 1:newline])
    at = newline + 2
    if kind == b"+":
        return Simple(text), at
    if kind == b"-":
        return ReplyError(text.decode(errors="replace")), at
    if kind in (b":", b"("):
        return int(text), at
    if kind == b",":
        return float(text), at
    if kind == b"#":
        return text == b"t", at
    if kind == b"_":
        return None, at
    size = int(text)
    if kind in (b"$", b"=", b"!"):
        if size < 0:
            return None, at
        body = bytes(data[at:at + size])
        return (body[4:] if kind == b"=" else body), at + size + 2
    if size < 0:
        return None, at
    values = []
    for _ in range(size * 2 if kind in (b"%", b"|") else size):
        value, at = decode(data, at)
        values.append(value)
    if kind == b"%":
        return {freeze(k): v for k, v in zip(values[::2], values[1::2])}, at
    if kind == b"|":
        return decode(data, at)
    return (Push(values) if kind == b">" else values), at


def freeze(value):
    return tuple(map(freeze, value)) if isinstance(value, list) else value


class Client:
    """One connection. Pushes are kept apart in `pushes` unless asked for by `raw`."""

    def __init__(self, host, port, timeout=30, context=None):
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            self.socket = context.wrap_socket(self.socket, server_hostname=host)
        self.buffer = bytearray()
        self.pushes = []

    def send(self, data):
        self.socket.sendall(data)

    def raw(self):
        """The next reply's bytes as they came, pushes included."""
        while True:
            end = reply_end(self.buffer) if self.buffer else None
            if end is not None:
                data = bytes(self.buffer[:end])
                del self.buffer[:end]
                return data
            more = self.socket.recv(1 << 16)
            if not more:
                raise EOFError(f"closed by the server; unread: {bytes(self.buffer[:80])!r}")
            self.buffer += more

    def read(self):
        """The next reply's value; an error reply is returned, not raised."""
        while True:
            value, _ = decode(self.raw())
            if not isinstance(value, Push):
                return value
            self.pushes.append(value)

    def ask(self, *words):
        """Sends one command; an error reply is returned, not raised."""
        self.send(encode(*words))
        return self.read()

    def call(self, *words):
        """Sends one command; raises its error reply."""
        value = self.ask(*words)
        if isinstance(value, ReplyError):
            raise value
        return value

    def pipeline(self, commands):
        """Sends all, then reads all; error replies stay in the list."""
        self.send(b"".join(encode(*c) for c in commands))
        return [self.read() for _ in commands]

    def at_end(self, timeout=5):
        """Whether the server has closed this connection (within `timeout` seconds)."""
        self.socket.settimeout(timeout)
        try:
            while True:
                more = self.socket.recv(1 << 16)
                if not more:
                    return True
                self.buffer += more
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
