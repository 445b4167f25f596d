"""A short run of `make chaos`: everything fails, nothing is lost.

`tests/chaos` has all kinds of trouble and takes as long as it is told; these are the ones that find most, once each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos import report
from tests.chaos.campaign import Outcome, Plan, run
from tests.chaos.world import Size

if TYPE_CHECKING:
    from pathlib import Path

SEED = 20_230_301
KINDS = {
    False: ("daemon-kill-writing", "primary-kill", "position-286", "position-280", "two-daemons"),
    True: ("history-away", "cut", "write-concern", "daemon-freeze"),
}
SMALL = Size(writers=2, documents=20, delay_ms=2000, freeze_s=7)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("apart", [False, True], ids=["one deployment", "history apart"])
def test_nothing_is_lost_doubled_or_displaced_whatever_fails(tmp_path: Path, *, apart: bool) -> None:
    """Three nodes, writers that know every counter, trouble after trouble; all of history is compared each time."""
    outcome = Outcome(SEED)
    kinds = KINDS[apart]

    run(
        Plan(float("inf"), SEED, rounds=len(kinds), only=kinds, apart=apart, size=SMALL),
        tmp_path / "chaos",
        outcome,
        lambda each: print(report.line(each)),  # noqa: T201 - shown when it fails
    )

    assert sorted(each.kind for each in outcome.rounds) == sorted(kinds)
    assert all(each.compared["events"] for each in outcome.rounds)
    assert outcome.compared["as-of"]  # of the whole run: a short round may have remembered no document
    assert outcome.compared["collections as-of"]
