"""Printing as long as somebody reads."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from watcher.cli.rendering import output

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def until_closed() -> Iterator[None]:
    """End the block when the pipe that it prints to is closed: its reader has seen enough, which is no error."""
    try:
        yield
    except BrokenPipeError:
        output.let_go()
