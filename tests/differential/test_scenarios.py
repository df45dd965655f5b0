"""Each block of the scenario files, in RESP2 and RESP3: the replies must be the bytes of a real Redis.

Two references answer: Debian's redis-server 7.0, and Redis 8.2 for what has changed since (we say 7.4). A reply
that neither gives is wrong unless differences.txt says why it is better.
"""

from pathlib import Path

import pytest
from machine import known
from scenario import blocks_of, play

HERE = Path(__file__).parent
BLOCKS = [block for path in sorted((HERE / "scenarios").glob("*.txt")) for block in blocks_of(path)]


def known_differences():
    """{(title, line): reason} of differences.txt: `title | line | reason`. Rows of the machine are its own."""
    return {(title, line): reason for title, line, reason in known.rows() if title != known.TITLE}


KNOWN = known_differences()


@pytest.mark.parametrize("protocol", [2, 3], ids=["resp2", "resp3"])
@pytest.mark.parametrize("block", BLOCKS, ids=[f"{block.file}: {block.title}" for block in BLOCKS])
def test_same_replies(redis_server, newer_redis, subject, block, protocol):
    expected, got = play(redis_server, block, protocol), play(subject, block, protocol)
    if expected == got:
        return
    newer = play(newer_redis, block, protocol)
    wrong = [f"{step.line}\n    redis: {e[:600]}\n    newer: {n[:600]}\n    here:  {g[:600]}"
             for step, e, n, g in zip(block.steps, expected, newer, got)
             if g not in (e, n) and (block.title, step.line) not in KNOWN]
    assert not wrong, "\n" + "\n".join(wrong[:40])


def test_every_known_difference_names_a_line():
    """A row that matches nothing has outlived its reason."""
    lines = {(block.title, step.line) for block in BLOCKS for step in block.steps}
    assert set(KNOWN) <= lines


def test_titles_are_unique():
    titles = [block.title for block in BLOCKS]
    assert sorted(titles) == sorted(set(titles))
