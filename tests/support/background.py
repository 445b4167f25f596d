"""Work beside a test."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def repeated(work: Callable[[int], object]) -> Iterator[None]:
    """Do something with 1, 2, 3 … in the background until the end of the block; what it raises is raised there.

    Args:
        work: is given the number.
    """
    end = threading.Event()
    failures: list[Exception] = []

    def run() -> None:
        try:
            for number in count(1):
                if end.is_set():
                    return
                work(number)
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
