"""Reads a collection while it changes: as of one cluster time, or at least between two known ones.

A snapshot read (https://www.mongodb.com/docs/manual/reference/read-concern-snapshot/) names a cluster time:
`readConcern: {level: "snapshot", atClusterTime: …}`. Every batch shows that time, however long the reading takes,
within the server's window for it (`minSnapshotHistoryWindowInSeconds`, 300 by default). The server refuses it for
capped collections, and for a time before a collection was created or renamed. Then a majority read is used, of which
only a first and a last cluster time are known.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import CodecOptions, Int64, MaxKey, Timestamp
from bson.raw_bson import RawBSONDocument

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from watcher.targets.namespaces import MovedError
from watcher.targets.partition import holds

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from pymongo import MongoClient

    from change_history.partition import Partition

SNAPSHOT_GONE = {239: "SnapshotTooOld", 246: "SnapshotUnavailable"}
"""Error codes: the cluster time is outside the server's window, or the collection was created, renamed or replaced
after it."""

CHUNK = 500
"""Documents in a batch; fewer where they are large."""

LONG_CHUNK = 10_000
"""Documents in a batch if the reader has to wait for the stream after each batch; at most 16 MB of them."""

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


class Reading(NamedTuple):
    """Documents, each as it was at some cluster time from `since` to `until` (not all at the same)."""

    documents: list[bytes]
    since: Timestamp
    until: Timestamp


class MajorityReader:
    """Reads the documents of a collection, as bytes, with majority read concern.

    Args:
        partition: only the documents of this partition of a stream; None: all.
    """

    chunk = LONG_CHUNK

    def __init__(self, client: MongoClient[Any], namespace: str, partition: Partition | None = None) -> None:
        self._client = client
        self._mine = [] if partition is None else [{"$expr": holds(partition, "$_id")}]
        self._database, _, self._collection = namespace.partition(".")

    def documents(self, after: RawBSONDocument | None) -> Iterator[Reading]:
        """All documents by `_id`, in batches; each batch has bounds of its own.

        Args:
            after: `{_id: …}` of the last document already read. `min` is used rather than `$gt`, which would skip ids
                of other types.
        """
        while True:
            reading, ended = self._portion(after)
            yield reading
            if ended:
                return
            after = last_id(reading.documents)

    def these(self, ids: Sequence[raw.Value], *, only_ids: bool = False) -> Reading:
        """The documents with some ids, or only their `_id` if `only_ids`."""
        query = raw.from_fields([(b"$in", (raw.ARRAY, raw.from_items(ids)))])
        command: dict[str, Any] = {"filter": {"_id": RawBSONDocument(query)}}
        if only_ids:
            command["projection"] = {"_id": 1}
        readings = list(self._readings(command))
        return readings[-1]._replace(documents=[document for reading in readings for document in reading.documents])

    def _portion(self, after: RawBSONDocument | None) -> tuple[Reading, bool]:
        """One batch of documents after a given one, and whether the collection ended."""
        read: list[bytes] = []
        with closing(self._by_id(after)) as readings:
            for reading in readings:
                read += reading.documents
                done = 1 if after is not None and read and last_id(read[:1]) == after else 0
                if len(read) > done:  # a batch may hold only the document that is finished already
                    return reading._replace(documents=read[done:]), False
        return reading._replace(documents=[]), True

    def _by_id(self, after: RawBSONDocument | None) -> Generator[Reading, None, None]:
        """Read by `_id`, from a document on. `min` never includes MaxKey, so that is queried separately."""
        order: dict[str, Any] = {"sort": {"_id": 1}, "hint": {"_id": 1}}
        greatest = {"filter": {"$and": [{"_id": MaxKey()}, *self._mine]}}
        mine = {"filter": {"$and": self._mine}} if self._mine else {}
        if after is None:
            yield from self._readings(order | mine)
            return
        if raw.fields(bytes(after.raw))[b"_id"][0] != raw.MAX_KEY:
            yield from self._readings(order | mine | {"min": after})
        yield from self._readings(order | greatest)

    def _read_concern(self) -> dict[str, Any]:
        return {"level": "majority", "afterClusterTime": now(self._client)}

    def _bounds(self, concern: dict[str, Any], reply: RawBSONDocument) -> tuple[Timestamp, Timestamp]:
        read_at = ClusterTime.from_payload(raw.fields(bytes(reply.raw))[b"operationTime"][1])
        return concern["afterClusterTime"], read_at.timestamp

    def _readings(self, command: dict[str, Any]) -> Generator[Reading, None, None]:
        """Run a find command to its end. Yields at least one reading, which may be empty."""
        database = self._client[self._database]
        concern = self._read_concern()
        with self._client.start_session(causal_consistency=False) as session:
            first = {"find": self._collection, **command, "readConcern": concern, "batchSize": self.chunk}
            reply = database.command(first, session=session, codec_options=_RAW)
            cursor, name = _cursor(reply), b"firstBatch"
            try:
                while True:
                    identity, batch = cursor[b"id"], cursor[name]
                    yield Reading([document for _, document in raw.items(batch[1])], *self._bounds(concern, reply))
                    if not any(identity[1]):
                        return
                    more = {"getMore": _int64(identity), "collection": self._collection, "batchSize": self.chunk}
                    reply = database.command(more, session=session, codec_options=_RAW)
                    cursor, name = _cursor(reply), b"nextBatch"
            finally:
                if any(identity[1]):
                    database.command({"killCursors": self._collection, "cursors": [_int64(identity)]}, session=session)


class SnapshotReader(MajorityReader):
    """Reads documents at one cluster time."""

    chunk = CHUNK

    def __init__(
        self, client: MongoClient[Any], namespace: str, at: Timestamp, partition: Partition | None = None
    ) -> None:
        super().__init__(client, namespace, partition)
        self._at = at

    def documents(self, after: RawBSONDocument | None) -> Iterator[Reading]:
        """All documents by `_id`, in batches, beginning with the document `after` itself.

        Raises:
            pymongo.errors.OperationFailure: with a code of `SNAPSHOT_GONE`, the server no longer has the snapshot.
        """
        yield from self._by_id(after)

    def _read_concern(self) -> dict[str, Any]:
        return {"level": "snapshot", "atClusterTime": self._at}

    def _bounds(self, _concern: dict[str, Any], _reply: RawBSONDocument) -> tuple[Timestamp, Timestamp]:
        return self._at, self._at


class AbsentReader(MajorityReader):
    """The reader of a collection that does not exist; it reads nothing, not even a view with that name.

    Args:
        since, until: the collection did not exist at some cluster time between these.
    """

    def __init__(self, client: MongoClient[Any], namespace: str, since: Timestamp, until: Timestamp) -> None:
        super().__init__(client, namespace)
        self._nothing = Reading([], since, until)

    def documents(self, _after: RawBSONDocument | None) -> Iterator[Reading]:
        """No documents."""
        yield self._nothing

    def these(self, _ids: Sequence[raw.Value], *, only_ids: bool = False) -> Reading:
        """None of them.

        Raises:
            watcher.targets.namespaces.MovedError: documents have to be read again, so the collection has just changed.
        """
        if not only_ids:
            raise MovedError
        return self._nothing


def now(client: MongoClient[Any]) -> Timestamp:
    """The present cluster time of a deployment."""
    reached: Timestamp = client.admin.command("ping")["operationTime"]
    return reached


def last_id(documents: Sequence[bytes]) -> RawBSONDocument:
    """`{_id: …}` of the last of some documents.

    Raises:
        KeyError: the document has no `_id`.
    """
    return RawBSONDocument(raw.from_fields([(b"_id", raw.fields(documents[-1])[b"_id"])]))


def _cursor(reply: RawBSONDocument) -> dict[bytes, raw.Value]:
    return raw.fields(raw.fields(bytes(reply.raw))[b"cursor"][1])


def _int64(value: raw.Value) -> Int64:
    return Int64(int.from_bytes(value[1], "little", signed=True))
