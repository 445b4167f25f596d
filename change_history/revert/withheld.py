"""Withheld values cannot be reverted, and their placeholders must never be written into data.

Where one of the two states withholds a value, the field is left as it is. If the value is known to have changed between
them, or they differ in it, that is reported, and the document is refused unless the caller asked to keep such values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.bson import raw
from change_history.bson.paths import dotted
from change_history.bson.redacted import MAGIC, is_withheld
from change_history.query import timeline
from change_history.query.selection import Selection
from change_history.reconstruct import fold
from change_history.stored.order import position_of
from change_history.stored.reading import history_collection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pymongo.database import Database

    from change_history.bson.paths import Path
    from change_history.bson.raw import Value
    from change_history.stored.event import Transaction
    from change_history.stored.order import HistoryPosition

_MOST_NAMED = 20
_CONTAINERS = (raw.DOCUMENT, raw.ARRAY)


class RestorableStates(NamedTuple):
    """The two states of a document without their withheld values.

    Attributes:
        lost: the paths that cannot be reverted.
    """

    expected: bytes | None
    target: bytes | None
    lost: tuple[Path, ...]


def settle(
    actual: bytes | None,
    expected: bytes | None,
    target: bytes | None,
    *,
    changed: Iterable[Path] | None,
    only: Iterable[Path] | None,
) -> RestorableStates:
    """Replace the withheld values of both states by the actual values.

    Args:
        changed: the paths that are known to have changed between the two; None: any may have.
        only: the paths to revert; None: all.
    """
    if not any(side is not None and MAGIC in side for side in (expected, target)):
        return RestorableStates(expected, target, ())
    paths = {path for side in (expected, target) for path in _withheld_paths(side)}
    if only is not None:
        paths = {path for path in paths if _overlaps(path, only)}
    before, after = (raw.DOCUMENT, expected or raw.EMPTY_DOCUMENT), (raw.DOCUMENT, target or raw.EMPTY_DOCUMENT)
    lost = tuple(
        path
        for path in sorted(paths, key=str)
        if changed is None or _overlaps(path, changed) or _at(before, path) != _at(after, path)
    )
    if actual is None:
        return RestorableStates(_without(expected), _without(target), lost)
    tree: _Tree = {}
    for path in paths:
        node = tree
        for key in path:
            node = node.setdefault(key, {})
    expected, target = (_with(side, actual, tree) for side in (expected, target))
    return RestorableStates(expected, target, lost)


def refusal(lost: Iterable[Path]) -> str:
    """The message for a refused document, with the option that allows the revert."""
    names = [dotted(path).decode("utf-8", "replace") for path in lost]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    listed = ", ".join(names[:_MOST_NAMED]) + more
    return (
        f"history withholds {listed}, so what that was cannot be put back; with --keep-withheld (in Python "
        "keep_withheld=True) it stays as it is, and is left out of a document that is not there any more"
    )


def changed_between(
    database: Database[Any],
    namespace: str,
    document_id: object,
    since: HistoryPosition,
    until: HistoryPosition,
) -> set[Path] | None:
    """The paths of a document that changed between two positions; None: any may have changed."""
    first, last = since.cluster_time.timestamp, until.cluster_time.timestamp
    selection = Selection(namespace, document_id, since=first, until=last)
    found = timeline.read(history_collection(database), selection)
    return _changed(
        bytes(stored.raw) for stored in found if since <= position_of(raw.fields(bytes(stored.raw))) < until
    )


def changed_by(
    database: Database[Any], namespace: str, document_id: object, transaction: Transaction
) -> set[Path] | None:
    """The paths of a document that a transaction changed; None: any may have changed."""
    selection = Selection(namespace, document_id, transaction=transaction)
    return _changed(bytes(stored.raw) for stored in timeline.read(history_collection(database), selection))


def _changed(entries: Iterable[bytes]) -> set[Path] | None:
    found: set[Path] = set()
    for entry in entries:
        try:
            paths = [change.path for change in fold.read(entry).changes]
        except (fold.DoesNotApplyError, KeyError):
            return None
        if () in paths:
            return None
        found.update(paths)
    return found


_Tree = dict[bytes, "_Tree"]


def _overlaps(path: Path, others: Iterable[Path]) -> bool:
    """Whether a path is one of others, or above or below one."""
    return any(other[: len(path)] == path or path[: len(other)] == other for other in others)


def _withheld_paths(document: bytes | None) -> Iterator[tuple[bytes, ...]]:
    """The paths of withheld values, by keys; an array, or a document that repeats a key, counts as a whole."""
    if document is None or MAGIC not in document:
        return
    for key, value in _fields(document).items():
        kind, payload = value
        if is_withheld(value):
            yield (key,)
        elif kind == raw.DOCUMENT and raw.repeats(payload):
            if _holds(value):
                yield (key,)
        elif kind == raw.DOCUMENT:
            yield from ((key, *below) for below in _withheld_paths(payload))
        elif kind == raw.ARRAY and _holds(value):
            yield (key,)


def _holds(value: Value) -> bool:
    kind, payload = value
    if kind not in _CONTAINERS:
        return is_withheld(value)
    return MAGIC in payload and any(map(_holds, raw.items(payload)))


def _fields(document: bytes) -> dict[bytes, Value]:
    return raw.fields(document)


def _at(value: Value | None, path: Path) -> Value | None:
    for key in path:
        if value is None or value[0] != raw.DOCUMENT or not isinstance(key, bytes):
            return None
        value = _fields(value[1]).get(key)
    return value


def _with(document: bytes | None, actual: bytes, tree: _Tree) -> bytes | None:
    """A document with the actual values at some paths."""
    if document is None:
        return None
    return _filled((raw.DOCUMENT, document), (raw.DOCUMENT, actual), tree)[1]


def _filled(value: Value, actual: Value | None, tree: _Tree) -> Value:
    if value[0] != raw.DOCUMENT:
        return value
    fields = _fields(value[1])
    there = _fields(actual[1]) if actual is not None and actual[0] == raw.DOCUMENT else {}
    for key, below in tree.items():
        if below:
            if key in fields:
                fields[key] = _filled(fields[key], there.get(key), below)
        elif key in there:
            fields[key] = there[key]
        else:
            fields.pop(key, None)
    return raw.DOCUMENT, raw.from_fields(fields.items())


def _without(document: bytes | None) -> bytes | None:
    """A document without its withheld values; an array with a withheld element is left out as a whole."""
    return raw.from_fields(_kept(document).items()) if document is not None else None


def _kept(document: bytes) -> dict[bytes, Value]:
    kept = ((key, _cleared(value)) for key, value in _fields(document).items())
    return {key: value for key, value in kept if value is not None}


def _cleared(value: Value) -> Value | None:
    kind, payload = value
    if is_withheld(value):
        return None
    if kind not in _CONTAINERS or MAGIC not in payload:
        return value
    if kind == raw.DOCUMENT:
        return kind, raw.from_fields(_kept(payload).items())
    items = [_cleared(item) for item in raw.items(payload)]
    return None if None in items else (kind, raw.from_items(item for item in items if item is not None))
