"""A gap in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from change_history.query import gaps
from watcher.cli.parsing import moments
from watcher.cli.rendering.value_text import printable

if TYPE_CHECKING:
    from datetime import tzinfo

    from change_history.stored.event import Event


def interval(gap: Event, zone: tzinfo | None) -> str:
    """From when to when, and how long: `2024-05-01 14:00:00+02:00 to 2024-05-01 15:00:00+02:00 (1 h)`."""
    found = gaps.view(gap)
    return f"{moments.clock(found.since, zone)} to {moments.clock(found.until, zone)} ({length(found)})"


def length(gap: gaps.View) -> str:
    """How long a gap is."""
    return moments.span(gap.until.time - gap.since.time)


def watched(gap: gaps.View) -> str:
    """What was watched, as the settings say it."""
    return printable(",".join(gap.include) + "".join(f" but not {glob}" for glob in gap.exclude))


def line(gap: Event, zone: tzinfo | None) -> Text:
    """The line that stands in a log where a gap begins.

    Args:
        gap: its history document.
        zone: time zone of what is shown; None: the local one.
    """
    found = gaps.view(gap)
    return Text.assemble(
        (moments.clock(found.since, zone), "cyan"),
        "  ",
        (gaps.OPERATION, "bold red"),
        f"  until {moments.clock(found.until, zone)} ({length(found)}): what happened in it is not known; ",
        f"cause: {printable(found.cause)}",
    )
