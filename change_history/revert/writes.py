"""The writes of a revert, ordered so that no document takes a unique value that another one still has."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from change_history.bson import raw
from change_history.bson.equality import key_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    Held: TypeAlias = "tuple[int, tuple[Hashable, ...]]"
    """A key of a unique index: which one, and the values."""

Pattern: TypeAlias = "tuple[str, ...]"
"""The paths of a unique index, dotted."""

_MISSING = (raw.NULL, b"")


class Write(NamedTuple):
    """A document before and after the write; None: it does not exist."""

    namespace: str
    raw_id: raw.Value
    before: bytes | None
    after: bytes | None


def in_order(writes: Iterable[Write], unique: Sequence[Pattern]) -> list[Write]:
    """Order the writes to one collection: each comes after those that give up a unique value it takes.

    If documents exchange values, there is no such order: one of them is deleted first, and inserted in its turn.

    Args:
        unique: the unique indexes to consider.
    """
    given = sorted(writes, key=lambda write: write.after is not None)  # deletions first: they give up all values
    if not unique:
        return given
    held = [set(_keys(write.before, unique)) for write in given]
    holders = {key: number for number, keys in enumerate(held) for key in keys}
    waits = [
        [holders[key] for key in _keys(write.after, unique) if key not in held[number] and key in holders]
        for number, write in enumerate(given)
    ]
    return list(_after_one_another(given, waits))


def _after_one_another(writes: Sequence[Write], waits: Sequence[Sequence[int]]) -> Iterator[Write]:
    """Depth-first order: a write comes after those it waits for."""
    begun: set[int] = set()
    done: set[int] = set()
    cleared: set[int] = set()
    for first in range(len(writes)):
        under_way = [first] if first not in done else []
        while under_way:
            number = under_way[-1]
            begun.add(number)
            open_ones = [other for other in waits[number] if other not in done]
            for other in open_ones:
                if other in begun and other not in cleared:
                    cleared.add(other)
                    yield writes[other]._replace(after=None)
            following = next((other for other in open_ones if other not in begun), None)
            if following is not None:
                under_way.append(following)
                continue
            under_way.pop()
            done.add(number)
            yield writes[number]._replace(before=None) if number in cleared else writes[number]


def _keys(document: bytes | None, unique: Sequence[Pattern]) -> Iterator[Held]:
    if document is None:
        return
    for number, paths in enumerate(unique):
        values = [
            [key_of(value) for value in _at((raw.DOCUMENT, document), path.encode().split(b"."))] for path in paths
        ]
        yield from ((number, key) for key in product(*values))


def _at(value: raw.Value, path: Sequence[bytes]) -> Iterator[raw.Value]:
    """The values that an index has for a path: for an array, those of its elements too."""
    kind, payload = value
    if kind == raw.ARRAY:
        for item in raw.items(payload):
            yield from _at(item, path)
    if not path:
        yield value
    elif kind == raw.DOCUMENT:
        yield from _at(raw.fields(payload).get(path[0], _MISSING), path[1:])
    elif kind != raw.ARRAY:
        yield _MISSING
