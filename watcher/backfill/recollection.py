"""What history says that documents were before a gap, to be compared with what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from change_history.bson import raw
from change_history.bson.equality import key_of
from change_history.reconstruct import lives
from change_history.reconstruct.places import after
from change_history.reconstruct.states import Unknown, recall_many
from change_history.stored.names import HISTORY
from change_history.stored.reading import RAW
from watcher.targets.partition import holds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pymongo.database import Database

    from change_history.partition import Part
    from change_history.reconstruct.lives import Span


UNKNOWN = Unknown("history has no entry of the document")


class Recollection:
    """Recalls documents from the history collection, up to one cluster time.

    Args:
        database: the history database.
        until: the cluster time, 8 bytes, big-endian.
    """

    def __init__(self, database: Database[Any], until: bytes) -> None:
        self._database = database
        self._until = until
        self._spans: dict[str, list[Span]] = {}

    def recall(self, namespace: str, ids: Sequence[raw.Value]) -> dict[raw.Value, bytes | Unknown | None]:
        """What documents were: their bytes, None for those that were not there, `Unknown` where history has a hole.

        Args:
            namespace: `db.coll`; its last drop or rename ended all documents before it.
            ids: `_id` values. Those that history has no entry of are missing in the answer.
        """
        found = recall_many(self._database, self._lives(namespace), ids)
        return {key: found[same].document for key in ids if (same := key_of(key)) in found}

    def ids(self, namespace: str, chunk: int, part: Part | None = None) -> Iterator[list[raw.Value]]:
        """The ids of all documents that history knows in a namespace, in chunks, from the index alone.

        Args:
            namespace: `db.coll`.
            chunk: at most so many at a time.
            part: only the documents of this part of a stream; None: all.
        """
        history = self._database.get_collection(HISTORY, codec_options=RAW)
        ids: list[raw.Value] = []
        for span in self._lives(namespace):
            mine = {} if part is None else {"$expr": holds(part, "$document_id")}
            known = {"namespace": span.namespace, "document_id": {"$exists": True}, "_id": span.ids()}
            stages: list[dict[str, Any]] = [
                {"$match": known | mine},
                {"$sort": {"namespace": 1, "document_id": 1}},
                {"$group": {"_id": "$document_id"}},
            ]
            with history.aggregate(stages, allowDiskUse=True, hint=dict(lives.TIMELINE)) as cursor:
                for found in cursor:
                    ids.append(raw.fields(bytes(found.raw))[b"_id"])
                    if len(ids) == chunk:
                        yield ids
                        ids = []
        if ids:
            yield ids

    def _lives(self, namespace: str) -> list[Span]:
        if namespace not in self._spans:
            self._spans[namespace] = list(lives.spans(self._database, namespace, after(self._until)))
        return self._spans[namespace]
