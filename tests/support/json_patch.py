"""Applying differences: the counterpart of `change_history.diff.compare`."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from change_history.bson import raw
from change_history.bson.values import ABSENT, Missing
from change_history.diff.compare import DifferenceKind
from change_history.reconstruct.fold import DoesNotApplyError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from change_history.bson.paths import Key
    from change_history.bson.raw import Value
    from change_history.diff.compare import Difference, Side

    Inner = dict[Key, list[Difference]]


def patched(document: bytes | None, differences: Iterable[Difference]) -> bytes | None:
    """Apply what `compare` found.

    Args:
        document: the old document; None: there is none.
        differences: those of one comparison, in its order.

    Returns:
        The new document; None: there is none any more.

    Raises:
        DoesNotApplyError: the document is not the one that was compared, or a value is unknown.
    """
    found = list(differences)
    if not found:
        return document
    if found[0].path or found[0].kind == DifferenceKind.REORDERED:
        if document is None:
            raise DoesNotApplyError("differences within a document that is not there")
        return _rebuilt((raw.DOCUMENT, document), found, 0)[1]
    whole = found[0]
    _require((raw.DOCUMENT, document) if document is not None else None, whole)
    return None if whole.kind == DifferenceKind.REMOVED else _known(whole.new)[1]


def _rebuilt(value: Value, differences: list[Difference], depth: int) -> Value:
    """A document or array after the differences in it.

    Args:
        value: what it was.
        differences: those whose paths begin with its path.
        depth: length of its path.
    """
    own = [difference for difference in differences if len(difference.path) == depth + 1]
    inner: Inner = defaultdict(list)
    for difference in differences:
        if _leads_on(difference, depth + 1):
            inner[difference.path[depth]].append(difference)
    if value[0] == raw.ARRAY:
        return _array(raw.items(value[1]), own, inner, depth)
    if value[0] != raw.DOCUMENT:
        raise DoesNotApplyError("a path leads through a value that is neither document nor array")
    order = next((d for d in differences if len(d.path) == depth and d.kind == DifferenceKind.REORDERED), None)
    return _document(raw.fields(value[1]), own, inner, depth, order)


def _leads_on(difference: Difference, depth: int) -> bool:
    return len(difference.path) > depth or (
        len(difference.path) == depth and difference.kind == DifferenceKind.REORDERED
    )


def _document(
    fields: dict[bytes, Value], own: list[Difference], inner: Inner, depth: int, order: Difference | None
) -> Value:
    for difference in own:
        key = _key(difference.path[depth])
        if difference.kind == DifferenceKind.REORDERED:
            continue
        _require(fields.get(key), difference)
        if difference.kind == DifferenceKind.REMOVED:
            del fields[key]
        else:
            fields[key] = _known(difference.new)
    for part, deeper in inner.items():
        name = _key(part)
        fields[name] = _rebuilt(_present(fields.get(name)), deeper, depth + 1)
    if order is not None:
        keys = [raw.text_of(key) for key in raw.items(_known(order.new)[1])]
        if set(keys) != set(fields):
            raise DoesNotApplyError("a new order of other keys than the document has")
        fields = {key: fields[key] for key in keys}
    return raw.DOCUMENT, raw.from_fields(fields.items())


def _array(items: list[Value], own: list[Difference], inner: Inner, depth: int) -> Value:
    left: set[int] = set()
    arrived: dict[int, Value] = {}
    changed: dict[int, Value] = {}
    for difference in own:
        old_index, index = _index(difference.old_path[depth]), _index(difference.path[depth])
        was = items[old_index] if old_index < len(items) else None
        if difference.kind == DifferenceKind.ADDED:
            arrived[index] = _known(difference.new)
        elif difference.kind == DifferenceKind.MOVED:
            arrived[index] = _present(was)
        elif difference.kind != DifferenceKind.REORDERED:
            _require(was, difference)
        if difference.kind in {DifferenceKind.REMOVED, DifferenceKind.MOVED}:
            left.add(old_index)
        elif difference.kind == DifferenceKind.CHANGED:
            changed[index] = _known(difference.new)
    stayed = iter([item for index, item in enumerate(items) if index not in left])
    size = len(items) - len(left) + len(arrived)
    result = [arrived[index] if index in arrived else _present(next(stayed, None)) for index in range(size)]
    for index, value in changed.items():
        result[index] = value
    for key, deeper in inner.items():
        index = _index(key)
        result[index] = _rebuilt(_present(result[index] if index < size else None), deeper, depth + 1)
    return raw.ARRAY, raw.from_items(result)


def _require(was: Value | None, difference: Difference) -> None:
    if was != (None if difference.old is ABSENT else _known(difference.old)):
        raise DoesNotApplyError("the document is not the one that was compared: it has another value there")


def _present(value: Value | None) -> Value:
    if value is None:
        raise DoesNotApplyError("a path leads through something that is not there")
    return value


def _known(value: Side) -> Value:
    if isinstance(value, Missing):
        raise DoesNotApplyError("a value is not known")
    return value


def _key(key: Key) -> bytes:
    if isinstance(key, int):
        raise DoesNotApplyError("an index where a document has only keys")
    return key


def _index(key: Key) -> int:
    if isinstance(key, int):
        return key
    raise DoesNotApplyError("a key where an array has only indexes")
