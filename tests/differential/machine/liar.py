"""A server that lies in one thing: a proxy before a real one, to prove that the machine finds what it must.

`rule(words, reply)` sees each command and the real reply, and gives what the client gets instead; `change(words)`
gives what is passed on instead of the command. It has the face of `harness.servers.Server` as far as a `Side`
needs it.
"""

import socket
import threading

from harness import wire


class Liar:
    def __init__(self, server, rule=lambda words, reply: reply, change=lambda words: words):
        self.server, self.rule, self.change = server, rule, change
        self.process = server.process
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    def client(self, protocol=2, timeout=30):
        c = wire.Client("127.0.0.1", self.listener.getsockname()[1], timeout=timeout)
        if protocol == 3:
            c.call("HELLO", "3")
        return c

    def close(self):
        self.listener.close()

    def accept(self):
        while True:
            try:
                taken, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(taken,), daemon=True).start()

    def serve(self, taken):
        """One client: a command, its reply, the next. Commands that block or subscribe are beyond it."""
        buffer = bytearray()
        with taken, self.server.client() as behind:
            while True:
                while (end := wire.reply_end(buffer) if buffer else None) is None:
                    more = taken.recv(1 << 16)
                    if not more:
                        return
                    buffer += more
                words = wire.decode(bytes(buffer[:end]))[0]
                del buffer[:end]
                behind.send(wire.encode(*self.change(words)))
                taken.sendall(self.rule(words, behind.raw()))
