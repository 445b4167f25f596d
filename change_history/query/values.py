"""Changes by value: from what, and to what. Equality is the server's: 3, `Int64(3)` and 3.0 are one value.

Nothing is guessed: an absent value is no null, and an unknown one may be anything, so it is neither in the answer nor
out of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from change_history.bson.equality import key_of
from change_history.bson.values import ABSENT, UNKNOWN, Undefined, to_raw
from change_history.stored.names import FROM_UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from change_history.stored.event import Change


def condition(old: Any, new: Any) -> dict[str, Any]:
    """What the server can check of one change: it has these values, or some value is unknown.

    It lets through all that matters and a little more (an array with such an element); `verdict` decides.

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
    """Whether a change has these values; None: nobody knows.

    Args:
        change: one change.
        old: the old value; `ABSENT`: any.
        new: the new value; likewise.
    """
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
    # The server compares nothing with undefined, but knows its type.
    return {name: {"$type": "undefined"} if isinstance(value, Undefined) else {"$eq": value}}


def _same(value: Any, wanted: Any) -> bool | None:
    if value is UNKNOWN:
        return None
    return value is not ABSENT and key_of(to_raw(value)) == key_of(to_raw(wanted))
