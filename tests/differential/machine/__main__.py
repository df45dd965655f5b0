"""The command line: one run, or the same run over several references and protocols one after the other.

Ends with status 1 if a difference was found that has no reason, and prints what reproduces it: the seed, and
`--episode N` for that episode alone.
"""

import argparse
import sys
import time
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

from machine import hunt, references, store  # noqa: E402

LONG_RUN = 100_000  # commands after which a known difference ought to have been seen


def options():
    parser = argparse.ArgumentParser(prog="python -m machine", description="Plays random commands to Tandem and to a real server.")
    parser.add_argument("--seed", default=time.strftime("%Y%m%d"), help="reproduces a run (default: today)")
    parser.add_argument("--commands", type=int, help="stop after so many")
    parser.add_argument("--seconds", type=float, help="stop after so long")
    parser.add_argument("--episode", type=int, help="play this episode of the seed alone")
    parser.add_argument("--reference", choices=references.NAMES, default="8.2")
    parser.add_argument("--protocol", type=int, choices=(2, 3), default=2)
    parser.add_argument("--store", help="append what is found to this scenario file")
    parser.add_argument("--alone", action="store_true", help="do not ask the other references about versions")
    return parser.parse_args()


def main():
    chosen = options()
    if not (chosen.commands or chosen.seconds or chosen.episode is not None):
        chosen.commands = 20_000
    print(f"machine: seed {chosen.seed}, reference {chosen.reference}, resp{chosen.protocol}", flush=True)
    with ExitStack() as stack:
        theirs = stack.enter_context(references.server(chosen.reference))
        ours = stack.enter_context(references.subject())
        others = [] if chosen.alone else [(name, stack.enter_context(references.server(name)))
                                          for name in references.NAMES if name != chosen.reference]
        begin = time.monotonic()
        run = hunt.Hunt(theirs, ours, chosen.protocol, chosen.reference, chosen.seed, others,
                        report=lambda found: tell(found, chosen))
        run.run(chosen.commands, chosen.seconds, chosen.episode)
        summary(run, time.monotonic() - begin)
    return 1 if run.found else 0


def tell(found, chosen):
    print(hunt.text_of(found, chosen.seed, chosen.reference, chosen.protocol), flush=True)
    if chosen.store and not found.as_in:
        store.append(chosen.store, hunt.scenario_of(found, chosen.seed))


def summary(run, seconds):
    if run.missing:
        print("commands that only the reference has: " + " ".join(run.missing))
    if run.count["commands"] >= LONG_RUN:
        for pattern in run.known.unused():
            print(f"known difference that never came: {pattern}")
    told = ", ".join(f"{run.count[what]} {what}" for what in ("episodes", "known", "explained", "again", "cut short", "vanished"))
    print(f"{run.count['commands']} commands in {seconds:.0f} s ({run.count['commands'] / seconds:.0f}/s): "
          f"{len(run.found)} differences, {len(run.explained)} between versions; {told}")


if __name__ == "__main__":
    sys.exit(main())
