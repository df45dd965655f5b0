"""Counts checks, bounds steps in time, and waits for what must come.

Invariant: nothing waits without a bound; a step over its time is a failed check, and what was entered
is still left again, because the alarm is an exception.
"""

import contextlib
import os
import signal
import subprocess
import time
import traceback


class Overtime(Exception):
    """A step took longer than it may."""


class Failed(Exception):
    """A command ended with an error; the text is what it said."""


class Report:
    """What passed and what failed, told as it happens."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, good, detail=""):
        """Counts one check and gives `good` back."""
        if good:
            self.passed += 1
            print(f"ok      {name}", flush=True)
        else:
            self.failed += 1
            print(f"FAILED  {name}{': ' if detail != '' else ''}{detail}", flush=True)
        return good

    def equal(self, name, value, expected):
        return self.check(name, value == expected, f"{value!r}, expected {expected!r}")

    def unavailable(self, name, why):
        """A part that cannot run here: accepted on a desk, a failure in CI."""
        if os.environ.get("CI") == "true":
            self.check(name, False, why)
        else:
            print(f"skipped {name}: {why}", flush=True)

    @contextlib.contextmanager
    def step(self, name, seconds, counts=True):
        """A part of the run that ends in time; an exception inside is a failed check, not the end."""

        def ring(*_):
            raise Overtime(f"not done in {seconds} s")

        signal.signal(signal.SIGALRM, ring)
        signal.alarm(seconds)
        begin = time.monotonic()
        try:
            yield
            signal.alarm(0)
            if counts:
                self.check(f"{name} ({time.monotonic() - begin:.0f} s)", True)
        except Exception as error:  # noqa: BLE001 - whatever it was, the other parts still run
            signal.alarm(0)
            if not isinstance(error, (Failed, Overtime)):
                traceback.print_exc()
            self.check(name, False, error)

    def close(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed and os.environ.get("CI") == "true" else 0


def command(*words, seconds=60, check=True, both=False, **more):
    """Runs a program and gives its standard output; `both` adds the errors, `check=False` accepts them."""
    words = [str(word) for word in words]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=seconds, text=True,
                              errors="replace", stderr=subprocess.STDOUT if both else subprocess.PIPE, **more)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{' '.join(words)}: not done in {seconds} s") from error
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout or ''}{done.stderr or ''}")
    return done.stdout


def until(seconds, ask, every=0.2):
    """The first true answer of `ask`, or its last one after `seconds`; errors count as no answer."""
    end = time.monotonic() + seconds
    while True:
        try:
            answer = ask()
        except (OSError, EOFError, Failed) as error:
            answer = None
            if time.monotonic() > end:
                raise Failed(f"no answer in {seconds} s: {error}") from error
        if answer or time.monotonic() > end:
            return answer
        time.sleep(every)


def stop(process, seconds):
    """Ends a child of ours: asked first, killed when it does not listen."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
