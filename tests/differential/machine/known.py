"""The differences that have a reason: the rows of differences.txt whose title is `machine`.

    machine | PATTERN | reason

PATTERN is a regular expression, searched in `REFERENCE :: command line :: their reply :: our reply`, all in the
form in which differences are printed.
"""

import re
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "differences.txt"
TITLE = "machine"


def rows(path=FILE):
    """[(title, pattern or line, reason)] of all rows, the machine's and the scenarios'."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [tuple(part.strip() for part in line.split(" | ")) for line in lines if line.strip() and not line.startswith("#")]


class Known:
    def __init__(self, reference, path=FILE):
        self.reference = reference
        self.patterns = [(re.compile(pattern), reason) for title, pattern, reason in rows(path) if title == TITLE]
        self.used = {pattern.pattern: 0 for pattern, _ in self.patterns}

    def reason(self, line, theirs, ours):
        text = f"{self.reference} :: {line} :: {theirs} :: {ours}"
        for pattern, reason in self.patterns:
            if pattern.search(text):
                self.used[pattern.pattern] += 1
                return reason
        return None

    def unused(self):
        """Patterns for this reference that have matched nothing."""
        return [p for p, times in self.used.items() if not times and (self.reference in p or not re.match(r"\^?(7\.0|8\.2|valkey)", p))]
