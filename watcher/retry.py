"""Retries with exponential back-off and jitter; the waits end at once when a stop is requested."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

import structlog

from watcher.errors import Verdict, classify, words_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from watcher.steps import Step

T = TypeVar("T")
log = structlog.get_logger(__name__)

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 10.0
_JITTER = 0.5
_PAUSE_S = 0.5


class StoppedError(Exception):
    """A stop was requested while a step was being retried."""


class Retry:
    """Repeats calls that fail for transient reasons.

    Args:
        on_retry: called with the step and its error, before every wait.
        on_recovered: called with the step once it has succeeded after a retry, or failed in another way.
    """

    def __init__(
        self,
        stop: threading.Event,
        on_retry: Callable[[Step, BaseException], None],
        on_recovered: Callable[[Step], None],
        longest_delay_s: float = LONGEST_DELAY_S,
    ) -> None:
        self._stop = stop
        self._on_retry = on_retry
        self._on_recovered = on_recovered
        self._longest_delay_s = longest_delay_s

    def pause(self, step: Step) -> None:
        """Wait a moment for another process.

        Raises:
            StoppedError: a stop was requested.
        """
        if self._stop.wait(_PAUSE_S):
            raise StoppedError(step)

    def keep_up(self, step: Step, work: Callable[[], object]) -> None:
        """Run a function that ends only with the daemon, and restart it when it fails for a transient reason.

        Args:
            work: returns when a stop is requested, or when it has nothing more to do; it must be safe to restart.

        Raises:
            Exception: any error of `work` that is not transient.
        """
        while True:
            try:
                work()
            except Exception as error:
                if classify(error) is not Verdict.TRANSIENT:
                    raise
                self._on_retry(step, error)
                log.warning("failed, beginning again", doing=str(step), error=words_of(error))
                stopped = self._stop.wait(self._longest_delay_s * random.uniform(_JITTER, 1))  # noqa: S311
                self._on_recovered(step)
                if stopped:
                    return
            else:
                return

    def call(self, step: Step, attempt: Callable[[], T]) -> T:
        """Call until it succeeds.

        Args:
            attempt: the call; it must be safe to repeat.

        Raises:
            StoppedError: a stop was requested and the last attempt failed.
            Exception: any error of the call that is not transient.
        """
        delay, failures = FIRST_DELAY_S, 0
        while True:
            try:
                result = attempt()
            except Exception as error:
                if classify(error) is not Verdict.TRANSIENT:
                    if failures:
                        self._on_recovered(step)  # this is another error; whoever called decides what follows
                    raise
                failures += 1
                self._on_retry(step, error)
                if self._stop.is_set():
                    raise StoppedError(step) from error
                wait = delay * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load, guards nothing
                log.warning(
                    "failed, trying again",
                    doing=str(step),
                    error=words_of(error),
                    failures=failures,
                    wait_s=round(wait, 2),
                )
                self._stop.wait(wait)
                delay = min(delay * 2, self._longest_delay_s)
            else:
                if failures:
                    self._on_recovered(step)
                    log.info("recovered", doing=str(step), failures=failures)
                return result
