"""Reading a collection as it was at one cluster time, while it goes on changing.

`readConcern: {level: "snapshot", atClusterTime: …}` (https://www.mongodb.com/docs/manual/reference/read-concern-snapshot/):
every batch shows the same moment, however long the reading takes, within the server's window for it
(`minSnapshotHistoryWindowInSeconds`, 300 by default).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import CodecOptions, Int64
from bson.raw_bson import RawBSONDocument

from models import raw

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bson import Timestamp
    from pymongo import MongoClient

SNAPSHOT_GONE = {239: "SnapshotTooOld", 246: "SnapshotUnavailable"}
"""The moment is out of the server's window, or the collection was altered after it."""

CHUNK = 500
"""Documents in a batch; fewer where they are large."""

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


class SnapshotReader:
    """Reads documents, as bytes, at one cluster time.

    Args:
        client: the deployment.
        at: the cluster time.
    """

    def __init__(self, client: MongoClient[Any], at: Timestamp) -> None:
        self._client = client
        self._concern = {"level": "snapshot", "atClusterTime": at}

    def documents(self, database: str, collection: str, after: RawBSONDocument | None) -> Iterator[list[bytes]]:
        """All documents of a collection by `_id`, in batches.

        Args:
            database: name of its database.
            collection: its name.
            after: `{_id: …}` of the last document already read; it comes again first. `min` is used rather than
                `$gt`, which would skip ids of other types.

        Raises:
            pymongo.errors.OperationFailure: with a code of `SNAPSHOT_GONE`, the moment can no longer be read.
        """
        command: dict[str, Any] = {"find": collection, "sort": {"_id": 1}, "hint": {"_id": 1}}
        if after is not None:
            command["min"] = after
        yield from self._batches(database, command)

    def present(self, database: str, collection: str, ids: Sequence[raw.Value]) -> set[raw.Value]:
        """Which of these ids are in the collection.

        Raises:
            pymongo.errors.OperationFailure: as for `documents`.
        """
        query = raw.from_fields([(b"$in", (raw.ARRAY, raw.from_items(ids)))])
        command = {
            "find": collection,
            "filter": {"_id": RawBSONDocument(query)},
            "projection": {"_id": 1},
        }
        return {raw.fields(found)[b"_id"] for batch in self._batches(database, command) for found in batch}

    def _batches(self, name: str, command: dict[str, Any]) -> Iterator[list[bytes]]:
        database = self._client[name]
        with self._client.start_session(causal_consistency=False) as session:
            first = {**command, "readConcern": self._concern, "batchSize": CHUNK}
            reply = _cursor(database.command(first, session=session, codec_options=_RAW))
            identity, batch = reply[b"id"], reply[b"firstBatch"]
            try:
                while True:
                    documents = [document for _, document in raw.items(batch[1])]
                    if documents:
                        yield documents
                    if not any(identity[1]):
                        return
                    more = {"getMore": _int64(identity), "collection": command["find"], "batchSize": CHUNK}
                    reply = _cursor(database.command(more, session=session, codec_options=_RAW))
                    identity, batch = reply[b"id"], reply[b"nextBatch"]
            finally:
                if any(identity[1]):
                    database.command({"killCursors": command["find"], "cursors": [_int64(identity)]}, session=session)


def _cursor(reply: RawBSONDocument) -> dict[bytes, raw.Value]:
    return raw.fields(raw.fields(bytes(reply.raw))[b"cursor"][1])


def _int64(value: raw.Value) -> Int64:
    return Int64(int.from_bytes(value[1], "little", signed=True))
