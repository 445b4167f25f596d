"""The word that commands and pages use for an event's operation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from watcher.words.value_text import printable

if TYPE_CHECKING:
    from change_history.stored.event import Event


def stands_at_horizon(event: Event) -> bool:
    """Whether an event replaces expired history: it has the state of its document at the horizon."""
    return event.operation == "baseline" and isinstance(event.description, dict) and "horizon" in event.description


def operation_of(event: Event) -> str:
    """The operation of an event, in words."""
    return "baseline at the horizon" if stands_at_horizon(event) else printable(event.operation)
