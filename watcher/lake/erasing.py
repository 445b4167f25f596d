"""Carries out erasures in the table, also for events that have expired from the history."""

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
    """The new history documents by `_id`, in groups; None: to be deleted."""

_AT_ONCE = 500


def of_documents(
    table: LakeTable, namespace: str, is_wanted: Callable[[raw.Value], bool], left: Callable[[bytes], bytes | None]
) -> Changes:
    """The changes that the erasure of documents makes in a table.

    Args:
        is_wanted: returns whether a document, by its `_id`, is one of them.
        left: returns what is left of a history document; None: nothing.
    """
    wanted = ids.texts(table, namespace, is_wanted)
    for start in range(0, len(wanted), _AT_ONCE):
        among = ", ".join(map(quoted, wanted[start : start + _AT_ONCE]))
        yield from _changed(table, f"namespace = {quoted(namespace)} AND document_id IN ({among})", left)


def of_values(table: LakeTable, finder: Finder) -> Changes:
    """The changes that the erasure of values makes in a table, day by day."""
    for row in table.select(["DISTINCT day"]):
        yield from _changed(table, f"day = '{row['day']}'", finder.erased)


def apply(table: LakeTable, changes: Iterable[dict[bytes, bytes | None]], position: LakePosition) -> int:
    """Rewrite changed entries, and delete the files with their former values. Returns the number of entries."""
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
