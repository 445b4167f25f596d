"""Rounds: load, trouble, recovery, rest, judgement; again and again until the time is up."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from tests.chaos.faults import APART, FAULTS
from tests.chaos.world import Size, World

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MEGABYTE = 1 << 20
_BLOCK = 512


class Round(NamedTuple):
    """One round.

    Attributes:
        number: from 1 on.
        kind: what was done.
        apart: whether history is on a deployment of its own.
        trouble_s: how long the trouble lasted.
        recovery_s: from its end until a write made after it was in history.
        unknown: number of writes whose outcome had to be looked up.
        compared: number of events and answers that were compared.
        daemon_mb: the daemon's resident memory afterwards.
        disk_mb: what the run holds on disk.
    """

    number: int
    kind: str
    apart: bool
    trouble_s: float
    recovery_s: float
    unknown: int
    compared: dict[str, int]
    daemon_mb: int
    disk_mb: int


@dataclass
class Outcome:
    """What came of a run.

    Attributes:
        seed: which makes the same run again, as far as the machine allows.
        rounds: those that were judged right.
        failure: the first difference in full; None: there was none.
        seconds: how long it took.
    """

    seed: int
    rounds: list[Round] = field(default_factory=list)
    failure: str | None = None
    seconds: float = 0.0

    @property
    def compared(self) -> Counter[str]:
        """Everything that was compared, by what it is."""
        return sum((Counter(each.compared) for each in self.rounds), Counter())


class Plan(NamedTuple):
    """What is wanted.

    Attributes:
        seconds: how long; there is one round at least, and the last one is finished.
        rounds: at most so many rounds; None: as many as there is time for.
        seed: of all dice.
        only: kinds of trouble; none: all.
        apart: keep history on a deployment of its own.
        size: how much there is to do.
    """

    seconds: float
    seed: int
    rounds: int | None = None
    only: Sequence[str] = ()
    apart: bool = False
    size: Size = Size()


def run(plan: Plan, folder: Path, outcome: Outcome, tell: Callable[[Round], None]) -> None:
    """Run rounds until the time is up, or one is judged wrong.

    Args:
        plan: what is wanted.
        folder: where everything is kept.
        outcome: gets the rounds.
        tell: is given each round.

    Raises:
        Exception: whatever was wrong.
    """
    dice = Random(f"{plan.seed} {plan.apart}")
    kinds = _Bag([kind for kind in plan.only or FAULTS if plan.apart or kind not in APART], dice)
    first = len(outcome.rounds)
    with World(folder, dice, plan.size, apart=plan.apart) as world:
        until = time.monotonic() + plan.seconds
        while len(outcome.rounds) == first or (time.monotonic() < until and len(outcome.rounds) - first != plan.rounds):
            kind = kinds.take()
            try:
                outcome.rounds.append(_round(world, len(outcome.rounds) + 1, kind))
            except BaseException as error:
                error.add_note(f"in round {len(outcome.rounds) + 1}: {kind}, seed {plan.seed}")
                raise
            tell(outcome.rounds[-1])


def _round(world: World, number: int, kind: str) -> Round:
    unknown = sum(writer.unknown for writer in world.writers)
    world.write()
    time.sleep(world.dice.uniform(0.3, 1.5))
    world.remember_collections()
    began = time.monotonic()
    FAULTS[kind](world)
    over = time.monotonic()
    world.recorded(world.mark())
    recovered = time.monotonic()
    world.remember_collections()
    time.sleep(world.dice.uniform(0.3, 1.0))
    world.catch_up()
    world.alive()
    compared = world.verifier.verify()
    unknown = sum(writer.unknown for writer in world.writers) - unknown
    process = world.daemons[0].process
    return Round(
        number,
        kind,
        world.apart,
        round(over - began, 2),
        round(recovered - over, 2),
        unknown,
        dict(compared),
        _resident_mb(process.pid if process is not None else 0),
        _disk_mb(world.folder),
    )


class _Bag:
    """Things taken out at random; when it is empty, all are put back."""

    def __init__(self, things: list[str], dice: Random) -> None:
        self._things, self._dice = things, dice
        self._left: list[str] = []

    def take(self) -> str:
        if not self._left:
            self._left = self._dice.sample(self._things, len(self._things))
        return self._left.pop()


def _resident_mb(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") // _MEGABYTE


def _disk_mb(folder: Path) -> int:
    blocks = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # the server removes files at any time
            blocks += path.lstat().st_blocks
    return blocks * _BLOCK // _MEGABYTE
