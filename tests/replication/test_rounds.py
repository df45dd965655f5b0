"""A few of the rounds in which a master is lost; a hundred are run by hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROUNDS = Path(__file__).parent / "rounds.py"


def play(*words):
    """What is counted, and all that was said."""
    done = subprocess.run([sys.executable, ROUNDS, *words], capture_output=True, text=True, timeout=220)
    said = done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}, said


@pytest.mark.timeout(240)
def test_nothing_acknowledged_is_lost_where_the_master_comes_back_while_another_one_is_made():
    status, counted, said = play("--rounds", "2", "--kinds", "brief-part,part-with-clients")
    assert status == 0, said
    assert counted["done"] > 1000 and counted["jobs"] > 50 and counted["failovers"] >= 1, said
