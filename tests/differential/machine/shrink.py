"""Makes a sequence that shows a difference as small as it gets: fewer steps, then shorter and plainer words.

`shows(steps)` plays the steps from the beginning on empty servers and says whether the difference is still there.
Removing goes by halves, quarters and so on down to single steps, until nothing more can go; it needs a number
of trials that grows with the logarithm of the sequence and with what remains of it.
"""

import time
from random import Random

from .compare import mark_of
from .tame import tamed

PLAIN = (b"a", b"0", b"1")


class Shrinker:
    def __init__(self, shows, seconds_max=45):
        self.shows = shows
        self.end = time.monotonic() + seconds_max
        self.trials = 0

    def shrunk(self, steps):
        steps = self.fewer(steps)
        while True:
            simpler = self.fewer(self.plainer(steps))
            if simpler == steps or self.late():
                return simpler
            steps = simpler

    def late(self):
        return time.monotonic() > self.end

    def holds(self, steps):
        self.trials += 1
        return not self.late() and self.shows(steps)

    # Steps -----------------------------------------------------------------------------------

    def fewer(self, steps):
        """The last step shows the difference, so it stays."""
        size = max(1, len(steps) // 2)
        while True:
            before = len(steps)
            at = len(steps) - 1 - size
            while at > -size:
                begin = max(0, at)
                candidate = steps[:begin] + steps[at + size:]
                if len(candidate) < len(steps) and self.holds(candidate):
                    steps = candidate
                at -= size
            if size > 1:
                size //= 2
            elif len(steps) == before or self.late():
                return steps

    # Words -----------------------------------------------------------------------------------

    def plainer(self, steps):
        for at in range(len(steps) - 1, -1, -1):
            if at < len(steps) and steps[at].action in ("call", "send") and isinstance(steps[at].mark, (str, type(None))):
                steps = self.plain_step(steps, at)
        return steps

    def plain_step(self, steps, at):
        for length in (2, 1):  # pairs first: fields and values, scores and members
            i = len(steps[at].words) - length
            while i >= 1:
                words = steps[at].words
                steps = self.tried(steps, at, words[:i] + words[i + length:]) or steps
                i -= 1
                i = min(i, len(steps[at].words) - length)
        for i in range(1, len(steps[at].words)):
            for word in self.plain_words(steps[at].words[i]):
                words = list(steps[at].words)
                words[i] = word
                if found := self.tried(steps, at, words):
                    steps = found
                    break
        return steps

    def tried(self, steps, at, words):
        step = steps[at]
        if tamed(list(words), Random(0)) != words:
            return None  # two servers may differ in it
        mark = mark_of(words) if step.mark == mark_of(step.words) else step.mark
        candidate = steps[:at] + [step._replace(words=words, mark=mark)] + steps[at + 1:]
        return candidate if self.holds(candidate) else None

    def plain_words(self, word):
        """Simpler words to put in its place, simplest first."""
        if word in PLAIN:
            return PLAIN[:PLAIN.index(word)] if len(word) == 1 and not word.isdigit() else ()
        if word.removeprefix(b"-").isdigit():
            return [w for w in (b"0", b"1", b"2") if w != word]
        return [*PLAIN[:1], *([word[:len(word) // 2]] if len(word) > 4 else ())]
