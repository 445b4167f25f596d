"""Events that set a field of one document without naming it, so that a log of the field finds what `blame` names.

An array element keeps the event that set it when others are pulled out or pushed in before it; a document keeps its
events when its collection is renamed; and an element that is set beyond an array's end fills the room between with
nulls. So the document is followed through its history as in `change_history.blame`, and for each of its states the
events are collected from which the field has its values.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

from bson import Binary

from change_history.blame import leaves as blame
from change_history.bson.paths import decoded, is_index
from change_history.bson.values import ABSENT, UNKNOWN, to_python
from change_history.query import conditions
from change_history.reconstruct import fold
from change_history.reconstruct.entries import timelines
from change_history.reconstruct.state import Reconstruction
from change_history.stored.chunks import whole
from change_history.stored.event import change_at, path_of, to_event
from change_history.stored.names import HISTORY
from change_history.stored.order import identity
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from change_history.bson.paths import TextPath
    from change_history.bson.raw import Value
    from change_history.query.selection import Selection
    from change_history.reconstruct.lineage import Incarnation
    from change_history.stored.event import Change, Event

_AT_ONCE = 500

Places: TypeAlias = "set[tuple[TextPath, Value]]"
"""Values that an event set, each with its path in the field, without indexes."""


def resolve(database: Database[Any], selection: Selection) -> Selection:
    """The same selection, with the events that set its field without naming it.

    Only a selection of one document's field can have any. Where the document cannot be reconstructed, the part of its
    history that can be followed counts.
    """
    if selection.setters is not None or selection.field is None or selection.document_id is ABSENT:
        return selection
    namespace, field = selection.namespace or "", conditions.as_dotted(selection.field)
    recollection = Reconstruction(database, namespace, selection.document_id, selection.until)
    incarnations = list(recollection.lineage)
    within_arrays = any(is_index(part.encode()) for part in field.split(".")[1:])
    if not within_arrays and all(incarnation.namespace == namespace for incarnation in incarnations):
        return replace(selection, setters={})
    set_by = _followed(database, incarnations, recollection.raw_id, field)
    found, names = {}, {}
    for event in _events(database, list(set_by)):
        named = conditions.changes_of(event, field) if event.namespace == namespace else []
        paths = {(change.field, str(change.path)) for change in named}
        others = [each for each in _changes(event, set_by[event.id]) if (each.field, str(each.path)) not in paths]
        if others or not named:
            found[event.id] = tuple(others) or _near(event, field)
            names[event.namespace] = event.namespace != namespace
    return replace(selection, setters=found, former_names=tuple(name for name, other in names.items() if other))


def _followed(
    database: Database[Any], incarnations: list[Incarnation], document_id: Value, field: str
) -> dict[bytes, Places]:
    """Every event that the field ever had a value from, by `_id`."""
    ids: list[bytes] = []
    found: dict[bytes, Places] = {}
    known: tuple[blame.Blame | None, bytes | None] = None, None
    for incarnation in reversed(incarnations):
        for _, entries in timelines(database, incarnation, [document_id]):
            for number, entry in zip(count(len(ids)), entries, strict=False):
                ids.append(identity(entry))
                try:
                    known = blame.after(*known, fold.read_fields(entry), number)
                except fold.DoesNotApplyError:
                    known = None, None
                set_by, document = known
                if set_by is None or document is None:
                    continue
                for path, value, event in blame.below(document, set_by, field):
                    found.setdefault(ids[event], set()).add((_pattern(decoded(path)), value))
    return found


def _events(database: Database[Any], ids: list[bytes]) -> Iterator[Event]:
    history = database.get_collection(HISTORY, codec_options=RAW)
    for start in range(0, len(ids), _AT_ONCE):
        some = [Binary(event_id) for event_id in ids[start : start + _AT_ONCE]]
        yield from (to_event(whole(database, stored)) for stored in history.find({"_id": {"$in": some}}))


def _changes(event: Event, places: Places) -> Iterator[Change]:
    """The changes of an event that set values at these places, at any index of their arrays."""
    for change in event.changes:
        path = path_of(change)
        for pattern, value in places:
            if _pattern(path) != pattern[: len(path)] or change.new_value is UNKNOWN:
                continue
            plain = to_python(value)
            for inner, new in _ends(change.new_value, pattern[len(path) :]):
                old = conditions.value_at(change.old_value, inner)
                if conditions.same(new, plain) and (old is UNKNOWN or not conditions.same(old, new)):
                    yield change_at((*path, *inner), change, old_value=old, new_value=new)


def _near(event: Event, field: str) -> tuple[Change, ...]:
    """The changes of an event that may have set a field without naming it: those in the same array, or else all."""
    parts = tuple(0 if is_index(part.encode()) else part for part in field.split("."))
    found = []
    for change in event.changes:
        pattern = _pattern(path_of(change))
        size = min(len(pattern), len(parts))
        if pattern[:size] == parts[:size]:
            found.append(change)
    return tuple(found or event.changes)


def _pattern(path: TextPath) -> TextPath:
    return tuple(0 if isinstance(key, int) else key for key in path)


def _ends(value: Any, pattern: TextPath) -> Iterator[tuple[TextPath, Any]]:
    """Every value below a value that matches a path, with any indexes."""
    if not pattern:
        yield (), value
        return
    first, rest = pattern[0], pattern[1:]
    parts: list[tuple[str | int, Any]] = []
    if isinstance(value, list) and isinstance(first, int):
        parts = list(enumerate(value))
    elif isinstance(value, dict) and isinstance(first, str) and first in value:
        parts = [(first, value[first])]
    for key, part in parts:
        yield from (((key, *inner), end) for inner, end in _ends(part, rest))
