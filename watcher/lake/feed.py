"""Reads the history: all existing entries, then new and changed ones, in the server's order."""

from __future__ import annotations

from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

from change_history.bson.cluster_time import ClusterTime
from change_history.bson.resume_token import token_time
from change_history.bson.values import to_raw
from change_history.stored.chunks import MissingChunkError, whole
from change_history.stored.names import HISTORY
from change_history.stored.reading import RAW
from watcher.erasure.requests import Erasures
from watcher.errors import Verdict, classify
from watcher.lake.table import LakeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bson.raw_bson import RawBSONDocument
    from pymongo.change_stream import CollectionChangeStream
    from pymongo.database import Database

_BATCH = 1000
_PIPELINE = [{"$project": {"_id": 1, "operationType": 1, "clusterTime": 1, "documentKey": 1, "fullDocument": 1}}]


class LostError(Exception):
    """The stream of the history cannot resume from its position: all entries have to be compared again."""


class Fate(Enum):
    """What happened to an entry."""

    ENTERED = "entered"
    CHANGED = "changed"
    GONE = "gone"


class News(NamedTuple):
    """A new, changed or deleted entry.

    Attributes:
        entry: its `_id`, 16 bytes.
        document: its present state; None: it no longer exists.
        token: resume token after the event.
        time: cluster time of the event.
    """

    entry: bytes
    what: Fate
    document: bytes | None
    token: str
    time: ClusterTime


class LakeFeed:
    """Reads a history with majority read concern, so that a failover cannot roll back what was read."""

    def __init__(self, database: Database[Any]) -> None:
        self._database = database
        self._history = database.get_collection(HISTORY, codec_options=RAW, read_concern=ReadConcern("majority"))
        self._stream: CollectionChangeStream[RawBSONDocument] | None = None
        self.erasures = Erasures(database)

    def identity(self) -> str:
        """UUID of the history collection, in hexadecimal digits.

        Raises:
            LakeError: there is no history, or its server has no change streams.
        """
        found = next(iter(self._database.list_collections(filter={"name": HISTORY})), None)
        if found is None:
            raise LakeError(f"{self._database.name} has no history yet; `watcher run` records it.")
        hello = self._database.client.admin.command("hello")
        if not (hello.get("setName") or hello.get("msg") == "isdbgrid"):
            reason = "the history is on a standalone mongod, which cannot tell what is new"
            raise LakeError(f"{reason}; make it a replica set.")
        return bytes(found["info"]["uuid"]).hex()

    def now(self) -> ClusterTime:
        """The server's cluster time."""
        return ClusterTime.of(self._database.client.admin.command("ping")["operationTime"])

    def scan(self, after: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All entries after an `_id` (empty: from the beginning), in the order of `_id`: the `_id` and the document."""
        query = {"_id": {"$gt": Binary(after)}} if after else {}
        with self._history.find(query, sort=[("_id", 1)], batch_size=_BATCH) as cursor:
            for stored in cursor:
                yield bytes(stored["_id"]), self._whole(stored)

    def open(self, token: str | None) -> str:
        """Open the stream, from a token or (None) from now on. Returns the token to resume from.

        Raises:
            LostError: the stream cannot resume from the token.
        """
        self.close()
        with _lost():
            self._stream = self._history.watch(
                _PIPELINE,
                full_document="updateLookup",
                resume_after={"_data": token} if token is not None else None,
                max_await_time_ms=500,
                batch_size=_BATCH,
            )
        return self.token

    @property
    def token(self) -> str:
        """The resume token up to which the stream has been read."""
        found = self._stream.resume_token if self._stream is not None else None
        if found is None:
            raise LostError("the stream has no position")
        return str(found["_data"])

    @property
    def time(self) -> ClusterTime:
        """The cluster time up to which the stream has been read."""
        found = token_time(to_raw({"_data": self.token})[1])
        return found if found is not None else ClusterTime(0)

    def next(self) -> News | None:
        """The next new, changed or deleted entry; None: none within half a second.

        Raises:
            LakeError: the history was dropped.
            LostError: the stream cannot continue.
        """
        if self._stream is None:
            raise LostError("the stream is not open")
        with _lost():
            event = self._stream.try_next()
        if event is None:
            return None
        operation = event["operationType"]
        if operation not in _WHATS:
            raise LakeError(f"the history was removed ({operation}); the table stays as it is.")
        what, stored = _WHATS[operation], event.get("fullDocument")
        document = self._whole(stored) if stored is not None else None
        time = ClusterTime.of(event["clusterTime"])
        return News(bytes(event["documentKey"]["_id"]), what, document, str(event["_id"]["_data"]), time)

    def close(self) -> None:
        """Close the stream."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _whole(self, stored: RawBSONDocument) -> bytes:
        try:
            return bytes(whole(self._database, stored).raw)
        except MissingChunkError:  # erased or expired meanwhile: only the head is left
            return bytes(stored.raw)


_WHATS = {"insert": Fate.ENTERED, "update": Fate.CHANGED, "replace": Fate.CHANGED, "delete": Fate.GONE}


@contextmanager
def _lost() -> Iterator[None]:
    """Convert errors after which a stream cannot continue into `LostError`."""
    try:
        yield
    except OperationFailure as error:
        if classify(error) in {Verdict.POSITION_LOST, Verdict.REJECT}:  # the next event is too large, or too deep
            raise LostError(str(error)) from error
        raise
