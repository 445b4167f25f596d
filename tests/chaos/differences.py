"""What is different between what happened and what is recorded, said so that somebody can look into it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from change_history.bson.values import document_to_python
from tests.chaos.steps import State, mark

if TYPE_CHECKING:
    from tests.chaos.steps import Key

SHOWN = 6
"""So many of what is different are shown."""


class DifferenceError(AssertionError):
    """History is not what happened."""


def state_of(document: bytes) -> State:
    """Where a document is."""
    fields = document_to_python(document)
    return State(fields["life"], fields["n"])


def shown(document: bytes | None) -> dict[str, Any] | None:
    """A document to be shown to a person."""
    return document_to_python(document) if document is not None else None


def same(key: Key, what: str, expected: Any, found: Any) -> None:
    """Fail unless two things are equal."""
    if expected != found:
        raise DifferenceError(f"{key}: {what}: {expected!r} was expected, {found!r} is there")


def old_and_new(key: Key, entry: dict[str, Any], before: State, after: State) -> DifferenceError | None:
    """What is wrong unless the recorded old value is the counter of before, and the new one that of now, one more."""
    changes = {change["field"]: change for change in entry["changes"] if "field" in change}
    try:
        for field, old, new in (("n", before.n, after.n), ("mark", mark(before), mark(after))):
            change = changes.get(field, {})
            same(key, f"old and new {field}", (old, new), (change.get("old_value"), change.get("new_value")))
        same(key, "counter", before.n + 1, after.n)
    except DifferenceError as error:
        return error
    return None


def compare(happened: dict[Key, list[Any]], recorded: dict[Key, list[Any]]) -> None:
    """Fail with counts and the first difference unless each document's steps were recorded once, and in order."""
    counts: Counter[str] = Counter()
    first = ""
    for key in sorted(happened.keys() | recorded.keys()):
        expected, found = happened.get(key, []), recorded.get(key, [])
        if expected == found:
            continue
        lost, more = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
        counts["lost"] += lost.total()
        counts["twice"] += sum(number for step, number in more.items() if step in expected)
        counts["never happened"] += sum(number for step, number in more.items() if step not in expected)
        counts["out of order"] += not lost and not more
        place = next((n for n, pair in enumerate(zip(expected, found, strict=False)) if pair[0] != pair[1]), 0)
        around = slice(max(0, place - 2), place + SHOWN)
        first = first or f"{key}: step {place}: happened {expected[around]}, recorded {found[around]}"
    if first:
        raise DifferenceError(f"{dict(counts)}; first: {first}")
