"""How long it takes until events are recorded again: after a restart, a take-over, a fail-over.

A replica set of three `mongod` processes on loopback keeps documents and history; beside it run the daemons. Each round
does one thing, writes a document at once, and stops the clock when its event is in history, acknowledged by a majority.

- restart: a daemon that was stopped (SIGTERM) or killed (SIGKILL) is started; from the start of its process.
- take-over: of two daemons the leader is stopped, killed, or frozen (SIGSTOP). A frozen one is like one whose machine
  is gone: nobody can know that it is dead, so its lease has to run out. From the signal.
- fail-over: the primary steps down, or is killed. From the command or the signal. `accepted` is the part that nobody
  can do anything about: until the replica set took the write.

Usage: python benchmarks/recovery.py [--rounds 50] [--only KIND …] [--election-ms 10000] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pymongo.errors import DuplicateKeyError, PyMongoError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.chaos.cluster import PATIENCE_S, Cluster
from tests.support.daemon import Daemon, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

_WATCHED, _HISTORY = "bench", "bench_history"
_POLL_S = 0.002
_STANDS_BY = '"standing by"'
_REST_S = 0.5


class Took(NamedTuple):
    """Seconds until the replica set had accepted a write, and until its event was in history."""

    accepted: float
    recorded: float


class Bench:
    """The replica set and two daemons; the first is running and leads when a round begins."""

    def __init__(self, folder: Path, stack: ExitStack, election_ms: int) -> None:
        self.cluster = stack.enter_context(Cluster(folder / "set", proxied=False, election_ms=election_ms))
        self.client = stack.enter_context(self.cluster.client())
        self.documents = self.client[_WATCHED].orders
        self.history = self.client[_HISTORY].history
        self.client[_WATCHED].create_collection("orders", changeStreamPreAndPostImages={"enabled": True})
        self._number = 0
        self.daemons = [self._daemon(stack, folder, name) for name in ("one", "two")]
        self.daemons[0].start().ready()
        self.timed(time.monotonic())

    def _daemon(self, stack: ExitStack, folder: Path, name: str) -> Daemon:
        daemon = Daemon(
            self.client,
            folder / f"{name}.log",
            uri=self.cluster.uri,
            history_database=_HISTORY,
            include=f"{_WATCHED}.*",
        )
        stack.callback(daemon.__exit__)
        return daemon

    def timed(self, began: float) -> Took:
        """Write a document, again and again until it is accepted, and wait for its event in history."""
        self._number += 1
        eventually(self._accepted, "the write", PATIENCE_S)
        accepted = time.monotonic()
        until = accepted + PATIENCE_S
        while not self._recorded():
            if time.monotonic() > until:
                raise SystemExit(f"waited in vain for an event in history\n{self.daemons[0].log()[-2000:]}")
            time.sleep(_POLL_S)
        return Took(accepted - began, time.monotonic() - began)

    def _accepted(self) -> bool:
        try:
            self.documents.insert_one({"_id": self._number})
        except DuplicateKeyError:  # an attempt of unknown outcome
            return True
        except PyMongoError:
            return False
        return True

    def _recorded(self) -> bool:
        try:
            return self.history.find_one({"namespace": f"{_WATCHED}.orders", "document_id": self._number}) is not None
        except PyMongoError:
            return False

    # What is measured

    def restart(self, number: signal.Signals) -> Took:
        """Of one daemon."""
        self.daemons[0].stop(number)
        began = time.monotonic()
        self.daemons[0].start()
        return self.timed(began)

    def take_over(self, number: signal.Signals) -> Took:
        """By a second daemon."""
        leader, other = self.daemons
        stood_by = other.log().count(_STANDS_BY)
        other.start()
        eventually(lambda: other.log().count(_STANDS_BY) > stood_by, "the other one standing by", PATIENCE_S)
        time.sleep(_REST_S)
        began = time.monotonic()
        leader.send(number)
        if number is signal.SIGKILL:
            leader.wait()  # a process that nobody has waited for still has its number
        took = self.timed(began)
        if number is signal.SIGSTOP:
            leader.kill()
        leader.wait()
        self.daemons.reverse()
        return took

    def step_down(self) -> Took:
        """Of the primary."""
        self.cluster.level()
        self.cluster.primary()
        began = time.monotonic()
        self.cluster.step_down()
        return self.timed(began)

    def primary_killed(self) -> Took:
        """And started again afterwards."""
        self.cluster.level()
        primary = self.cluster.members[self.cluster.primary()]
        began = time.monotonic()
        primary.kill()
        took = self.timed(began)
        self.cluster.start()
        return took


KINDS: dict[str, Callable[[Bench], Took]] = {
    "restart after SIGTERM": lambda bench: bench.restart(signal.SIGTERM),
    "restart after SIGKILL": lambda bench: bench.restart(signal.SIGKILL),
    "take-over after SIGTERM": lambda bench: bench.take_over(signal.SIGTERM),
    "take-over after SIGKILL": lambda bench: bench.take_over(signal.SIGKILL),
    "take-over from a frozen one": lambda bench: bench.take_over(signal.SIGSTOP),
    "fail-over by step-down": Bench.step_down,
    "fail-over after SIGKILL": Bench.primary_killed,
}


def main() -> None:
    """Measure, and print one line for each kind."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=50, help="of each kind")
    arguments.add_argument("--only", nargs="+", choices=list(KINDS), metavar="KIND", default=list(KINDS))
    arguments.add_argument("--election-ms", type=int, default=10_000, help="electionTimeoutMillis of the replica set")
    arguments.add_argument("--json", type=Path, help="also write the figures to this file")
    options = arguments.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="watcher-bench-"))
    figures: dict[str, Any] = {"rounds": options.rounds, "election_ms": options.election_ms}
    print(f"{'seconds':<28} {'p50':>7} {'p99':>7} {'longest':>8} {'accepted p50':>13} {'p99':>7}")
    try:
        with ExitStack() as stack:
            bench = Bench(folder, stack, options.election_ms)
            for kind in options.only:
                took = [KINDS[kind](bench) for _ in range(options.rounds)]
                figures[kind] = summary(took)
                line = figures[kind]
                print(
                    f"{kind:<28} {line['p50']:>7.2f} {line['p99']:>7.2f} {line['longest']:>8.2f} "
                    f"{line['accepted p50']:>13.2f} {line['accepted p99']:>7.2f}",
                    flush=True,
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def summary(took: list[Took]) -> dict[str, Any]:
    """Percentiles in seconds; the 99th of fewer than a hundred is the longest."""
    accepted, recorded = sorted(each.accepted for each in took), sorted(each.recorded for each in took)
    return {
        "p50": round(statistics.median(recorded), 3),
        "p99": round(percentile(recorded, 99), 3),
        "longest": round(recorded[-1], 3),
        "accepted p50": round(statistics.median(accepted), 3),
        "accepted p99": round(percentile(accepted, 99), 3),
        "all": [round(each, 3) for each in recorded],
    }


def percentile(ordered: list[float], wanted: int) -> float:
    """The value that so many percent do not exceed."""
    return ordered[-(-len(ordered) * wanted // 100) - 1]


if __name__ == "__main__":
    main()
