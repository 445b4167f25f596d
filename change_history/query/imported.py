"""Changes that an application had recorded itself, and `watcher import` has brought in.

It is kept apart from what the daemon recorded: nobody has checked it against a change stream, so no document's state,
version or difference is ever worked out from it.
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
"""How the actor of an imported entry is known: the application wrote it down."""

_NAMES = frozenset({raw.STRING, raw.INT32, raw.INT64, raw.OBJECT_ID, raw.BINARY})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedEntry:
    """One entry of an application's own list of changes.

    Attributes:
        id: 16 bytes; ids are in the order of time, and within one time in that of the list.
        timestamp: when, as the application wrote it down (UTC).
        changes: what, in the application's own names and values.
        user: by whom; `ABSENT`: it does not say.
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
        """The user as an actor, `imported`: the application says so, and nobody has checked it. None: it says nobody.

        No actor of an event has this provenance, and no search for an actor finds an imported entry.
        """
        known = isinstance(self.user, str | int | ObjectId | bytes) and not isinstance(self.user, bool)
        return Actor(id=self.user, provenance=PROVENANCE) if known and self.user != "" else None


def read(database: Database[Any], namespace: str, document_id: Any = ABSENT) -> Iterator[ImportedEntry]:
    """The imported entries of a document or a collection, oldest first.

    Args:
        document_id: its `_id`, any BSON type; left out: of all documents.
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
        limit: only the newest so many.
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
