"""The classes of a document's embedded documents, from event to event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from change_history.bson.cluster_time import ClusterTime
from change_history.bson.equality import key_of
from change_history.bson.values import ABSENT, UNKNOWN, to_raw
from change_history.query.conditions import value_at
from change_history.reconstruct import trust
from change_history.reconstruct.lineage import last_boundary
from change_history.reconstruct.state import Reconstruction
from change_history.stored.event import path_of
from change_history.stored.names import FROM_UNKNOWN
from change_history.stored.order import END, before

if TYPE_CHECKING:
    from pymongo.database import Database

    from change_history.bson.paths import TextPath
    from change_history.stored.event import Change, Event

_CLASS = "_cls"
_MOST_PATHS, _MOST_FIELDS = 256, 4096
_MOST_TURNS = 100
"""Drops and renames of a collection; with more, nothing is cached from one event to the next."""


class Classes:
    """Finds the classes of a document's embedded documents right after an event.

    This needs the document's state. A class stays valid from one event to the next unless that changed its place, so a
    state is reconstructed only when a class is no longer known.

    Args:
        database: the history database.
        unbroken: whether the events that are followed are one document's, and none is left out between them.
        newest_first: whether they are followed backwards.
    """

    def __init__(self, database: Database[Any], *, unbroken: bool, newest_first: bool) -> None:
        self._database = database
        self._unbroken = unbroken
        self._newest_first = newest_first
        self._event: Event | None = None
        self._document: Any = UNKNOWN  # after the event; None: unknown, or absent
        self._known: dict[TextPath, str | None] = {}
        self._asked: set[TextPath] = set()
        self._touched_by: dict[str, list[TextPath]] = {}
        self._breaks: _Breaks | None = None

    def follow(self, event: Event) -> None:
        """Move on to an event: `at` then answers for it."""
        last, self._event, self._document = self._event, event, UNKNOWN
        if not self._known or last is None:
            return
        later, earlier = (last, event) if self._newest_first else (event, last)
        if later.operation != "update" or self._may_have_turned(earlier, later):
            self._known.clear()
            return
        touched_by = self._touched_by
        for change in later.changes:
            if change.old_value_from == FROM_UNKNOWN:
                self._known.clear()  # history may lack something
                return
            touched = touched_by.get(change.field) if change.path is ABSENT else None
            for path in self._touched(change) if touched is None else touched:
                self._retell(path, change)

    def at(self, path: TextPath) -> str | None:
        """The `_cls` of the embedded document at a path; None: it has none, or is unknown."""
        if path in self._known:
            return self._known[path]
        found = class_of(value_at(self._state(), path))
        if self._unbroken:
            if path not in self._asked:
                if len(self._asked) == _MOST_PATHS:
                    self._asked.clear()
                    self._known.clear()
                self._asked.add(path)
                self._touched_by.clear()
            self._known[path] = found
        return found

    def _state(self) -> Any:
        if self._document is UNKNOWN and self._event is not None:
            at = self._event.cluster_time
            state = Reconstruction(self._database, self._event.namespace, self._event.document_id, at).state()
            self._document = state.document if state.unknown is None else None
        return self._document

    def _touched(self, change: Change) -> list[TextPath]:
        """The paths whose change may change the class."""
        changed = path_of(change)
        touched = [path for path in self._asked if _touches(changed, path)]
        if change.path is ABSENT:
            if len(self._touched_by) == _MOST_FIELDS:
                self._touched_by.clear()
            self._touched_by[change.field] = touched
        return touched

    def _retell(self, path: TextPath, change: Change) -> None:
        """Read the class at a path from the value that a change set or removed there."""
        if path not in self._known:
            return
        at, value = path_of(change), change.old_value if self._newest_first else change.new_value
        found = value_at(value, path[len(at) :]) if len(at) <= len(path) else UNKNOWN
        if found is UNKNOWN or change.truncated_to is not None:
            del self._known[path]
        else:
            self._known[path] = class_of(found)

    def _may_have_turned(self, earlier: Event, later: Event) -> bool:
        """Whether the document may have changed between two of its events without an entry."""
        if self._breaks is None:
            self._breaks = _Breaks(self._database, later)
        return self._breaks.between(earlier, later)


class _Breaks:
    """Points where a document may have changed without an entry: by collection events, or rejected events."""

    def __init__(self, database: Database[Any], event: Event) -> None:
        raw_id = to_raw(event.document_id)
        self._key = key_of(raw_id)
        self._rejected = trust.rejected(database, [event.namespace], raw_id)
        self._turns: list[ClusterTime] = []
        turn = last_boundary(database, event.namespace, END)
        while turn is not None and len(self._turns) <= _MOST_TURNS:
            self._turns.append(turn.cluster_time)
            turn = last_boundary(database, event.namespace, before(self._turns[-1]))

        self._is_smooth = not self._turns and self._rejected.is_empty

    def between(self, earlier: Event, later: Event) -> bool:
        """Whether there is such a point between two events of the document."""
        if self._is_smooth:
            return False
        since, until = ClusterTime.of(earlier.cluster_time), ClusterTime.of(later.cluster_time)
        if len(self._turns) > _MOST_TURNS or any(since <= turn <= until for turn in self._turns):
            return True
        return self._rejected.concerning(self._key, since, until) is not None


def _touches(changed: TextPath, path: TextPath) -> bool:
    """Whether a change of one path may be one of the class of the document at another."""
    size = len(changed)
    if size == len(path) + 1:
        return changed[-1] == _CLASS and _alike(changed[:-1], path)
    return size <= len(path) and _alike(changed, path[:size])


def _alike(one: TextPath, other: TextPath) -> bool:
    return all(str(key) == str(same) for key, same in zip(one, other, strict=True))


def class_of(value: Any) -> str | None:
    """The `_cls` of an embedded document; None: it has none, or is no document."""
    name = value.get(_CLASS) if isinstance(value, dict) else None
    return name if isinstance(name, str) else None
