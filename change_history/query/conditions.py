"""Conditions on the changes of an event: the changes of one field, and changes from or to a value.

A field is given in MongoDB's notation, `address.city`: it selects the field itself, everything below it, and its part
of what is above it. If that is ambiguous (one key with a dot, two keys, an index), it selects all such paths.

Equality of values is the server's: 3, `Int64(3)` and 3.0 are one value. An absent value is not null, and an unknown
one may be anything, so an event with one is neither in the answer nor excluded from it.
"""

from __future__ import annotations

import json
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from bson.tz_util import utc

from change_history.bson.equality import key_of
from change_history.bson.paths import dotted_text, encoded, is_ambiguous, is_index, read_text
from change_history.bson.values import ABSENT, UNKNOWN, Missing, Undefined, to_raw
from change_history.stored.event import change_at, path_of
from change_history.stored.names import FROM_UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from change_history.bson.paths import TextPath
    from change_history.stored.event import Change, Event

_WHOLE_DOCUMENT = ""


def of_field(field: str, below: str = "", values: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the server can check: a change is at the field, above it or below it, or that is unknown.

    It matches a few events too many; `changes_of` decides.

    Args:
        field: in MongoDB's notation.
        below: path of the history document, with a closing dot, where it is inside another one.
        values: a condition on changes at the field or below it (see `of_values`). Of a change above, only a part
            belongs to the field, so its values decide nothing yet.
    """
    field = as_dotted(field)
    parts = field.split(".")
    above = {"field": {"$in": [_WHOLE_DOCUMENT, *(".".join(parts[:size]) for size in range(1, len(parts)))]}}
    inside = {"field": {"$gte": field + ".", "$lt": field + "/"}}  # "/" is the character after "."
    at_or_below = {"$or": [{"field": field}, inside]}
    concerned = {"$or": [above, {"$and": [at_or_below, values]} if values else at_or_below]}
    unknown = {f"{below}operation": "replace", f"{below}changes.old_value_from": FROM_UNKNOWN}
    found = [{f"{below}changes": {"$elemMatch": concerned}}, unknown]
    if values:
        anywhere = {"$or": [above, at_or_below]}
        found.append({f"{below}parts": {"$exists": True}, f"{below}changes": {"$elemMatch": anywhere}})
    return {"$or": found}


def as_dotted(field: str) -> str:
    """A field in MongoDB's notation, converted from `blame`'s list of JSON, which is used for ambiguous paths."""
    if not field.startswith("["):
        return field
    try:
        path = json.loads(field)
    except ValueError:
        return field
    is_path = isinstance(path, list) and all(type(key) in (str, int) for key in path)
    return dotted_text(tuple(path)) if is_path and is_ambiguous(encoded(tuple(path))) else field


def changes_of(event: Event, field: str) -> list[Change]:
    """The changes of an event that concern a field, those above it reduced to their part of it.

    A change above the field counts if the values there differ, or if one of them is unknown. A document replaced
    without a pre-image may have lost any field that its new version lacks, so that counts too.
    """
    field = as_dotted(field)
    found: list[Change] = []
    covered = False
    for change in event.changes:
        path = path_of(change)
        if any(dotted_text(path[:size]) == field for size in range(1, len(path) + 1)):
            found.append(change)
        elif not path or field.startswith(dotted_text(path) + "."):
            covered = True
            found += _below(change, path, field[len(dotted_text(path)) + 1 :] if path else field)
    if event.operation == "replace" and not found and not covered:
        unknown = (change for change in event.changes if change.old_value_from == FROM_UNKNOWN)
        found += [change_at(read_text(field), change, old_value=UNKNOWN) for change in islice(unknown, 1)]
    return found


def _below(change: Change, path: TextPath, rest: str) -> Iterator[Change]:
    old_value, new_value = change.old_value, change.new_value
    unknown = old_value is UNKNOWN or new_value is UNKNOWN
    index = rest.partition(".")[0]
    if unknown and change.truncated_to is not None and is_index(index.encode()) and int(index) < change.truncated_to:
        return  # the truncation did not remove it
    if unknown and (not path or change.truncated_to is not None):
        yield change  # whether it held the field is unknown
        return
    inner_paths = dict.fromkeys([*_paths(old_value, rest), *_paths(new_value, rest)])
    for inner in inner_paths or ([read_text(rest)] if unknown else []):
        old, new = value_at(old_value, inner), value_at(new_value, inner)
        if old is UNKNOWN or new is UNKNOWN or not same(old, new):
            yield change_at((*path, *inner), change, old_value=old, new_value=new)


_EQUAL_IF_SAME = frozenset({str, bool, int, ObjectId, type(None)})
"""Types whose equality in Python is that of BSON."""

_TOLD_APART = frozenset({str, bool, float, ObjectId, type(None), Missing})
"""Types of which no value equals a BSON value of another type."""


def same(old: Any, new: Any) -> bool:
    """Whether two values are equal including the BSON type; absent equals only absent."""
    kind = type(old)
    if kind is not type(new):
        return kind not in _TOLD_APART and type(new) not in _TOLD_APART and _encodes_alike(old, new)
    if kind in _EQUAL_IF_SAME:
        return bool(old == new)
    if kind is list:
        return len(old) == len(new) and all(map(same, old, new))
    if kind is dict:
        return list(old) == list(new) and all(map(same, old.values(), new.values()))
    if kind is datetime and old.tzinfo is utc is new.tzinfo and not (old.microsecond % 1000 or new.microsecond % 1000):
        return bool(old == new)  # as they are decoded
    return old is new if kind is Missing else _encodes_alike(old, new)


def _encodes_alike(old: Any, new: Any) -> bool:
    return to_raw(old) == to_raw(new)


def _paths(value: Any, rest: str) -> Iterator[TextPath]:
    """Every path below a value that a dotted path matches."""
    if isinstance(value, list):
        first, dot, deeper = rest.partition(".")
        if first.isdecimal() and first.isascii() and int(first) < len(value):
            index = int(first)
            yield from ((index, *inner) for inner in _paths(value[index], deeper)) if dot else [(index,)]
    elif isinstance(value, dict):
        if rest in value:
            yield (rest,)
        for at, character in enumerate(rest):
            if character == "." and rest[:at] in value:
                yield from ((rest[:at], *inner) for inner in _paths(value[rest[:at]], rest[at + 1 :]))


def value_at(value: Any, path: TextPath) -> Any:
    """The value at a path within a value; `ABSENT`: it has none; `UNKNOWN`: it is inside an unknown one."""
    if value is UNKNOWN:
        return UNKNOWN
    for key in path:
        known = key in value if isinstance(value, dict) else isinstance(value, list) and key in range(len(value))
        if not known:
            return ABSENT
        value = value[key]
    return value


def of_values(old: Any, new: Any) -> dict[str, Any]:
    """What the server can check of one change: it has these values, or some value is unknown.

    It matches a few events too many (an array with such an element); `verdict` decides.

    Args:
        old: the old value; `ABSENT`: any.
        new: the new value; likewise.
    """
    wanted: list[dict[str, Any]] = []
    if old is not ABSENT:
        wanted.append({"$or": [_equal("old_value", old), {"old_value_from": FROM_UNKNOWN}]})
    if new is not ABSENT:
        untold = [{"new_value_from": FROM_UNKNOWN}, {"truncated_to": {"$exists": True}}]
        wanted.append({"$or": [_equal("new_value", new), *untold]})
    return {"$and": wanted} if wanted else {}


def verdict(change: Change, old: Any, new: Any) -> bool | None:
    """Whether a change has these values; None: unknown."""
    asked = ((change.old_value, old), (change.new_value, new))
    return of_all(_same(value, wanted) for value, wanted in asked if wanted is not ABSENT)


def of_all(verdicts: Iterable[bool | None]) -> bool | None:
    """Whether all hold: no, if one does not; else unknown, if one is."""
    found = list(verdicts)
    if False in found:
        return False
    return None if None in found else True


def of_any(verdicts: Iterable[bool | None]) -> bool | None:
    """Whether one holds: yes, if one does; else unknown, if one is."""
    found = list(verdicts)
    if True in found:
        return True
    return None if None in found else False


def _equal(name: str, value: Any) -> dict[str, Any]:
    # The server cannot compare with undefined, but can test for its type.
    return {name: {"$type": "undefined"} if isinstance(value, Undefined) else {"$eq": value}}


def _same(value: Any, wanted: Any) -> bool | None:
    if value is UNKNOWN:
        return None
    return value is not ABSENT and key_of(to_raw(value)) == key_of(to_raw(wanted))
