"""What is different between two documents, down to the leaves, for those who read it.

`change_history.diff.images` states how an event is recorded; this says what a person would call the difference between
any two states of a document, or of an array that an event tells whole. Applied by `tests.support.json_patch`, it leads
from the one to the other, byte for byte.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from difflib import SequenceMatcher
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from change_history.bson import raw
from change_history.bson.equality import key_of
from change_history.bson.paths import encoded
from change_history.bson.values import ABSENT, to_raw
from change_history.stored.event import path_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from change_history.bson.paths import Key, Path
    from change_history.bson.raw import Value
    from change_history.bson.values import Missing
    from change_history.stored.event import Change

MOST_COMPARISONS = 250_000
"""Pairs of elements compared at most where unique elements do not align two arrays."""

Side: TypeAlias = "Value | Missing"
"""The value of one of the two documents at a path, or `ABSENT` or `UNKNOWN`."""


class DifferenceKind(StrEnum):
    """The kind of a difference."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    MOVED = "moved"
    """An element has another position among those elements of its array that are in both."""
    REORDERED = "reordered"
    """The keys of a document are in an order that removing, setting in place and appending do not produce."""


class Difference(NamedTuple):
    """The difference at one path.

    Attributes:
        path: the path in the new document; for something removed, its parent's path there and its own old key or
            index. The empty path is the whole document.
        old_path: the path in the old document, likewise. It differs from `path` only in indexes of arrays.
        old: the value before. For a moved element, its index; for reordered keys, the array of all keys in their order.
        new: the value after, likewise.
        identities: for each part of `path`, the `_id` of the element to which it leads; None: it is no element, or the
            elements are not matched by `_id`.
    """

    kind: DifferenceKind
    path: Path
    old_path: Path
    old: Side
    new: Side
    identities: tuple[Value | None, ...]


class PathPair(NamedTuple):
    """Where a value stands in both documents. The attributes are those of `Difference`."""

    path: Path = ()
    old_path: Path = ()
    identities: tuple[Value | None, ...] = ()

    def field(self, key: bytes) -> PathPair:
        """The paths of a field of the document here."""
        return self._into(key, key, None)

    def element(self, old_index: int, index: int, identity: Value | None = None) -> PathPair:
        """The paths of an element of the array here."""
        return self._into(old_index, index, identity)

    def difference(self, kind: DifferenceKind, old: Side, new: Side) -> Difference:
        """A difference here."""
        return Difference(kind, self.path, self.old_path, old, new, self.identities)

    def _into(self, old_key: Key, key: Key, identity: Value | None) -> PathPair:
        return PathPair((*self.path, key), (*self.old_path, old_key), (*self.identities, identity))


def compare(old: bytes | None, new: bytes | None) -> list[Difference]:
    """Compare two states of a document.

    Sub-documents are compared field by field, arrays element by element. Elements are matched by `_id`, as the server
    compares it, if all of both arrays are documents with an `_id` of their own; then one that moved and changed inside
    gives both. Other elements are matched by a common subsequence of equal ones (`aligned`), and what lies
    between two of these in pairs, in order. Values are equal only to the BSON type: 3, `Int64(3)` and 3.0 are three.

    What cannot be decomposed without loss is compared as one value: a document in which a key is repeated, and an array
    whose keys are not 0, 1, 2, ….

    Args:
        old: a BSON document; None: it does not exist. `new` likewise.

    Returns:
        The differences, in the order of the new document, what was removed first; none for equal bytes. A document that
        is only on one side is one difference with an empty path.

    Raises:
        change_history.bson.raw.MalformedBSON: one is no BSON document.
    """
    if old is None or new is None:
        return [] if old is new else [_only(PathPair(), old, new)]
    found: list[Difference] = []
    _values(PathPair(), (raw.DOCUMENT, old), (raw.DOCUMENT, new), found)
    return found


def element_differences(change: Change) -> list[Difference]:
    """Compare the elements of an array that an event holds whole, as after `$pull`, `$sort` or a replacement.

    Returns:
        The differences, with paths of the document. Empty where a value is no array or unknown, or where no element
        stayed: then the array has changed as a whole.
    """
    old, new = change.old_value, change.new_value
    if not isinstance(old, list) or not isinstance(new, list):
        return []
    return array_differences(encoded(path_of(change)), to_raw(old), to_raw(new))


