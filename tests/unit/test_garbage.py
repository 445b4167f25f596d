"""Garbage is searched for seldom, and found all the same: a daemon runs for months."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from watcher import garbage

if TYPE_CHECKING:
    from collections.abc import Iterator


class Knot:
    """An object that refers to itself."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_cycles_do_not_pile_up_for_ever() -> None:
    """Errors and their tracebacks are cycles, and hold batches of events: memory would grow with every trouble."""
    garbage.search_less()
    knots = [weakref.ref(Knot()) for _ in range(3 * garbage.OBJECTS)]

    assert sum(knot() is not None for knot in knots) <= garbage.OBJECTS


def test_what_a_former_lead_left_behind_goes_with_the_next() -> None:
    """A daemon that is deposed and leads again, many times, must not keep every pipeline that it ever had."""
    former = Knot()
    seen = weakref.ref(former)
    garbage.search_less()
    del former
    garbage.search_less()

    assert seen() is None
