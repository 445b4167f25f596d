"""Chaos against the daemon: ``python -m tests.chaos --minutes 5``.

A writer with an oracle works on a three-node replica set while the daemon, the servers and the network between them are
killed, frozen, cut and made to fail at random. After each round all of history is compared with what happened. The exit
code is 1 at the first difference, which is shown in full with the seed.
"""

# ruff: noqa: T201 - a program that prints its result

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.chaos import report
from tests.chaos.campaign import Outcome, Plan, run
from tests.chaos.faults import FAULTS


def main() -> int:
    """Run it and print a line for each round; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5, help="how long, about (default: 5)")
    parser.add_argument("--seed", type=int, help="makes the same choices again (default: random, printed)")
    parser.add_argument("--only", nargs="+", choices=sorted(FAULTS), metavar="KIND", default=[], help=", ".join(FAULTS))
    parser.add_argument(
        "--history",
        choices=["same", "apart", "both"],
        default="both",
        help="where history is kept: on the watched deployment, on one of its own, or one after the other (default)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything to this file")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    print(f"seed {seed}\n{report.HEAD}", flush=True)
    outcome = Outcome(seed)
    places = {"same": [False], "apart": [True], "both": [False, True]}[options.history]
    began = time.monotonic()
    for apart in places:
        plan = Plan(options.minutes * 60 / len(places), seed, only=options.only, apart=apart)
        folder = Path(tempfile.mkdtemp(prefix="watcher-chaos-"))
        try:
            run(plan, folder, outcome, lambda each: print(report.line(each), flush=True))
        except Exception:  # noqa: BLE001 - the report is what this is for
            outcome.failure = f"{traceback.format_exc()}\neverything is left in {folder}"
            break
        finally:
            if outcome.failure is None:
                shutil.rmtree(folder, ignore_errors=True)
    outcome.seconds = time.monotonic() - began
    print(report.summary(outcome))
    if options.json:
        report.write_json(outcome, options.json)
    return 1 if outcome.failure else 0


if __name__ == "__main__":
    sys.exit(main())
