"""`tandem queues --watch`, used as a person would: through a pseudo-terminal, key by key."""

import fcntl
import os
import re
import signal
import struct
import subprocess
import termios
import time

import pytest

from harness import servers
from test_prompt import Terminal

PROGRAM = [str(servers.BINARIES / "tandem"), "queues", "--watch", "-i", "0.1"]
SECONDS_MAX = 30
COLUMNS, LINES = 100, 12
MOVES = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])")


class Picture:
    """What a terminal shows of what was written to it: enough of it for a board."""

    def __init__(self):
        self.lines, self.at, self.pictures = [""] * LINES, [0, 0], 0
        self.is_other_screen = self.is_cursor_shown = None

    def feed(self, text):
        while text:
            move = MOVES.match(text)
            if move:
                self.move(*move.groups())
                text = text[move.end():]
            elif text[0] in "\r\n":
                self.at = [self.at[0] + (text[0] == "\n"), 0]
                assert self.at[0] < LINES, "the first line is pushed off the screen"
                text = text[1:]
            else:
                line, column = self.at
                assert column < COLUMNS, "a line is longer than the screen is wide"
                self.lines[line] = self.lines[line].ljust(column)[:column] + text[0] + self.lines[line][column + 1:]
                self.at[1], text = column + 1, text[1:]

    def move(self, number, letter):
        line, column = self.at
        if letter == "H":
            self.at = [0, 0]
        elif letter == "K":
            self.lines[line] = self.lines[line][:column]
        elif letter == "J":
            self.lines[line:] = [self.lines[line][:column]] + [""] * (LINES - line - 1)
        elif number == "?1049":
            self.is_other_screen = letter == "h"
        elif number == "?25":
            self.is_cursor_shown = letter == "h"
        elif number == "?2026":
            self.pictures += letter == "l"
        else:
            assert letter == "m", f"the board has no need of {number}{letter}"


class Watched(Terminal):
    def __init__(self, words, home, **variables):
        super().__init__(words, home, **variables)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.picture, self.rest = Picture(), ""

    def look(self):
        """The lines of the screen, when all that has come is shown."""
        while self.read(0.1):
            pass
        text, self.shown = self.rest + self.shown.decode(), b""
        cut = text.rfind("\x1b[?2026l") + len("\x1b[?2026l") if "\x1b[?2026l" in text and "1049l" not in text else len(text)
        self.rest = text[cut:]
        self.picture.feed(text[:cut])
        return self.picture.lines

    def until_shown(self, what, is_it):
        end = time.monotonic() + SECONDS_MAX
        while not is_it(lines := self.look()):
            assert time.monotonic() < end, f"{what}: {lines}"
        return lines


@pytest.fixture
def watched(open_server, tmp_path):
    opened = []

    def start(*words, **variables):
        opened.append(Watched([*PROGRAM, *(words or ("-p", str(open_server.port)))], tmp_path, **variables))
        return opened[-1]

    with open_server.client() as client:
        client.call("FLUSHALL")
    yield start
    for terminal in opened:
        terminal.close()


def names(lines):
    """The queues of a picture, from above."""
    head = next((at for at, line in enumerate(lines) if line.startswith("QUEUE")), None)
    return [line.split()[0] for line in lines[head + 1:] if " bullmq " in line] if head is not None else []


def make(client, name, jobs):
    client.call("HSET", f"bull:{name}:meta", "opts.maxLenEvents", "10000")
    client.call("LPUSH", f"bull:{name}:wait", *range(jobs))


def test_the_board_follows_the_queues_and_keys_sort_it(watched, open_server):
    board = watched(NO_COLOR="1")
    board.until_shown("no queue", lambda lines: any(line.startswith("No queues") for line in lines))
    with open_server.client() as client:
        make(client, "few", 2)
        make(client, "many", 30)
        board.until_shown("two, the deepest first", lambda lines: names(lines) == ["many", "few"])
        before = board.picture.pictures
        board.type("n")
        lines = board.until_shown("by name", lambda lines: names(lines) == ["few", "many"])
        assert "by QUEUE" in lines[0] and f":{open_server.port}" in lines[0] and "jobs that wait: 32" in lines[0]
        board.type("n")
        board.until_shown("the other way round", lambda lines: names(lines) == ["many", "few"])
        client.call("DEL", "bull:many:meta", "bull:many:wait")
        lines = board.until_shown("one less", lambda lines: names(lines) == ["few"])
        assert not any("many" in line for line in lines), "what was drawn before is gone"
        for n in range(30):
            make(client, f"q{n:02}", 1)
        board.until_shown("those for which there is room", lambda lines: len(names(lines)) == LINES - 4 and "and 23 more" in lines[-2])
    assert board.picture.pictures > before and board.picture.is_other_screen and board.picture.is_cursor_shown is False
    board.type("q")
    assert board.code() == 0
    board.look()
    assert board.picture.is_other_screen is False and board.picture.is_cursor_shown, "the terminal is as it was"


@pytest.mark.parametrize("key", ["\x03", "\x04"])
def test_other_keys_that_end_it_leave_the_terminal_as_it_was(watched, key):
    board = watched()
    board.until_shown("the board", lambda lines: any(line.startswith("q quit") for line in lines))
    board.type(key)
    assert board.code() == 0
    modes = termios.tcgetattr(board.fd)[3]
    assert modes & termios.ICANON and modes & termios.ECHO
    board.look()
    assert board.picture.is_other_screen is False


def test_a_server_that_goes_away_is_told_and_asked_again(watched):
    with servers.Server("server", extra=["--save", ""], tls=False, reference=False) as server:
        with server.client() as client:
            make(client, "mail", 3)
        board = watched("-p", str(server.port))
        board.until_shown("a queue", lambda lines: names(lines) == ["mail"])
        server.stop()
        board.until_shown("what is wrong", lambda lines: "asked again" in lines[1] and names(lines) == ["mail"])
        server.restart()
        board.until_shown("the new server", lambda lines: any(line.startswith("No queues") for line in lines))
        board.type("q")
        assert board.code() == 0


def test_without_a_terminal_it_is_one_table_behind_the_other(open_server):
    with open_server.client() as client:
        client.call("FLUSHALL")
        make(client, "mail", 3)
    watching = subprocess.Popen([*PROGRAM, "-p", str(open_server.port)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                env={"PATH": os.environ["PATH"]})
    try:
        lines = [watching.stdout.readline() for _ in range(6)]
        assert [line.split()[:1] for line in lines] == [["QUEUE"], ["mail"], []] * 2
        assert "\x1b" not in "".join(lines)
    finally:
        watching.send_signal(signal.SIGTERM)
        watching.wait(SECONDS_MAX)
        watching.stdout.close()


def test_a_server_that_cannot_be_asked_at_the_beginning_is_an_error(closed_server):
    done = subprocess.run([*PROGRAM, "-p", str(closed_server.port)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=SECONDS_MAX, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 1 and "NOAUTH" in done.stderr, done
