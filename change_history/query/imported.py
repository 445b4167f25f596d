"""Changes that an application had recorded itself, imported by `watcher import`.

They are stored apart from the daemon's entries: nothing has verified them against a change stream, so no state, version
or difference of a document is derived from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from bson.raw_bson import RawBSONDocument

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import ABSENT, document_to_python, to_raw
from change_history.stored.actor import Actor
from change_history.stored.event import to_change
from change_history.stored.names import IMPORTED
from change_history.stored.reading import RAW, as_query, is_document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pymongo.cursor import Cursor
    from pymongo.database import Database

    from change_history.stored.event import Change

PROVENANCE = "imported"
"""Provenance of the actor of an imported entry: the application recorded it."""

_NAMES = frozenset({raw.STRING, raw.INT32, raw.INT64, raw.OBJECT_ID, raw.BINARY})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedEntry:
    """One entry of an application's own list of changes.

    Attributes:
        id: 16 bytes; ordered by time, and within one time by the order of the list.
        timestamp: the time that the application recorded (UTC).
        changes: the changes, in the application's own names and values.
        user: the user that the application recorded; `ABSENT`: none.
        source: where it came from, `database.collection` or that and the field.
    """

    id: bytes
    namespace: str
    document_id: Any
    timestamp: datetime
    changes: tuple[Change, ...]
    user: Any = ABSENT
    source: str = ""

    @property
    def actor(self) -> Actor | None:
        """The user as an actor of provenance `imported`, which nothing has verified; None: no user is recorded.

        No actor of an event has this provenance, and no search for an actor finds an imported entry.
        """
        known = isinstance(self.user, str | int | ObjectId | bytes) and not isinstance(self.user, bool)
        return Actor(id=self.user, provenance=PROVENANCE) if known and self.user != "" else None


def read(database: Database[Any], namespace: str, document_id: Any = ABSENT) -> Iterator[ImportedEntry]:
    """The imported entries of a document or a collection, oldest first.

    Args:
        document_id: its `_id`, any BSON type; omitted: all documents.
    """
    with _find(database, namespace, document_id).sort("_id", 1) as cursor:
        for stored in cursor:
            found = document_to_python(stored)
            yield ImportedEntry(
                id=found["_id"],
                namespace=found["namespace"],
                document_id=found["document_id"],
                timestamp=found["timestamp"],
                changes=tuple([to_change(change, found["timestamp"]) for change in found["changes"]]),
                user=found.get("user", ABSENT),
                source=found["source"],
            )


def as_events(
    database: Database[Any],
    namespace: str,
    document_id: Any = ABSENT,
    *,
    limit: int | None = None,
    newest_first: bool = False,
) -> Iterator[RawBSONDocument]:
    """The imported entries in the form of history documents, their operation `imported`, oldest first.

    Args:
        limit: the number of entries, the newest; None: all.
    """
    cursor = _find(database, namespace, document_id)
    with cursor.sort("_id", -1 if newest_first or limit else 1).limit(limit or 0) as found:
        if newest_first or limit is None:
            yield from map(_as_event, found)
        else:
            yield from reversed([_as_event(stored) for stored in found])


def _as_event(stored: RawBSONDocument) -> RawBSONDocument:
    fields = raw.fields(bytes(stored.raw))
    fields.setdefault(b"cluster_time", to_raw(ClusterTime.from_id(fields[b"_id"][1][5:]).timestamp))
    user = fields.pop(b"user", None)
    if user is not None and user[0] in _NAMES:
        who = (b"id", user), (b"provenance", (raw.STRING, raw.string(PROVENANCE.encode())))
        fields[b"actor"] = (raw.DOCUMENT, raw.from_fields(who))
    return RawBSONDocument(raw.from_fields(fields.items()), RAW)


def _find(database: Database[Any], namespace: str, document_id: Any) -> Cursor[RawBSONDocument]:
    query: dict[str, Any] = {"namespace": {"$eq": namespace}}
    if document_id is not ABSENT:
        query["document_id"] = is_document(document_id)
    return database.get_collection(IMPORTED, codec_options=RAW).find(as_query(query))
