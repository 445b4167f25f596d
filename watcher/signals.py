"""Signals: the first one requests an orderly end, the second one ends at once. Handlers are restored afterwards."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class AbortedError(BaseException):
    """A second signal came before the orderly end. Not an `Exception`, so that no handler catches it."""


@contextmanager
def stop_signals(on_first: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Within the block the first SIGTERM or SIGINT calls back, and the next raises `AbortedError`.

    To be used in the main thread; Python delivers signals there and nowhere else.
    """
    asked = False

    def handle(number: int, _frame: Any) -> None:
        nonlocal asked
        if asked:
            raise AbortedError
        asked = True
        on_first(signal.Signals(number))

    former = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
