"""Signals, sent for real to this very process."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from watcher.signals import STOP_SIGNALS, AbortedError, stop_signals

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def kept_handlers() -> Iterator[None]:
    """Whatever goes wrong, the test runner gets its own handlers back."""
    former = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def send(number: signal.Signals) -> None:
    """Send a signal to ourselves and wait a moment for Python to handle it."""
    os.kill(os.getpid(), number)
    time.sleep(0.001)


@pytest.mark.parametrize("first", STOP_SIGNALS)
@pytest.mark.parametrize("second", STOP_SIGNALS)
def test_the_first_signal_asks_and_any_second_one_aborts(first: signal.Signals, second: signal.Signals) -> None:
    """Also Ctrl-C after a SIGTERM, and the other way round."""
    asked: list[signal.Signals] = []
    with kept_handlers(), stop_signals(asked.append):
        send(first)
        assert asked == [first]
        with pytest.raises(AbortedError):
            send(second)
    assert asked == [first]


def test_an_abort_passes_through_whatever_catches_exceptions() -> None:
    """A library's `except Exception` must not turn the second signal into a retry."""
    assert not issubclass(AbortedError, Exception)


def test_former_handlers_come_back_also_after_an_error() -> None:
    """Otherwise Ctrl-C would be dead in the program that called us."""
    with kept_handlers():
        before = [signal.getsignal(number) for number in STOP_SIGNALS]
        with suppress(KeyError), stop_signals(lambda _: None):
            assert [signal.getsignal(number) for number in STOP_SIGNALS] != before
            raise KeyError
        assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_ignored_signals_are_ignored_again_afterwards() -> None:
    """`nohup` and shells start programs with SIGINT ignored."""
    with kept_handlers():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with stop_signals(lambda _: None):
            pass
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_later_run_begins_anew() -> None:
    """The signal that ended one run must not make the next one's first signal an abort."""
    for _ in range(2):
        asked: list[signal.Signals] = []
        with kept_handlers(), stop_signals(asked.append):
            send(signal.SIGTERM)
        assert asked == [signal.SIGTERM]
