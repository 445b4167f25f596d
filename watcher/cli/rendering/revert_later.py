"""Later events that a revert undoes, or leaves alone: for people and for programs."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from bson import Int64

from change_history.bson.values import to_raw
from watcher.cli.parsing import moments
from watcher.cli.rendering import oneline

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    from change_history.revert.later import Later
    from change_history.revert.outcome import Revert

_INDENT = "  "
_MOST_FIELDS = 100


def undone(found: Revert) -> Later | None:
    """The later events that are undone, by what is written or would be; None: none is."""
    writes = any(document.writes for document in found.documents)
    return found.undone if writes and found.undone is not None and found.undone.count else None


def left_alone(found: Revert) -> Later | None:
    """The events after `--seen` that are in the way; None: none is."""
    conflicts = any(document.raw_conflicts for document in found.documents)
    return found.unseen if conflicts and found.unseen is not None and found.unseen.count else None


def lines(found: Revert, zone: tzinfo | None) -> Iterator[str]:
    """What is undone by an outcome and what is left alone, briefly: id, time, operation, fields of each event."""
    if (later := undone(found)) is not None:
        tense = "were" if found.applied else "will be"
        but = ", but for what is marked !" if any(document.raw_conflicts for document in found.documents) else ""
        yield f"Later recorded events that {tense} undone{but}:"
        yield from _events(later, zone)
    if (later := left_alone(found)) is not None:
        since = f" after {moments.exact(found.seen)}" if found.seen is not None else ""
        yield f"Recorded{since}, and so left alone:"
        yield from _events(later, zone)


def document(later: Later) -> bytes:
    """The same as BSON: how many events there are, and the newest of them, oldest first."""
    events = [
        {
            "_id": event.id,
            "timestamp": event.timestamp,
            "operation": event.operation,
            "fields": list(dict.fromkeys(change.field for change in event.changes))[:_MOST_FIELDS],
        }
        for event in later.events
    ]
    return to_raw({"count": Int64(later.count), "events": events})[1]


def _events(later: Later, zone: tzinfo | None) -> Iterator[str]:
    width = shutil.get_terminal_size().columns - len(_INDENT) if sys.stderr.isatty() else None
    if later.count > len(later.events):
        yield f"{_INDENT}{later.count - len(later.events)} earlier ones, and"
    for event in later.events:
        said = oneline.line(event, event.changes, zone=zone, width=width, with_ids=False, with_namespaces=False)
        yield f"{_INDENT}{said.plain}"
