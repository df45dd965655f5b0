"""Writes steps in the words of the scenario files, and found differences as blocks of such a file."""

import re

PLAIN = re.compile(rb"[A-Za-z0-9_.,:;/+*()<>?{}\[\]@%^&!|~=$-]+")
EXPANDED = re.compile(rb"(seq|pairs|rep|sha1):")
MARKS = {"set": "~ ", "pairs": "~2 ", "scan": "~~ ", "scanpairs": "~~ ", "shape": "? ", "seconds": "# ", "millis": "# ",
         "idle": "# ", "pending": "# ", "exec": "~~ "}
REPEATED_MIN = 20


def word_text(word):
    if len(word) >= REPEATED_MIN and word == word[:1] * len(word) and PLAIN.fullmatch(word):
        return f"rep:{len(word)}:{word[:1].decode()}"
    if PLAIN.fullmatch(word) and not EXPANDED.match(word):
        return word.decode()
    return '"' + "".join(escaped(byte) for byte in word) + '"'


def escaped(byte):
    character = chr(byte)
    if character in '"\\':
        return "\\" + character
    if byte in (10, 13, 9):
        return {10: "\\n", 13: "\\r", 9: "\\t"}[byte]
    return character if 32 <= byte < 127 else f"\\x{byte:02x}"


def command_text(words):
    return " ".join(map(word_text, words))


def step_text(step):
    """One step as a line; `drain` and `cross` have no such form and are written as the nearest that has one."""
    where = "" if step.where in ("A", "P") else step.where
    mark = MARKS.get(step.mark, "") if isinstance(step.mark, (str, type(None))) else "~~ "
    if step.action == "pause":
        return f"= {step.words[0].decode()}"
    if step.action == "send":
        return f"{step.where}> {command_text(step.words)}"
    if step.action == "read":
        return f"{step.where}<"
    if step.action == "cross":
        return f"? DUMP {command_text(step.words)}"
    if step.action == "drain" and not step.words:
        return f"{step.where}: PING"
    return (f"{where}: " if where else "") + mark + command_text(step.words)


def block(title, setup, steps):
    """A scenario block. Of the setup only what is not the default is said."""
    lines = [f"== {title}"]
    lines += [command_text([str(word).encode() for word in words]) for words in setup]
    lines += [step_text(step) for step in steps]
    return "\n".join(lines) + "\n"


def append(path, text):
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)
