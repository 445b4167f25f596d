"""Count changes by field, hour, collection and actor, without I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from change_history.bson import raw
from change_history.bson.paths import decoded, pattern
from change_history.query import gaps
from change_history.stored import changes
from change_history.stored.event import path_of, to_event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    from bson.raw_bson import RawBSONDocument

    from change_history.query.selection import Selection

MOST_NAMES = 100_000
"""Most different fields that are counted; further ones count as others. It bounds the memory."""


@dataclass(slots=True)
class Count:
    """Numbers of events, and of the changes in them."""

    events: int = 0
    changes: int = 0

    def add(self, changes: int) -> None:
        """Count one event with this number of changes."""
        self.events += 1
        self.changes += changes


@dataclass(slots=True)
class Summary:
    """What has been counted so far.

    Attributes:
        selection: which changes of an event count.
        zone: time zone of the hours; None: the local one.
        total: all events.
        fields: changes by field, without array indexes (`change_history.bson.paths.pattern`); "" is a whole
            document.
        other_fields: changes of further fields, once `fields` has `MOST_NAMES`.
        hours: by the beginning of the hour in the zone; None: events whose time is outside the calendar.
        collections: by namespace.
        actors: events by actor (see `Event.actor`); None: the actor is unknown.
        gaps: the number of gaps among the events.
    """

    selection: Selection
    zone: tzinfo | None = None
    total: Count = field(default_factory=Count)
    fields: Counter[str] = field(default_factory=Counter)
    other_fields: int = 0
    hours: dict[datetime | None, Count] = field(default_factory=dict)
    collections: dict[str, Count] = field(default_factory=dict)
    actors: Counter[Any] = field(default_factory=Counter)
    gaps: int = 0

    def add(self, stored: RawBSONDocument) -> None:
        """Count one history document, whole as it was recorded."""
        if gaps.is_gap(stored):
            self.gaps += 1
            return
        found = 0
        for name in self._names(stored):
            found += 1
            if name in self.fields or len(self.fields) < MOST_NAMES:
                self.fields[name] += 1
            else:
                self.other_fields += 1
        self.total.add(found)
        self.hours.setdefault(self._hour(stored.get("timestamp")), Count()).add(found)
        self.collections.setdefault(stored.get("namespace") or "", Count()).add(found)
        who = stored.get("actor")
        actor = who.get("id") if isinstance(who, Mapping) else None
        if actor in self.actors or len(self.actors) < MOST_NAMES:
            self.actors[actor] += 1

    def _names(self, stored: RawBSONDocument) -> Iterator[str]:
        if self.selection.narrows:
            return (pattern(path_of(change)) for change in self.selection.changes_of(to_event(stored)))
        found = raw.fields(bytes(stored.raw)).get(b"changes")
        return (
            pattern(decoded(changes.decode(payload).path))
            for _, payload in raw.items(found[1] if found else raw.EMPTY_DOCUMENT)
        )

    def _hour(self, when: object) -> datetime | None:
        if not isinstance(when, datetime):
            return None
        # Rounded in local time, since offsets may include half hours; kept in UTC, since local hours may occur twice.
        return when.astimezone(self.zone).replace(minute=0, second=0, microsecond=0).astimezone(UTC)
