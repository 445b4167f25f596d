"""What is different between two documents, down to the leaves, for those who read it.

`change_history.diff.images` states how an event is recorded; this says what a person would call the difference between
any two states of a document. Applied by `tests.support.json_patch`, it leads from the one to the other, byte for byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from change_history.bson import raw
from change_history.bson.equality import key_of
from change_history.bson.values import ABSENT
from change_history.diff.difference import Difference, Kind, Place
from change_history.diff.matching import aligned, longest_rise

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from change_history.bson.raw import Value


def compare(old: bytes | None, new: bytes | None) -> list[Difference]:
    """Compare two states of a document.

    Sub-documents are compared field by field, arrays element by element. Elements are matched by `_id`, as the server
    compares it, if all of both arrays are documents with an `_id` of their own; then one that moved and changed inside
    gives both. Other elements are matched by a common subsequence of equal ones (`change_history.diff.matching`), and
    what lies
    between two of these in pairs, in order. Values are equal only to the BSON type: 3, `Int64(3)` and 3.0 are three.

    What cannot be taken apart without loss is one value: a document in which a key is repeated, and an array whose
    keys are not 0, 1, 2, ….

    Args:
        old: a BSON document; None: there was none.
        new: likewise.

    Returns:
        The differences, in the order of the new document, what was removed first; none for equal bytes. A document that
        is only on one side is one difference with an empty path.

    Raises:
        change_history.bson.raw.MalformedBSON: they are no BSON documents.
    """
    if old is None or new is None:
        return [] if old is new else [_only(Place(), old, new)]
    found: list[Difference] = []
    _values(Place(), (raw.DOCUMENT, old), (raw.DOCUMENT, new), found)
    return found


def _only(place: Place, old: bytes | None, new: bytes | None) -> Difference:
    if old is not None:
        return place.difference(Kind.REMOVED, (raw.DOCUMENT, old), ABSENT)
    return place.difference(Kind.ADDED, ABSENT, (raw.DOCUMENT, new or raw.EMPTY_DOCUMENT))


def _values(place: Place, old: Value, new: Value, found: list[Difference]) -> None:
    if old == new:
        return
    kinds = {old[0], new[0]}
    if kinds == {raw.DOCUMENT} and _is_plain(old) and _is_plain(new):
        _documents(place, raw.fields(old[1]), raw.fields(new[1]), found)
    elif kinds == {raw.ARRAY} and _is_plain(old) and _is_plain(new):
        _arrays(place, raw.items(old[1]), raw.items(new[1]), found)
    else:
        found.append(place.difference(Kind.CHANGED, old, new))


def _is_plain(value: Value) -> bool:
    """Whether taking it apart and putting it together again gives the same bytes."""
    kind, payload = value
    if kind == raw.ARRAY:
        return raw.from_items(raw.items(payload)) == payload
    return raw.from_fields(raw.fields(payload).items()) == payload


def _documents(place: Place, old: dict[bytes, Value], new: dict[bytes, Value], found: list[Difference]) -> None:
    for key, value in old.items():
        if key not in new:
            found.append(place.field(key).difference(Kind.REMOVED, value, ABSENT))
    for key, value in new.items():
        if key in old:
            _values(place.field(key), old[key], value, found)
        else:
            found.append(place.field(key).difference(Kind.ADDED, ABSENT, value))
    if [*(key for key in old if key in new), *(key for key in new if key not in old)] != list(new):
        found.append(place.difference(Kind.REORDERED, _keys(old), _keys(new)))


def _keys(fields: Iterable[bytes]) -> Value:
    return raw.ARRAY, raw.from_items((raw.STRING, raw.string(key)) for key in fields)


def _arrays(place: Place, old: list[Value], new: list[Value], found: list[Difference]) -> None:
    before, after = identities(old), identities(new)
    if before is not None and after is not None:
        _by_identity(place, old, new, (before, after), found)
    else:
        _by_order(place, old, new, found)


def identities(items: list[Value]) -> dict[Hashable, int] | None:
    """The places of an array's elements by their `_id`s, if each has one of its own."""
    found = {}
    for index, (kind, payload) in enumerate(items):
        identity = raw.fields(payload).get(b"_id") if kind == raw.DOCUMENT else None
        if identity is None:
            return None
        found[key_of(identity)] = index
    return found if len(found) == len(items) else None


def _by_identity(
    place: Place,
    old: list[Value],
    new: list[Value],
    places: tuple[dict[Hashable, int], dict[Hashable, int]],
    found: list[Difference],
) -> None:
    before, after = places
    for key, index in before.items():
        if key not in after:
            gone = place.element(index, index, _id_of(old[index]))
            found.append(gone.difference(Kind.REMOVED, old[index], ABSENT))
    stayed = set(longest_rise(before[key] for key in after if key in before))
    for key, index in after.items():
        was = before.get(key)
        here = place.element(index if was is None else was, index, _id_of(new[index]))
        if was is None:
            found.append(here.difference(Kind.ADDED, ABSENT, new[index]))
            continue
        if was not in stayed:
            found.append(here.difference(Kind.MOVED, _index(was), _index(index)))
        _values(here, old[was], new[index], found)


def _by_order(place: Place, old: list[Value], new: list[Value], found: list[Difference]) -> None:
    gone: list[Difference] = []
    there: list[Difference] = []
    at_old = at_new = 0
    for one, other in [*aligned(old, new), (len(old), len(new))]:
        paired = min(one - at_old, other - at_new)
        for step in range(paired):
            _values(place.element(at_old + step, at_new + step), old[at_old + step], new[at_new + step], there)
        left, more = range(at_old + paired, one), range(at_new + paired, other)
        gone += [place.element(index, index).difference(Kind.REMOVED, old[index], ABSENT) for index in left]
        there += [place.element(index, index).difference(Kind.ADDED, ABSENT, new[index]) for index in more]
        at_old, at_new = one + 1, other + 1
    found += [*gone, *there]


def _id_of(element: Value) -> Value:
    return raw.fields(element[1])[b"_id"]


def _index(number: int) -> Value:
    return raw.INT32, raw.int32(number)
