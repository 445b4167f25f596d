"""Arrays that the server reports as wholes, read as the elements that changed.

`$pull`, `$pop`, `$sort` and a replacement give the whole array before and after. Sub-documents that all have an
`_id` are matched by it; otherwise a longest common subsequence says which elements stayed. Elements are compared
to the BSON type: 3, `Int64(3)` and 3.0 are three values.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from change_history.bson.values import ABSENT, to_python, to_raw
from change_history.diff.images import diff
from change_history.diff.matching import longest_rise
from change_history.stored.event_paths import change_at, decoded, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from change_history.bson.raw import Value
    from change_history.stored.event import Change
    from change_history.stored.event_paths import Path

MOST_COMPARISONS = 1_000_000
"""Arrays whose differing parts would need more comparisons than this are left whole."""


def element_changes(change: Change) -> list[Change]:
    """Take a change of a whole array apart.

    Args:
        change: one recorded change.

    Returns:
        One change for each element: removed (`new_value` absent, its index in the old array); added
        (`old_value` absent, its index in the new array); changed (of sub-documents: their fields); or moved
        among those that stayed (`old_value` equal to `new_value`, its new index). Empty if this is no change of
        an array, or one not worth taking apart: nothing stayed, or the arrays are too big to compare.
    """
    old, new = change.old_value, change.new_value
    if not isinstance(old, list) or not isinstance(new, list):
        return []
    path = path_of(change)
    before, after = _identified(old), _identified(new)
    if before is not None and after is not None:
        return list(_by_identity(change, path, before, after))
    return _by_sequence(change, path, [to_raw(item) for item in old], [to_raw(item) for item in new])


def _identified(array: list[Any]) -> dict[Value, Value] | None:
    """An array's elements by their `_id`s, if all have one of their own."""
    if not all(isinstance(item, dict) and "_id" in item for item in array):
        return None
    found = {to_raw(item["_id"]): to_raw(item) for item in array}
    return found if len(found) == len(array) else None


def _by_identity(change: Change, path: Path, before: dict[Value, Value], after: dict[Value, Value]) -> Iterator[Change]:
    places = {identity: index for index, identity in enumerate(before)}
    kept = [places[identity] for identity in after if identity in places]
    if not kept:
        return
    stayed = set(longest_rise(kept))
    for identity, index in places.items():
        if identity not in after:
            yield _element(change, path, index, before[identity], None)
    for index, (identity, now) in enumerate(after.items()):
        was = before.get(identity)
        if was is not None and was != now:
            yield from _inside(change, (*path, index), was, now)
        elif was is None or places[identity] not in stayed:
            yield _element(change, path, index, was, now)


def _inside(change: Change, path: Path, old: Value, new: Value) -> Iterator[Change]:
    for finer in diff(old[1], new[1])[0]:
        values = {"old_value": finer.old, "new_value": finer.new}
        known = {name: to_python(value) for name, value in values.items() if value is not None}
        yield change_at((*path, *decoded(finer.path)), change, **known)


def _by_sequence(change: Change, path: Path, before: list[Value], after: list[Value]) -> list[Change]:
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    if len(old) * len(new) > MOST_COMPARISONS:
        return []
    steps = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    if not (start or end or any(tag == "equal" for tag, *_ in steps)):
        return []
    found: list[Change] = []
    for tag, old_from, old_to, new_from, new_to in steps:
        if tag == "equal":
            continue
        paired = min(old_to - old_from, new_to - new_from)
        for index in range(paired):
            place = start + new_from + index
            found.append(_element(change, path, place, old[old_from + index], new[new_from + index]))
        found += [_element(change, path, start + i, old[i], None) for i in range(old_from + paired, old_to)]
        found += [_element(change, path, start + i, None, new[i]) for i in range(new_from + paired, new_to)]
    return found


def _element(change: Change, path: Path, index: int, old: Value | None, new: Value | None) -> Change:
    return change_at(
        (*path, index),
        change,
        old_value=to_python(old) if old is not None else ABSENT,
        new_value=to_python(new) if new is not None else ABSENT,
    )
