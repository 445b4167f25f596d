"""Three-way merge of a document to revert: actual, expected and target state in; merged state and conflicts out.

As in version control, nothing is overwritten that is not as history expects, unless forced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from change_history.bson import raw
from change_history.bson.paths import is_index
from change_history.bson.values import ABSENT
from change_history.errors import HistoryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from change_history.bson.paths import Path
    from change_history.bson.raw import Value
    from change_history.diff.compare import Side

Chosen: TypeAlias = "dict[bytes, Chosen]"
"""The fields to revert, as a tree of keys; an empty tree means everything below."""


class InsideArrayError(HistoryError, ValueError):
    """A field within an array was named; arrays are reverted as a whole."""


class MergeConflict(NamedTuple):
    """A path at which the document is neither as history has it nor as it is to become.

    Attributes:
        path: the path; empty: the whole document.
    """

    path: Path
    expected: Side
    actual: Side
    target: Side


class Merged(NamedTuple):
    """The result of a merge.

    Attributes:
        document: its bytes; None: it is to be deleted. Equal to the actual ones: there is nothing to do.
        conflicts: the paths left alone because they are not as expected.
        overwritten: the conflicts that were forced.
    """

    document: bytes | None
    conflicts: tuple[MergeConflict, ...]
    overwritten: tuple[MergeConflict, ...]


class Sides(NamedTuple):
    """The value at one path in the three documents; None: absent."""

    actual: Value | None
    expected: Value | None
    target: Value | None


def plan(
    actual: bytes | None,
    expected: bytes | None,
    target: bytes | None,
    *,
    only: Iterable[Path] | None = None,
    undo: bool = False,
    force: bool = False,
) -> Merged:
    """Merge the three states of a document.

    A document that is entirely as expected becomes the target, byte for byte, including the order of its keys.
    Otherwise each field is decided separately, down to the leaves of sub-documents; arrays are a whole, since inserting
    or removing an element shifts the indexes. A reverted field keeps its place if it exists, else it goes to the end,
    as with `$set`; the order of a document's keys is reverted where it is still as expected.

    Whether a document exists is decided as a whole: it is deleted only if it is entirely as expected.

    A document that repeats a key cannot be decomposed without loss: it is reverted as a whole or, where only some of
    its fields are to be reverted, is left alone as a conflict, forced or not.

    Args:
        actual: the document on the server; None: it does not exist.
        expected: its present state according to history; likewise.
        target: its state after the revert; likewise.
        only: paths of keys; only these are reverted. Documents that are missing on the way are created.
        undo: leave alone what is equal in `expected` and `target`, whatever it is now. Otherwise it is a conflict if
            its actual value is another.
        force: overwrite conflicts. A field of a document that does not exist cannot be forced.

    Raises:
        change_history.bson.raw.MalformedBSON: one is no BSON document.
    """
    merge = _Merge(undo=undo, force=force)
    sides = Sides(*((raw.DOCUMENT, side) if side is not None else None for side in (actual, expected, target)))
    if only is None:
        merged = merge.decide((), sides)
        if force and not undo:
            merged = sides.target
    elif not (chosen := _tree(only)):
        return Merged(actual, (), ())
    elif actual is not None:
        merged = merge.part((), sides, chosen)
    else:
        return Merged(None, () if target is None else (_conflict((), sides),), ())
    found, left = tuple(merge.conflicts), tuple(merge.left)
    document = merged[1] if merged is not None else None
    return Merged(document, left, found) if force else Merged(document, (*found, *left), ())


def paths_of(field: bytes, documents: Iterable[bytes | None]) -> set[Path]:
    """The paths of keys that a field in MongoDB's notation, `address.city`, matches in some documents.

    An ambiguous one (one key with a dot, or two keys) matches several paths.

    Raises:
        InsideArrayError: it matches within an array.
    """
    return {path for document in documents if document is not None for path in _walk((raw.DOCUMENT, document), field)}


def _walk(value: Value, rest: bytes) -> Iterator[Path]:
    fields = _fields(value)
    if fields is None:
        if value[0] == raw.ARRAY and is_index(rest.partition(b".")[0]):
            raise InsideArrayError
        return
    if rest in fields:
        yield (rest,)
    for at, character in enumerate(rest):
        if character == ord(".") and rest[:at] in fields:
            yield from ((rest[:at], *path) for path in _walk(fields[rest[:at]], rest[at + 1 :]))


class _Merge:
    """Merges path by path, and collects the conflicts."""

    def __init__(self, *, undo: bool, force: bool) -> None:
        self._undo = undo
        self._force = force
        self.conflicts: list[MergeConflict] = []
        self.left: list[MergeConflict] = []
        """Conflicts that even force leaves alone, since a field next to them would be lost."""

    def decide(self, path: Path, sides: Sides) -> Value | None:
        """The merged value at a path; None: absent."""
        actual, expected, target = sides
        if actual == target or (self._undo and expected == target):
            return actual
        if actual == expected:
            return target
        found = [_fields(side) for side in sides if side is not None]
        mine, believed, wanted = found if len(found) == len(sides) else (None, None, None)
        if mine is None or believed is None or wanted is None:
            return self._stays(path, sides)
        result = dict(mine)
        for key in [*mine, *(key for key in wanted if key not in mine)]:
            inner = Sides(mine.get(key), believed.get(key), wanted.get(key))
            _put(result, key, self.decide((*path, key), inner))
        if list(mine) == list(believed):
            order = [*(key for key in wanted if key in result), *(key for key in result if key not in wanted)]
            result = {key: result[key] for key in order}
        return raw.DOCUMENT, raw.from_fields(result.items())

    def part(self, path: Path, sides: Sides, chosen: Chosen) -> Value | None:
        """The merged value at a path below which only some fields are chosen; None: absent."""
        if not chosen:
            return self.decide(path, sides)
        if any(side is not None and side[0] == raw.DOCUMENT and _fields(side) is None for side in sides):
            if sides.actual != sides.target:
                self.left.append(_conflict(path, sides))
            return sides.actual
        mine, believed, wanted = ((_fields(side) if side is not None else None) or {} for side in sides)
        result = dict(mine)
        before = len(self.conflicts)
        for key in [*(key for key in wanted if key in chosen), *sorted(key for key in chosen if key not in wanted)]:
            inner = Sides(mine.get(key), believed.get(key), wanted.get(key))
            _put(result, key, self.part((*path, key), inner, chosen[key]))
        if sides.actual is not None and _fields(sides.actual) is None and (result or len(self.conflicts) > before):
            del self.conflicts[before:]  # there is another value where a document is needed
            self._stays(path, sides)
            result = result if self._force else {}
        return (raw.DOCUMENT, raw.from_fields(result.items())) if result != mine else sides.actual

    def _stays(self, path: Path, sides: Sides) -> Value | None:
        """Record a conflict; the value to keep, or to write if forced."""
        self.conflicts.append(_conflict(path, sides))
        return sides.target if self._force else sides.actual


def _put(fields: dict[bytes, Value], key: bytes, value: Value | None) -> None:
    if value is not None:
        fields[key] = value
    else:
        fields.pop(key, None)


def _conflict(path: Path, sides: Sides) -> MergeConflict:
    actual, expected, target = (side if side is not None else ABSENT for side in sides)
    return MergeConflict(path, expected, actual, target)


def _fields(value: Value) -> dict[bytes, Value] | None:
    """The fields of a document; None: it is none, or repeats a key, so a dictionary would lose values."""
    kind, payload = value
    if kind != raw.DOCUMENT:
        return None
    found = raw.elements(payload)
    fields = {key: (inner, part) for key, inner, part in found}
    return fields if len(fields) == len(found) else None


def _tree(paths: Iterable[Path]) -> Chosen:
    chosen = set(paths)
    root: Chosen = {}
    for path in chosen:
        if any(path[:size] in chosen for size in range(1, len(path))):
            continue  # it is within another one
        node = root
        for key in path:
            if not isinstance(key, bytes):
                raise InsideArrayError
            node = node.setdefault(key, {})
    return root