def array_differences(path: Path, old: Value, new: Value) -> list[Difference]:
    """Compare the elements of the array at a path, given as BSON. The answer is that of `element_differences`."""
    depth, found = len(path), list[Difference]()
    _values(PathPair(path, path, (None,) * depth), old, new, found)
    ends = {DifferenceKind.CHANGED, DifferenceKind.REMOVED}
    ended = {one.old_path[depth] for one in found if len(one.path) == depth + 1 and one.kind in ends}
    whole = any(len(one.path) == depth for one in found)
    return found if not whole and len(ended) < len(raw.items(old[1])) else []


def _only(place: PathPair, old: bytes | None, new: bytes | None) -> Difference:
    if old is not None:
        return place.difference(DifferenceKind.REMOVED, (raw.DOCUMENT, old), ABSENT)
    return place.difference(DifferenceKind.ADDED, ABSENT, (raw.DOCUMENT, new or raw.EMPTY_DOCUMENT))


def _values(place: PathPair, old: Value, new: Value, found: list[Difference]) -> None:
    if old == new:
        return
    if old[0] == new[0] == raw.DOCUMENT:
        fields, other_fields = _fields(old[1]), _fields(new[1])
        if fields is not None and other_fields is not None:
            _documents(place, fields, other_fields, found)
            return
    elif old[0] == new[0] == raw.ARRAY:
        items, other_items = _items(old[1]), _items(new[1])
        if items is not None and other_items is not None:
            _arrays(place, items, other_items, found)
            return
    found.append(place.difference(DifferenceKind.CHANGED, old, new))


def _fields(document: bytes) -> dict[bytes, Value] | None:
    """The fields of a document; None: encoding them again would give other bytes."""
    contents = raw.elements(document)
    found = {key: (kind, payload) for key, kind, payload in contents}
    return found if len(found) == len(contents) and _is_closed(document) else None


def _items(array: bytes) -> list[Value] | None:
    """The elements of an array; None: encoding them again would give other bytes."""
    contents = raw.elements(array)
    keys = [key for key, _, _ in contents]
    in_order = keys == (_INDEXES[: len(keys)] if len(keys) <= _LONG else [b"%d" % index for index in range(len(keys))])
    return [(kind, payload) for _, kind, payload in contents] if in_order and _is_closed(array) else None


_LONG = 1000
_INDEXES = [b"%d" % index for index in range(_LONG)]


def _is_closed(container: bytes) -> bool:
    return container[-1] == 0 and int.from_bytes(container[:4], "little") == len(container)


def _documents(place: PathPair, old: dict[bytes, Value], new: dict[bytes, Value], found: list[Difference]) -> None:
    for key, value in old.items():
        if key not in new:
            found.append(place.field(key).difference(DifferenceKind.REMOVED, value, ABSENT))
    for key, value in new.items():
        if key not in old:
            found.append(place.field(key).difference(DifferenceKind.ADDED, ABSENT, value))
        elif old[key] != value:  # most are equal, and need no place
            _values(place.field(key), old[key], value, found)
    if list(old) != list(new) and [
        *(key for key in old if key in new),
        *(key for key in new if key not in old),
    ] != list(new):
        found.append(place.difference(DifferenceKind.REORDERED, _keys(old), _keys(new)))


def _keys(fields: Iterable[bytes]) -> Value:
    return raw.ARRAY, raw.from_items((raw.STRING, raw.string(key)) for key in fields)


def _arrays(place: PathPair, old: list[Value], new: list[Value], found: list[Difference]) -> None:
    before, after = identities(old), identities(new)
    if before is not None and after is not None:
        _by_identity(place, old, new, (before, after), found)
    else:
        _by_order(place, old, new, found)


def identities(items: list[Value]) -> dict[Hashable, int] | None:
    """The indexes of an array's elements by `_id`; None: not every element has one of its own."""
    found = {}
    for index, (kind, payload) in enumerate(items):
        identity = _id_of(payload) if kind == raw.DOCUMENT else None
        if identity is None:
            return None
        found[key_of(identity)] = index
    return found if len(found) == len(items) else None


def _by_identity(
    place: PathPair,
    old: list[Value],
    new: list[Value],
    places: tuple[dict[Hashable, int], dict[Hashable, int]],
    found: list[Difference],
) -> None:
    before, after = places
    for key, index in before.items():
        if key not in after:
            gone = place.element(index, index, _id_of(old[index][1]))
            found.append(gone.difference(DifferenceKind.REMOVED, old[index], ABSENT))
    stayed = set(longest_rise(before[key] for key in after if key in before))
    for key, index in after.items():
        was = before.get(key)
        if was is not None and old[was] == new[index] and was in stayed:
            continue
        here = place.element(index if was is None else was, index, _id_of(new[index][1]))
        if was is None:
            found.append(here.difference(DifferenceKind.ADDED, ABSENT, new[index]))
            continue
        if was not in stayed:
            found.append(here.difference(DifferenceKind.MOVED, _index(was), _index(index)))
        _values(here, old[was], new[index], found)


