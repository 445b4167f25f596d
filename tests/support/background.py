"""Work beside a test."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


@contextmanager
def running(work: Callable[[threading.Event], object]) -> Iterator[None]:
    """Do something in the background of a block, whose end waits for it; what it raises is raised there.

    Args:
        work: is given what is set when the block has ended.
    """
    end = threading.Event()
    failures: list[Exception] = []

    def run() -> None:
        try:
            work(end)
        except Exception as error:  # noqa: BLE001 - raised below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
    assert not failures, failures


def repeated(work: Callable[[int], object]) -> AbstractContextManager[None]:
    """Do something with 1, 2, 3 … in the background until the end of the block; what it raises is raised there.

    Args:
        work: is given the number.
    """

    def run(end: threading.Event) -> None:
        for number in count(1):
            if end.is_set():
                return
            work(number)

    return running(run)
