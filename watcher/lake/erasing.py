"""Erasures reach the table: what stands in it of their documents, also of events that have expired from the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from watcher.lake import ids
from watcher.lake.table import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from change_history.bson import raw
    from watcher.erasure.values import Finder
    from watcher.lake.position import LakePosition
    from watcher.lake.table import LakeTable

    Changes = Iterator[dict[bytes, bytes | None]]
    """History documents as they are to be, by `_id`, some at a time; None: not to be there."""

_AT_ONCE = 500


def of_documents(
    table: LakeTable, namespace: str, is_wanted: Callable[[raw.Value], bool], left: Callable[[bytes], bytes | None]
) -> Changes:
    """What the erasure of documents changes in a table.

    Args:
        is_wanted: whether a document is one of them, by its `_id`.
        left: makes of a history document what is left of it; None: nothing.
    """
    wanted = ids.texts(table, namespace, is_wanted)
    for start in range(0, len(wanted), _AT_ONCE):
        among = ", ".join(map(quoted, wanted[start : start + _AT_ONCE]))
        yield from _changed(table, f"namespace = {quoted(namespace)} AND document_id IN ({among})", left)


def of_values(table: LakeTable, finder: Finder) -> Changes:
    """What the erasure of values changes in a table, day by day."""
    for row in table.select(["DISTINCT day"]):
        yield from _changed(table, f"day = '{row['day']}'", finder.erased)


def apply(table: LakeTable, changes: Iterable[dict[bytes, bytes | None]], position: LakePosition) -> int:
    """Write changed entries anew, and remove the files that still have them as they were; how many entries."""
    count = 0
    for some in changes:
        table.replace(some, position)
        count += len(some)
    if count:
        table.vacuum(0)
    return count


def _changed(table: LakeTable, condition: str, left: Callable[[bytes], bytes | None]) -> Changes:
    found: dict[bytes, bytes | None] = {}
    for row in table.select(["event", "entry"], f"ordinal = 0 AND entry IS NOT NULL AND {condition}"):
        after = left(row["entry"])
        if after != row["entry"]:
            found[row["event"]] = after
        if len(found) >= _AT_ONCE:
            yield found
            found = {}
    if found:
        yield found
