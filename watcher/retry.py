"""Trying again: exponential back-off with jitter, which waits on the stop signal and on nothing else."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

import structlog

from watcher.errors import Verdict, classify, words_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

T = TypeVar("T")
log = structlog.get_logger(__name__)

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 10.0
_JITTER = 0.5
_PAUSE_S = 0.5


class StoppedError(Exception):
    """A stop was asked for while something was being tried again."""


class Retry:
    """Calls again and again what fails for passing reasons.

    Args:
        stop: set when the daemon is asked to stop; a wait ends at once, and a failing call is given up.
        on_trouble: called with what is being attempted and the error, before every wait.
        on_relief: called with what was attempted once it has succeeded after trouble, or failed in another way.
    """

    def __init__(
        self,
        stop: threading.Event,
        on_trouble: Callable[[str, BaseException], None],
        on_relief: Callable[[str], None],
        longest_delay_s: float = LONGEST_DELAY_S,
    ) -> None:
        self._stop = stop
        self._on_trouble = on_trouble
        self._on_relief = on_relief
        self._longest_delay_s = longest_delay_s

    def pause(self, doing: str) -> None:
        """Wait a moment for somebody else.

        Raises:
            StoppedError: a stop was asked for.
        """
        if self._stop.wait(_PAUSE_S):
            raise StoppedError(doing)

    def call(self, doing: str, attempt: Callable[[], T]) -> T:
        """Call until it succeeds.

        Args:
            doing: what is being attempted, for the log.
            attempt: the call; it must be safe to repeat.

        Raises:
            StoppedError: a stop was asked for and the last attempt failed.
            Exception: whatever the call raised that does not pass.
        """
        delay, failures = FIRST_DELAY_S, 0
        while True:
            try:
                result = attempt()
            except Exception as error:
                if classify(error) is not Verdict.TRANSIENT:
                    if failures:
                        self._on_relief(doing)  # this is not that trouble any more; whoever called decides what follows
                    raise
                failures += 1
                self._on_trouble(doing, error)
                if self._stop.is_set():
                    raise StoppedError(doing) from error
                wait = delay * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load, guards nothing
                log.warning(
                    "trouble, trying again",
                    doing=doing,
                    error=words_of(error),
                    failures=failures,
                    wait_s=round(wait, 2),
                )
                self._stop.wait(wait)
                delay = min(delay * 2, self._longest_delay_s)
            else:
                if failures:
                    self._on_relief(doing)
                    log.info("trouble over", doing=doing, failures=failures)
                return result
