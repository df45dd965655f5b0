"""What commands look like, read from a running server: COMMAND DOCS for the arguments, COMMAND INFO for flags.

Nothing is written down here about a single command, so that a newer reference brings its newer options along.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Argument:
    name: str
    kind: str  # key, string, integer, double, pattern, unix-time, pure-token, oneof, block
    token: bytes | None = None
    optional: bool = False
    multiple: bool = False
    token_each: bool = False  # the token stands before each repetition
    parts: list = field(default_factory=list)


@dataclass(slots=True)
class Command:
    words: tuple  # (b"XINFO", b"STREAM")
    group: str
    arguments: list
    flags: frozenset

    @property
    def name(self):
        return b" ".join(self.words).decode()


def commands_of(client):
    """{name: Command} of everything the server knows, subcommands included. `client` must speak RESP3. By name: a server lists its
    commands in another order each time that it starts, and a seed means the same commands always."""
    flags = {}
    for row in client.call("COMMAND"):
        note_flags(row, flags)
    found = {}
    for name, doc in client.call("COMMAND", "DOCS").items():
        note_command((name.upper(),), doc, flags, found)
    return dict(sorted(found.items()))


def note_flags(row, flags):
    flags[row[0].upper().replace(b"|", b" ")] = frozenset(flag.decode() for flag in row[2])
    for sub in row[9]:
        note_flags(sub, flags)


def note_command(words, doc, flags, found):
    if b"subcommands" in doc:
        for name, sub in doc[b"subcommands"].items():
            note_command((words[0], name.upper().rpartition(b"|")[2]), sub, flags, found)
        return
    command = Command(words, doc[b"group"].decode(), [argument_of(a) for a in doc.get(b"arguments", [])],
                      flags.get(b" ".join(words), frozenset()))
    found[command.name] = command


def argument_of(doc):
    flags = doc.get(b"flags", [])
    return Argument(
        name=doc[b"name"].decode().lower(),
        kind=doc[b"type"].decode(),
        token=doc.get(b"token"),
        optional=b"optional" in flags,
        multiple=b"multiple" in flags,
        token_each=b"multiple_token" in flags,
        parts=[argument_of(part) for part in doc.get(b"arguments", [])],
    )
