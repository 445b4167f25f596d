"""Reading a change stream in a test until enough has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import bson

from watcher.stream.listener import Listener

if TYPE_CHECKING:
    from watcher.stream.batch import Batch

Listen: TypeAlias = Callable[..., Listener]

MOST_READS = 400


def batches_until(listener: Listener, enough: Callable[[list[bytes]], bool]) -> list[Batch]:
    """Read until the events are enough."""
    found: list[Batch] = []
    for _ in range(MOST_READS):
        found.append(listener.next_batch())
        if enough(events_of(found)):
            return found
    raise AssertionError(f"only {len(events_of(found))} events came")


def events_of(batches: list[Batch]) -> list[bytes]:
    """The events of batches, in order."""
    return [item for batch in batches for item in batch.events]


def until_insert_of(document_id: Any) -> Callable[[list[bytes]], bool]:
    """Whether the last event is the insert of a document."""

    def enough(events: list[bytes]) -> bool:
        return bool(events) and ids(events[-1:]) == [document_id]

    return enough


def ids(events: list[bytes]) -> list[Any]:
    """The ids of the inserted documents among events."""
    decoded = [bson.decode(item) for item in events]
    return [item["documentKey"]["_id"] for item in decoded if item["operationType"] == "insert"]


def operations(events: list[bytes]) -> list[str]:
    """What happened."""
    return [bson.decode(item)["operationType"] for item in events]