def _by_order(place: PathPair, old: list[Value], new: list[Value], found: list[Difference]) -> None:
    gone: list[Difference] = []
    there: list[Difference] = []
    at_old = at_new = 0
    for one, other in [*aligned(old, new), (len(old), len(new))]:
        paired = min(one - at_old, other - at_new)
        for step in range(paired):
            _values(place.element(at_old + step, at_new + step), old[at_old + step], new[at_new + step], there)
        left, more = range(at_old + paired, one), range(at_new + paired, other)
        gone += [place.element(index, index).difference(DifferenceKind.REMOVED, old[index], ABSENT) for index in left]
        there += [place.element(index, index).difference(DifferenceKind.ADDED, ABSENT, new[index]) for index in more]
        at_old, at_new = one + 1, other + 1
    found += [*gone, *there]


_ID = b"_id\x00"
_FIRST_KEY = 5
_FIRST_VALUE = _FIRST_KEY + len(_ID)


def _id_of(document: bytes) -> Value | None:
    """The `_id` of an element, the last if it is repeated; None: it has none."""
    if document.startswith(_ID, _FIRST_KEY) and document.count(_ID) == 1:  # as nearly all have it
        kind = document[_FIRST_KEY - 1]
        return kind, document[_FIRST_VALUE : raw.end_of_value(document, kind, _FIRST_VALUE)]
    return raw.fields(document).get(b"_id")


def _index(number: int) -> Value:
    return raw.INT32, raw.int32(number)


def aligned(old: Sequence[Hashable], new: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Pair equal elements so that the pairs rise on both sides.

    Equal beginnings and ends are paired first; then elements that occur once on both sides, as many as keep their
    order (patience diff); those between two of these by `difflib`. The work is bounded, whatever the size: n log n
    for the former, `MOST_COMPARISONS` for the latter. Elements beyond this bound stay unpaired.

    Returns:
        Pairs of an old and a new index, in order.
    """
    begin = _common(old, new, range(min(len(old), len(new))))
    end = _common(old, new, range(-1, -min(len(old), len(new)) + begin - 1, -1))
    old_end, new_end = len(old) - end, len(new) - end
    pairs = [(index, index) for index in range(begin)]
    work = MOST_COMPARISONS
    at_old, at_new = begin, begin
    for anchor in [*_anchors(old[begin:old_end], new[begin:new_end], begin), (old_end, new_end)]:
        left, right = old[at_old : anchor[0]], new[at_new : anchor[1]]
        work -= len(left) * len(right)
        if left and right and work >= 0:
            pairs += [(at_old + one, at_new + other) for one, other in _by_blocks(left, right)]
        pairs.append(anchor)
        at_old, at_new = anchor[0] + 1, anchor[1] + 1
    pairs.pop()  # the end is no pair
    return [*pairs, *((old_end + index, new_end + index) for index in range(end))]


def longest_rise(numbers: Iterable[int]) -> list[int]:
    """A longest increasing subsequence of distinct numbers (by patience sorting)."""
    tops: list[int] = []
    below: dict[int, int | None] = {}
    for number in numbers:
        pile = bisect_left(tops, number)
        below[number] = tops[pile - 1] if pile else None
        tops[pile : pile + 1] = [number]
    members = []
    at = tops[-1] if tops else None
    while at is not None:
        members.append(at)
        at = below[at]
    return members[::-1]


def _common(old: Sequence[Hashable], new: Sequence[Hashable], indexes: range) -> int:
    return next((count for count, index in enumerate(indexes) if old[index] != new[index]), len(indexes))


def _anchors(old: Sequence[Hashable], new: Sequence[Hashable], offset: int) -> list[tuple[int, int]]:
    old_counts, new_counts = Counter(old), Counter(new)
    places = {item: index for index, item in enumerate(old) if old_counts[item] == 1 == new_counts[item]}
    partners = {places[item]: index for index, item in enumerate(new) if item in places}
    return [(offset + index, offset + partners[index]) for index in longest_rise(partners)]


def _by_blocks(old: Sequence[Hashable], new: Sequence[Hashable]) -> list[tuple[int, int]]:
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    return [(block.a + index, block.b + index) for block in blocks for index in range(block.size)]
