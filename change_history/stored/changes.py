"""One change of one field as bytes: written into a history document, and read back from it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from change_history.bson import raw
from change_history.bson.image import RepeatedKeyError
from change_history.bson.paths import dotted, is_ambiguous, read_dotted
from change_history.bson.quick import COMPILED
from change_history.bson.redacted import is_withheld
from change_history.stored.names import FROM_HISTORY, FROM_UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from change_history.bson.image import Image
    from change_history.bson.paths import Path
    from change_history.bson.raw import Value

HISTORY = FROM_HISTORY.encode()
UNKNOWN = FROM_UNKNOWN.encode()


class Change(NamedTuple):
    """The change of one path. The stored form is `models.ChangeModel`.

    Attributes:
        path: the path; empty: the whole document.
        old: value before; None: absent, or unknown if `old_from` is `UNKNOWN`.
        new: value after; None: removed, or only truncated.
        old_from: None: the old value is from the server's pre-image; else `HISTORY` or `UNKNOWN`.
        truncated_to: new length of the array at the path.
        at_end: the server put the field after all others of its document, though it may have existed before.
    """

    path: Path
    old: Value | None
    new: Value | None
    old_from: bytes | None = None
    truncated_to: int | None = None
    at_end: bool = False


class UpdateStep(NamedTuple):
    """One step of an update, as the server describes it.

    Attributes:
        value: the new value; None: the path was removed, or only truncated.
        truncated_to: new length of the array at the path, in elements; None: not truncated.
        at_end: the field was put after all others of its document, even if it existed.
    """

    path: Path
    value: Value | None
    truncated_to: int | None = None
    at_end: bool = False


def of_steps(steps: Iterable[UpdateStep], before: Image | None, old_from: bytes | None = None) -> list[Change]:
    """Add old values to the steps of an update, from the document before it; without that they are unknown.

    Args:
        old_from: None: `before` is the server's pre-image; else `HISTORY`.
    """
    if before is None:
        return [Change(path, None, value, UNKNOWN, size, at_end) for path, value, size, at_end in steps]
    found: list[Change] = []
    lengths: dict[Path, int] = {}
    for path, value, size, at_end in steps:
        try:
            old = before.get(path)
        except RepeatedKeyError:
            found.append(Change(path, None, value, UNKNOWN, size, at_end))
            continue
        found += _filled(before, path, lengths, old_from) if old is None and value is not None else ()
        if size is not None and old is not None:
            shortened = old if is_withheld(old) else (raw.ARRAY, raw.from_items(raw.items(old[1])[:size]))
            value = shortened  # noqa: PLW2901
        found.append(Change(path, old, value, old_from, size, at_end and old is not None))
    return found


_MOST_FILLED = 1000
"""Nulls that get changes of their own, at most. An update may make over a million; `fold` and `blame` know them."""


def _filled(before: Image, path: Path, lengths: dict[Path, int], old_from: bytes | None) -> list[Change]:
    """The nulls with which the server fills an array up to an element that is set beyond its end: no step names them.

    Args:
        path: the path of the element.
        lengths: lengths of the arrays after the earlier steps; updated.
    """
    *above, index = path
    array = tuple(above)
    if not array or not isinstance(index, int):
        return []
    if array not in lengths:
        value = before.get(array)
        if value is None or value[0] != raw.ARRAY:
            return []
        lengths[array] = len(raw.items(value[1]))
    filled = range(lengths[array], index)
    lengths[array] = max(lengths[array], index + 1)
    return [Change((*array, each), None, raw.NULL_VALUE, old_from) for each in filled[:_MOST_FILLED]]


# The keys of a stored change, with a leading type byte where the value determines it.
_FIELD = b"\x02field\x00"
_OLD = [raw.TYPE_BYTE[kind] + b"old_value\x00" for kind in range(256)]
_NEW = [raw.TYPE_BYTE[kind] + b"new_value\x00" for kind in range(256)]
_OLD_FROM = b"\x02old_value_from\x00"
_NEW_FROM = b"\x02new_value_from\x00"


def encode(change: Change) -> bytes:
    """Write a change as the document that `models.ChangeModel` would have written."""
    path, old, new, old_from, truncated_to, at_end = change
    parts = [_FIELD, raw.string(dotted(path))]
    if is_ambiguous(path):
        keys = [(raw.INT32, raw.int32(k)) if isinstance(k, int) else (raw.STRING, raw.string(k)) for k in path]
        parts += (b"\x04path\x00", raw.from_items(keys))
    if old is not None:
        parts += (_OLD[old[0]], old[1])
    if new is not None:
        parts += (_NEW[new[0]], new[1])
    if old_from is not None:
        parts += (_OLD_FROM, raw.string(old_from))
    if truncated_to is not None:
        parts += (b"\x10truncated_to\x00", raw.int32(truncated_to))
    if at_end:
        parts.append(b"\x08at_end\x00\x01")
    return raw.document(parts)


def untold(operation: bytes) -> bytes:
    """The stored change of an event delivered without values: an unknown change of the whole document."""
    parts = [_FIELD, raw.string(b""), b"\x04path\x00", raw.EMPTY_DOCUMENT]
    if operation != b"insert":
        parts += (_OLD_FROM, raw.string(UNKNOWN))
    if operation != b"delete":
        parts += (_NEW_FROM, raw.string(UNKNOWN))
    return raw.document(parts)


_NEW_FIELD = re.compile(rb"\x03[0-9]+\x00(.{4})\x02field\x00.{4}([^\x00.]+\x00)(.)new_value\x00", re.DOTALL).match
"""A change that gives a field of the document a value, up to this value: its size, the key, the type."""

_SAYS_MORE = re.compile(rb"\x02old_value_from\x00|\x02new_value_from\x00|\x10truncated_to\x00|\x08at_end\x00").search
"""What may follow the new value."""


def whole_document(changes: bytes) -> bytes | None:
    """The document that the changes of an insert or a baseline make up, each of them a field, from their bytes.

    Returns:
        The document; None: a change may have more than a field and its new value, so they have to be decoded.
    """
    if COMPILED is not None and (quick := COMPILED.whole_document(changes)) is not None:
        return quick  # type: ignore[no-any-return]
    if _SAYS_MORE(changes) is not None:
        return None
    parts: list[bytes] = []
    position, end = 4, len(changes) - 1
    while position < end:
        found = _NEW_FIELD(changes, position)
        if found is None:
            return None
        size, key, kind = found.groups()
        position = found.start(1) + int.from_bytes(size, "little")
        parts += (kind, key, changes[found.end() : position - 1])
    return raw.document(parts)


def decode(data: bytes) -> Change:
    """Read a stored change.

    Raises:
        KeyError: the document is no change.
    """
    found = raw.fields(data)
    stored = found.get(b"path")
    path: Path
    if stored is None:
        path = read_dotted(raw.text_of(found[b"field"]))
    else:
        path = tuple(
            raw.text_of((kind, part)) if kind == raw.STRING else int.from_bytes(part, "little")
            for kind, part in raw.items(stored[1])
        )
    old_from = found.get(b"old_value_from")
    size = found.get(b"truncated_to")
    return Change(
        path,
        found.get(b"old_value"),
        found.get(b"new_value"),
        raw.text_of(old_from) if old_from is not None else None,
        int.from_bytes(size[1], "little") if size is not None else None,
        b"at_end" in found,
    )
