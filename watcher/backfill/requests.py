"""Baselines requested by an operator: stored in the history database until the leading daemons have carried them out.

The operator does not need access to the watched deployment. A request lists the streams that cover the namespace. The
leader of each stream, or partition, compares the documents with history, as after a gap, and removes its stream from
the list. So a request survives restarts, and is carried out when the next daemon starts.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import bson
import structlog
from bson import ObjectId, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern
from pymongo.errors import PyMongoError

from change_history import globs
from change_history.bson import raw
from change_history.bson.values import CODEC
from change_history.stored.names import BASELINES, CHECKPOINTS
from change_history.stored.reading import RAW
from watcher.backfill.queue import RECONCILE, BackfillPlan
from watcher.backfill.readers import now
from watcher.errors import name_of
from watcher.leadership.lease import DeposedError
from watcher.retry import Retry, StoppedError
from watcher.steps import Step

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection

    from pymongo import MongoClient
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from watcher.backfill.runner import Backfill
    from watcher.backfill.scanner import Scanner

log = structlog.get_logger(__name__)

_MAJORITY = WriteConcern("majority")
_LOOK_EVERY_S = 1.0
_AFTER_FAILURE_S = 10.0


class Request(NamedTuple):
    """A requested baseline.

    Attributes:
        document_id: `_id` of the only document to record; None: all documents.
    """

    id: ObjectId
    namespace: str
    document_id: raw.Value | None = None


class Requests:
    """The requested baselines."""

    def __init__(self, history: Database[Any]) -> None:
        self._history = history
        self._kept = history.get_collection(BASELINES, codec_options=RAW, write_concern=_MAJORITY)

    def ask(self, namespace: str, document_id: raw.Value | None = None) -> Request | None:
        """Request a baseline. When it returns, a majority has acknowledged the request.

        Returns:
            The request; None: no stream covers the namespace.
        """
        streams = []
        checkpoints = self._history.get_collection(CHECKPOINTS, codec_options=CODEC)
        for found in checkpoints.find({"options": {"$exists": True}}, {"options": 1}):
            said = found["options"]
            if globs.covers(said["include"], said["exclude"], namespace):
                streams.append({"stream": found["_id"]})
        if not streams:
            return None
        request = Request(ObjectId(), namespace, document_id)
        fields = {"_id": request.id, "namespace": namespace, "streams": streams}
        stored = [*raw.fields(bson.encode(fields)).items()]
        if document_id is not None:
            stored.append((b"document", (raw.DOCUMENT, raw.from_fields([(b"_id", document_id)]))))
        self._kept.insert_one(RawBSONDocument(raw.from_fields(stored)))
        return request

    def left(self, request: Request) -> int:
        """The number of streams that have not carried out a request yet."""
        found = self._history[BASELINES].find_one({"_id": request.id}, {"streams": 1})
        return len(found["streams"]) if found is not None else 0

    def is_begun(self, request: Request) -> bool:
        """Whether a stream has begun to carry out a request."""
        return self._history[BASELINES].find_one({"_id": request.id, "streams.at": {"$exists": True}}) is not None

    def of(self, stream: str) -> list[tuple[Request, Timestamp | None]]:
        """The requests that a stream is to carry out, each with the cluster time noted by `begun`; None: not begun."""
        found = []
        for stored in self._kept.find({"streams.stream": stream}):
            fields = raw.fields(bytes(stored.raw))
            document = fields.get(b"document")
            only = raw.fields(document[1])[b"_id"] if document is not None else None
            mine = next(each for each in stored["streams"] if each["stream"] == stream)
            found.append((Request(stored["_id"], str(stored["namespace"]), only), mine.get("at")))
        return found

    def begun(self, request: Request, stream: str, at: Timestamp) -> None:
        """Note the cluster time as of which a stream carries out a request."""
        self._kept.update_one({"_id": request.id, "streams.stream": stream}, {"$set": {"streams.$.at": at}})

    def hand_over(self, former: Collection[str], new: Collection[str], session: ClientSession) -> None:
        """Transfer open requests to other streams: a repartitioned stream has other partitions.

        Requests that were begun are begun again; no entry is recorded twice.
        """
        for stored in self._kept.find({"streams.stream": {"$in": [*former]}}, session=session):
            others = [each for each in stored["streams"] if each["stream"] not in former]
            streams = [*others, *({"stream": name} for name in new)]
            self._kept.update_one({"_id": stored["_id"]}, {"$set": {"streams": streams}}, session=session)

    def done(self, request: Request, stream: str) -> None:
        """Note that a stream has carried out a request. The last stream deletes it."""
        self._kept.update_one({"_id": request.id}, {"$pull": {"streams": {"stream": stream}}})
        self._kept.delete_one({"_id": request.id, "streams": []})


class Taking:
    """Carries out the requests for one stream, in a thread of its own.

    Args:
        stream: name of the stream's checkpoint.
        backfill: reads whole collections.
        scanner: reads single documents.
    """

    def __init__(
        self,
        client: MongoClient[Any],
        requests: Requests,
        stream: str,
        backfill: Backfill,
        scanner: Callable[[], Scanner],
        retry: Retry,
        stop: threading.Event,
    ) -> None:
        self._client = client
        self._requests = requests
        self._stream = stream
        self._backfill = backfill
        self._scanner = scanner
        self._retry = retry
        self._stop = stop
        self._assigned: dict[ObjectId, BackfillPlan] = {}

    def run(self) -> None:
        """Carry out requests until the daemon stops or is deposed."""
        while not self._stop.wait(_LOOK_EVERY_S):
            try:
                for request, at in self._retry.call(Step.LOAD_BACKFILLS, partial(self._requests.of, self._stream)):
                    self._take(request, at)
            except (StoppedError, DeposedError):
                return
            except PyMongoError as error:
                log.warning("a baseline that was asked for is not taken for now", error=name_of(error))
                self._stop.wait(_AFTER_FAILURE_S)

    def _take(self, request: Request, at: Timestamp | None) -> None:
        plan = self._assigned.get(request.id)
        if plan is None:
            if at is None:
                at = self._retry.call(Step.READ_DOCUMENTS, partial(now, self._client))
                self._requests.begun(request, self._stream, at)
            plan = BackfillPlan(RECONCILE, at, (request.namespace,), since=at)
            if request.document_id is not None:
                self._scanner().one(plan, request.document_id)
                self._requests.done(request, self._stream)
                return
            log.info("a baseline is asked for", namespace=request.namespace, at=str(at))
            self._assigned[request.id] = plan
            self._backfill.anew(plan)
        elif not self._backfill.has(plan):
            self._requests.done(request, self._stream)
            del self._assigned[request.id]
