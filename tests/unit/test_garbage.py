"""Garbage is searched for seldom, and found all the same: a daemon runs for months."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
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


_FAULTS = """
import resource, sys
from watcher import garbage
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(200):
        bytearray(3_000_000), bytearray(2_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
usual = faults()
garbage.give_back_less()
faults()
print(usual, faults())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than glibc")
def test_memory_of_one_batch_serves_the_next() -> None:
    """Else every batch gets its megabytes anew from the system, page by page, and a third of receiving it is that."""
    done = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True)
    usual, after = map(int, done.stdout.split())

    assert after < usual / 10
