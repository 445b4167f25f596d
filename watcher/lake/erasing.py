"""Erasures reach the table: what stands in it of their documents, also of events that have expired from the history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.bson import extended_json
from change_history.bson.equality import key_of
from change_history.bson.values import to_raw
from change_history.stored.names import ERASURES
from watcher.erasure.requests import ACTIVE, digest
from watcher.erasure.values import Fields, Finder, Trail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pymongo.database import Database

    from change_history.bson import raw
    from watcher.lake.position import Position
    from watcher.lake.table import Table

_AT_ONCE = 500


class Target(NamedTuple):
    """What one erasure removes.

    Attributes:
        id: of the erasure, in hexadecimal digits.
        documents: digests of `_id`s, by namespace.
        remove: makes of a history document what is left of it; None: nothing.
    """

    id: str
    documents: dict[str, set[bytes]]
    remove: Callable[[bytes], bytes | None]


class Erasures:
    """The erasures that stand in a history.

    Args:
        database: the history database.
    """

    def __init__(self, database: Database[Any]) -> None:
        self._kept = database[ERASURES]
        self._key: bytes | None = None

    def new(self, applied: Sequence[str]) -> list[Target]:
        """Those that a table does not know yet, oldest first."""
        found = []
        for each in self._kept.find({"state": {"$in": list(ACTIVE)}, "targets": {"$ne": []}}, sort=[("_id", 1)]):
            if str(each["_id"]) not in applied:
                documents = {one["namespace"]: {bytes(mine) for mine in one["documents"]} for one in each["targets"]}
                found.append(Target(str(each["_id"]), documents, remover(each["fields"], Trail(each["trail"]))))
        return found

    def is_of(self, document_id: raw.Value, documents: set[bytes]) -> bool:
        """Whether a document is one of those that are known by their digests."""
        if self._key is None:
            self._key = bytes((self._kept.find_one({"_id": "key"}) or {})["key"])
        return digest(self._key, document_id) in documents


def remover(fields: Iterable[str], trail: Trail) -> Callable[[bytes], bytes | None]:
    """What makes of a history document what an erasure leaves of it."""
    if trail is Trail.NOTHING:
        return lambda _: None
    chosen = Fields(fields)
    return lambda entry: chosen.erased(entry, trail)


def of_digests(table: Table, erasures: Erasures, target: Target) -> Iterator[dict[bytes, bytes | None]]:
    """What an erasure changes in a table: history documents by `_id`, some at a time."""
    for namespace, digests in target.documents.items():
        condition = f"namespace = {text(namespace)} AND document_id IS NOT NULL"
        every = [row["document_id"] for row in table.select(["DISTINCT document_id"], condition)]
        mine = [each for each in every if erasures.is_of(to_raw(extended_json.loads(each)), digests)]
        for start in range(0, len(mine), _AT_ONCE):
            among = ", ".join(map(text, mine[start : start + _AT_ONCE]))
            yield from _changed(table, f"namespace = {text(namespace)} AND document_id IN ({among})", target.remove)


def of_document(
    table: Table, namespace: str, document_id: raw.Value, remove: Callable[[bytes], bytes | None]
) -> Iterator[dict[bytes, bytes | None]]:
    """What the erasure of one document changes in a table."""
    rows = table.select(["DISTINCT document_id"], f"namespace = {text(namespace)} AND document_id IS NOT NULL")
    wanted = key_of(document_id)
    mine = [row["document_id"] for row in rows if key_of(to_raw(extended_json.loads(row["document_id"]))) == wanted]
    if mine:
        among = ", ".join(map(text, mine))
        yield from _changed(table, f"namespace = {text(namespace)} AND document_id IN ({among})", remove)


def of_values(table: Table, finder: Finder) -> Iterator[dict[bytes, bytes | None]]:
    """What the erasure of values changes in a table, day by day."""
    for row in table.select(["DISTINCT day"]):
        yield from _changed(table, f"day = '{row['day']}'", finder.erased)


def apply(table: Table, changes: Iterable[dict[bytes, bytes | None]], position: Position) -> int:
    """Write changed entries anew, and remove the files that still have them as they were; how many entries."""
    count = 0
    for some in changes:
        table.replace(some, position)
        count += len(some)
    if count:
        table.vacuum(0)
    return count


def _changed(
    table: Table, condition: str, remove: Callable[[bytes], bytes | None]
) -> Iterator[dict[bytes, bytes | None]]:
    found: dict[bytes, bytes | None] = {}
    for row in table.select(["event", "entry"], f"ordinal = 0 AND entry IS NOT NULL AND {condition}"):
        left = remove(row["entry"])
        if left != row["entry"]:
            found[row["event"]] = left
        if len(found) >= _AT_ONCE:
            yield found
            found = {}
    if found:
        yield found


def text(value: str) -> str:
    """A text as SQL has it."""
    escaped = value.replace("'", "''")
    return f"'{escaped}'"
