"""Standard output: its encoding, and its end."""

from __future__ import annotations

import io
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def speak_utf8() -> None:
    """Write UTF-8 whatever the locale says: JSON is UTF-8."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")


def survive_any_character() -> None:
    """Write characters that the locale's encoding lacks as escapes instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def let_go() -> None:
    """Forget a pipe that nobody reads any more, so that Python does not complain about it at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@contextmanager
def until_closed() -> Iterator[None]:
    """End the block when the pipe that it prints to is closed: its reader has seen enough, which is no error."""
    try:
        yield
    except BrokenPipeError:
        let_go()
