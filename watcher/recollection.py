"""What history says documents are: their recorded events, folded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import CodecOptions
from bson.raw_bson import RawBSONDocument

from core import fold
from models import raw
from models.connection import HISTORY, REJECTED
from models.parts import whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pymongo.database import Database

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
_TIMELINE = [("namespace", 1), ("document_id", 1), ("_id", 1)]
_ENDS = ("drop", "dropDatabase", "rename")


class Unknown:
    """History has entries of the document, but not all that would be needed to tell what it is."""


UNKNOWN = Unknown()


class Recollection:
    """Recalls documents from the history collection, up to one cluster time.

    Args:
        database: the history database.
        until: first 8 bytes of the ids of history: only what is before counts.
    """

    def __init__(self, database: Database[Any], until: bytes) -> None:
        self._database = database
        self._history = database.get_collection(HISTORY, codec_options=_RAW)
        self._rejected = database.get_collection(REJECTED, codec_options=_RAW)
        self._until = until + b"\xff" * 8
        self._ends: dict[str, bytes] = {}

    def recall(self, namespace: str, ids: Sequence[raw.Value]) -> dict[raw.Value, bytes | Unknown | None]:
        """What documents were: their bytes, None for those that were not there, `UNKNOWN` where history has a hole.

        Args:
            namespace: `db.coll`; its last drop or rename ended all documents before it.
            ids: `_id` values.
        """
        if namespace not in self._ends:
            self._ends[namespace] = self._last_end(namespace)
        wanted = raw.from_fields([(b"$in", (raw.ARRAY, raw.from_items(ids)))])
        query = {
            "namespace": namespace,
            "document_id": RawBSONDocument(wanted),
            "_id": {"$gt": self._ends[namespace], "$lte": self._until},
        }
        found: dict[raw.Value, list[tuple[bytes, bytes, bytes]]] = {}
        for stored in self._history.find(query).hint(_TIMELINE):
            data = bytes(whole(self._database, stored).raw)
            fields = raw.fields(data)
            token = fields.get(b"resume_token")
            place = fields[b"_id"][1][5:13], token[1] if token is not None else b"\xff"
            found.setdefault(fields[b"document_id"], []).append((*place, data))
        if self._has_rejected(namespace):
            return dict.fromkeys(found, UNKNOWN)
        return {key: _folded([data for _, _, data in sorted(entries)]) for key, entries in found.items()}

    def ids(self, namespace: str, chunk: int) -> Iterator[list[raw.Value]]:
        """The ids of all documents that history knows in a namespace, in chunks, from the index alone."""
        stages: list[dict[str, Any]] = [
            {"$match": {"namespace": namespace, "document_id": {"$exists": True}}},
            {"$sort": {"namespace": 1, "document_id": 1}},
            {"$group": {"_id": "$document_id"}},
        ]
        ids: list[raw.Value] = []
        with self._history.aggregate(stages, allowDiskUse=True) as cursor:
            for found in cursor:
                ids.append(raw.fields(bytes(found.raw))[b"_id"])
                if len(ids) == chunk:
                    yield ids
                    ids = []
        if ids:
            yield ids

    def _has_rejected(self, namespace: str) -> bool:
        """Whether an event of this namespace, or of nobody knows which, is only in `rejected`: history has a hole."""
        return self._rejected.find_one({"namespace": {"$in": [namespace, None]}}, {"_id": 1}) is not None

    def _last_end(self, namespace: str) -> bytes:
        """`_id` of the last event that ended every document of a namespace."""
        upto = {"_id": {"$lte": self._until}}
        database, _, collection = namespace.partition(".")
        query = {
            "namespace": {"$in": [namespace, database]},
            "document_id": {"$exists": False},
            "operation": {"$in": _ENDS},
            **upto,
        }
        ends = list(self._history.find(query, {"_id": 1}).hint(_TIMELINE))
        arrivals = {
            "namespace": {"$gt": ""},
            "document_id": {"$exists": False},
            "operation": "rename",
            "description.to.db": database,
            "description.to.coll": collection,
            **upto,
        }
        ends += self._history.find(arrivals, {"_id": 1}).hint(_TIMELINE)
        return max((bytes(raw.fields(bytes(end.raw))[b"_id"][1][5:]) for end in ends), default=b"")


def _folded(entries: list[bytes]) -> bytes | Unknown | None:
    try:
        return fold.latest(entries)
    except fold.DoesNotApplyError:
        return UNKNOWN
