"""The first stage: follow a change stream and hand on its events, unchanged, batch by batch.

The stream is driven by its two commands, `aggregate` and `getMore`, rather than by pymongo's `ChangeStream`: a batch
is the unit here, its position (`postBatchResumeToken`) must travel with it, and its events must stay bytes.
`ChangeStream` offers neither: its `resume_token` moves on by itself, and every event is decoded.

https://github.com/mongodb/specifications/blob/master/source/change-streams/change-streams.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from bson import CodecOptions, Int64
from bson.raw_bson import RawBSONDocument
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

from change_history import server_codes
from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME, ClusterTime
from change_history.bson.resume_token import ends_stream, token_time
from watcher.errors import (
    DOUBTED_CODES,
    UNAUTHORIZED,
    UNKNOWN_OPTION,
    PositionDoubtedError,
    UndeliverableError,
    UnusablePositionError,
    Verdict,
    classify,
    is_bad_token,
    name_of,
)
from watcher.events import fast_path
from watcher.stream import damage
from watcher.stream.batch import Batch, Lost, Position
from watcher.stream.fragments import SPLIT_STAGE, BrokenFragmentsError, Fragments
from watcher.stream.large_events import LARGEST_ID, Portion, Projection, leave_out, only_heavy

if TYPE_CHECKING:
    from bson import Timestamp
    from pymongo import MongoClient
    from pymongo.client_session import ClientSession

    from watcher.targets.scope import Scope

log = structlog.get_logger(__name__)

AWAIT_MS = 500
"""Milliseconds that the server waits for events before it sends an empty batch; also the longest delay of a stop."""

IMAGES_WIRE_VERSION = 17
"""`maxWireVersion` of MongoDB 6.0, the first with pre-images, expanded events and the raw update description."""

DOUBTS = 5
"""Consecutive refusals to open the stream at a position, after which the position counts as lost."""

BREAKS = 3
"""Consecutive broken connections without an event, after which the server is queried for the reason."""

TOO_LARGE_ID = "an _id is too large for a resume token"
"""Cause of a gap."""

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


class Listener:
    """One change stream, reopened after every failure at the position of the last batch handed on.

    Args:
        batch_size: maximum number of events in a batch.
        position: where to resume; None: from now on.
        pre_images: request the documents before each change.
        intact: the position is the one that was saved; a damaged one counts as lost, even if the server accepts it.
        skip_what_is_lost: if the server cannot resume from the position, resume from now and report the gap in
            `Batch.lost` of the next batch, instead of raising. Also skip events that cannot be delivered.
    """

    def __init__(
        self,
        client: MongoClient[Any],
        scope: Scope,
        batch_size: int,
        position: Position | None,
        *,
        pre_images: bool,
        intact: bool = True,
        skip_what_is_lost: bool = False,
    ) -> None:
        self._client = client
        self._scope = scope
        self._database = client.get_database(scope.database or "admin")
        self._portion = Portion(batch_size)
        self._fragments = Fragments()
        self._splits = True
        self._position = position
        self._pre_images = pre_images
        self._intact = intact
        self._skip_what_is_lost = skip_what_is_lost
        self._raw_updates = True
        self._narrow = not scope.widened
        self._session: ClientSession | None = None
        self._cursor: Int64 | None = None
        self._lost: Lost | None = None
        self._doubts = 0
        self._breaks = 0
        self._reading = False
        self._left_out_until: Timestamp | None = None
        self._cursor_name = ""
        self.server_seconds = 0

    def next_batch(self) -> Batch:
        """Wait for events, for at most `AWAIT_MS`; the batch may be empty.

        Raises:
            pymongo.errors.PyMongoError: the stream broke. The next call reopens it.
        """
        while True:
            try:
                batch = self._open() if self._cursor is None else self._next()
                self._served(batch)
            except PyMongoError as error:
                self.close()
                self._go_another_way(error)
            else:
                return batch

    def _go_another_way(self, error: PyMongoError) -> None:
        """After a failure, request less, or resume from now, if that helps.

        Raises:
            pymongo.errors.PyMongoError: it does not help; see `_judged` for the error.
        """
        if isinstance(error, OperationFailure):
            too_large = error.code == server_codes.OBJECT_TOO_LARGE
        else:
            too_large = isinstance(error, AutoReconnect) and self._broke_by_size()
        if too_large:
            if not self._portion.refused():
                self._leave_out()
            return
        judged = self._judged(error)
        lost = self._position
        if not self._skip_what_is_lost or lost is None or classify(judged) is not Verdict.POSITION_LOST:
            raise judged from error.__cause__
        log.warning("position lost: going on from now", cause=name_of(judged))
        self._position, self._lost = None, Lost(lost, name_of(judged))
        self._portion.as_usual()

    def _next(self) -> Batch:
        self._reading = True
        batch = self._read("nextBatch", self._command(self._get_more()))
        self._doubts = 0  # only now: opening a stream reads nothing, so it does not prove that the position is good
        if batch.events:
            self._breaks = 0
        return batch

    def _broke_by_size(self) -> bool:
        """Count a broken connection; whether the reason is an event that is too large.

        If an event fits but the reply does not, the server closes the connection. A server that shuts down closes it
        too, so after `BREAKS` of them the server is queried whether such an event follows.
        """
        if self._position is None or not self._reading:
            return False
        self._breaks += 1
        asks = self._breaks == BREAKS and self._portion.projection is Projection.WHOLE
        if asks and not self._breaks_on_heavy_events():
            self._breaks = 0
        return self._breaks >= BREAKS

    def _breaks_on_heavy_events(self) -> bool:
        """Whether the server fails to deliver an event with a large `_id` after the position."""
        if self._position is None:
            return False
        until = self._now()
        options = self._stream_options()
        # With a resume token whose event the stage drops, the server would search for that event and fail.
        options |= {"startAtOperationTime": self._position.cluster_time.timestamp}
        options.pop("startAfter", None)
        stages = [{"$changeStream": options}, {"$match": self._scope.match()}, only_heavy(until)]
        command = {"aggregate": self._target, "pipeline": stages, "cursor": {"batchSize": 0}}
        cursor = self._database.command(command)["cursor"]
        name = cursor["ns"].partition(".")[2]
        while True:
            more = {"getMore": Int64(cursor["id"]), "collection": name, "batchSize": 1, "maxTimeMS": AWAIT_MS}
            try:
                cursor = self._database.command(more, codec_options=_RAW)["cursor"]
            except AutoReconnect:
                return True
            except OperationFailure as error:
                return error.code == server_codes.OBJECT_TOO_LARGE
            reached = token_time(bytes(cursor["postBatchResumeToken"].raw))
            if len(cursor["nextBatch"]) or reached is None or reached >= ClusterTime.of(until):
                self._database.command({"killCursors": name, "cursors": [Int64(cursor["id"])]})
                return len(cursor["nextBatch"]) > 0

    def _leave_out(self) -> None:
        """Skip the events up to now that cannot be delivered; they are a gap.

        Raises:
            UndeliverableError: nothing may be skipped.
        """
        if not self._skip_what_is_lost or self._position is None:
            raise UndeliverableError(TOO_LARGE_ID)
        until = self._now()
        log.error(
            "an event cannot be delivered, as its _id is too large for a resume token; it is left out",
            since=str(self._position.cluster_time.timestamp),
            until=str(until),
        )
        self._left_out_until, self._breaks = until, 0
        beyond = Position(self._position.token, ClusterTime.of(until).just_after)
        self._lost = Lost(self._position, TOO_LARGE_ID, beyond)
        self._portion.as_usual()

    def _now(self) -> Timestamp:
        """The present cluster time: no event that can be read now is later."""
        now: Timestamp = self._client.admin.command("ping")["operationTime"]
        return now

    def _judged(self, error: PyMongoError) -> PyMongoError:
        """The error to raise: one that declares the position lost only after several refusals, as a gap is permanent.

        A position inside an event that came in fragments counts as lost too: only the rest of the event follows it.
        """
        within = isinstance(error, BrokenFragmentsError)
        doubted = within or (isinstance(error, OperationFailure) and error.code in DOUBTED_CODES)
        if not doubted or self._position is None:
            return error
        self._doubts += 1
        if self._doubts < DOUBTS:
            if isinstance(error, OperationFailure):
                return PositionDoubtedError(str(error), error.code, error.details)
            return error
        self._doubts = 0
        return UnusablePositionError("it lies within an event") if within else error

    def _served(self, batch: Batch) -> None:
        if self._left_out_until is not None and batch.position.cluster_time > ClusterTime.of(self._left_out_until):
            self._left_out_until = None
            self.close()
        projection = self._portion.projection
        if self._portion.served(len(batch.events)):
            self.close()
            log.warning(
                "an event too large to be delivered whole is recorded without the values that cannot be had",
                projection=projection.name.lower(),
                cluster_time=str(batch.position.cluster_time.timestamp),
            )

    def close(self) -> None:
        """Close the stream's cursor on the server. Never raises: the server drops idle cursors by itself."""
        session, cursor, self._session, self._cursor = self._session, self._cursor, None, None
        self._fragments.forget()
        if session is None:
            return
        try:
            if cursor is not None:
                self._database.command({"killCursors": self._cursor_name, "cursors": [cursor]}, session=session)
            session.end_session()
        except PyMongoError as error:
            log.debug("the cursor could not be given back", error=type(error).__name__)

    def _open(self) -> Batch:
        if not self._intact and self._position is not None:
            raise UnusablePositionError("it is not what was saved")
        self._reading = False
        self._session = self._client.start_session(causal_consistency=False)
        while True:
            try:
                reply = self._command(self._aggregate())
                self._refuse_the_future(_said_beside(reply))
                return self._read("firstBatch", reply)
            except OperationFailure as error:
                if is_bad_token(error.code) and self._position is not None:
                    raise UnusablePositionError(name_of(error)) from error
                if not self._do_without(error.code):
                    raise

    def _refuse_the_future(self, reply: dict[bytes, raw.Value]) -> None:
        """Refuse a position in the future: the server would wait for its time, and skip every event until then.

        Raises:
            PositionDoubtedError: the queried member may lag behind the deployment's cluster time.
            PositionRefusedError: the deployment has not reached the position's time, or was rolled back behind it.
        """
        position = self._lost.position if self._lost is not None else self._position
        now = damage.cluster_time(reply)
        # A new stream's position is one tick after the server's time, where nothing has happened yet.
        if position is None or now is None or position.cluster_time.just_before <= now:
            return
        self._doubts += 1
        if self._doubts < DOUBTS:
            raise PositionDoubtedError("the position lies in the future")
        self.close()
        raise damage.refusal_of_the_future(position, now)

    def _do_without(self, code: int | None) -> bool:
        """Drop the option or the scope that the server has refused. False: the error has another reason."""
        if code in UNKNOWN_OPTION and self._raw_updates:
            self._raw_updates = False
            log.info("the server has no raw update descriptions; paths are told from the images", code=code)
        elif code in UNAUTHORIZED and not self._narrow:
            self._narrow = True
            log.warning(
                "the database may not be followed, only the collection: context documents are not read",
                namespace=f"{self._scope.database}.{self._scope.contexts}",
                remedy="grant changeStream and find on the database (`watcher roles` says how), "
                "or set WATCHER_CONTEXT_COLLECTION to nothing",
            )
        elif (code == server_codes.UNKNOWN_STAGE or code in UNKNOWN_OPTION) and self._splits:
            self._splits = False
            log.debug("the server does not split large events; those beyond 16 MB lack their old values", code=code)
        else:
            return False
        return True

    @property
    def _target(self) -> str | int:
        """The collection that the stream is opened on, or 1 for a wider one."""
        return (self._scope.collection if self._narrow else None) or 1

    def _aggregate(self) -> dict[str, Any]:
        stages = [{"$match": self._scope.match()}]
        if self._left_out_until is not None:
            stages.append(leave_out(self._left_out_until))
        stages += [*self._portion.projection.stages, *([SPLIT_STAGE] if self._splits else [])]
        return {
            "aggregate": self._target,
            "pipeline": [{"$changeStream": self._stream_options()}, *stages],
            # An empty first batch: a new stream has a position before it has events.
            "cursor": {"batchSize": 0},
        }

    def _stream_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self._scope.database is None:
            options["allChangesForCluster"] = True
        if self._client_wire_version() >= IMAGES_WIRE_VERSION:
            options["showExpandedEvents"] = True
            if self._raw_updates:
                options["showRawUpdateDescription"] = True
            if self._pre_images and self._portion.projection.images:
                options["fullDocumentBeforeChange"] = "whenAvailable"
                if not self._raw_updates:
                    options["fullDocument"] = "whenAvailable"
        if self._position is not None and self._left_out_until is not None and len(self._position.token) > LARGEST_ID:
            # The event of the token may be skipped, and the server would search for it. Events that are read again are
            # recorded already.
            options["startAtOperationTime"] = self._position.cluster_time.timestamp
        elif (
            self._position is not None
            and not self._narrow
            and self._scope.widened
            and ends_stream(self._position.token)
        ):
            # The stream of the collection, or of the database, was invalidated here. The stream of the database resumes
            # right after that time; resumed at that very time, it would get the dropDatabase's invalidate for ever.
            options["startAtOperationTime"] = self._position.cluster_time.just_after.timestamp
        elif self._position is not None:
            # startAfter resumes where resumeAfter does, and also after an invalidate event, where resumeAfter fails.
            options["startAfter"] = RawBSONDocument(self._position.token)
        return options

    def _client_wire_version(self) -> int:
        return int(self._client.admin.command("hello")["maxWireVersion"])

    def _get_more(self) -> dict[str, Any]:
        return {
            "getMore": self._cursor,
            "collection": self._cursor_name,
            "batchSize": self._portion.events,
            "maxTimeMS": AWAIT_MS,
        }

    def _command(self, command: dict[str, Any]) -> bytes:
        reply = self._database.command(command, session=self._session, codec_options=_RAW)
        return bytes(reply.raw)

    def _read(self, batch_name: str, reply: bytes) -> Batch:
        cursor, events = self._contents(batch_name, reply)
        while self._fragments.pending:  # no position is taken inside an event
            if self._cursor is None:
                raise BrokenFragmentsError("the stream ended within an event")
            reply = self._command(self._get_more())
            cursor, more = self._contents("nextBatch", reply)
            events = events + more
        self._position = self._position_after(cursor, events, _said_beside(reply).get(b"operationTime"))
        if self._cursor is None:
            self.close()
        lost, self._lost = self._lost, None
        if lost is not None and lost.resumed is None:
            lost = lost._replace(resumed=self._position)
        return Batch(events, self._position, lost)

    def _contents(self, batch_name: str, reply: bytes) -> tuple[dict[bytes, raw.Value], list[bytes]]:
        """The `cursor` document of a reply without its events, and the whole events."""
        places = raw.spans(reply, raw.spans(reply)[b"cursor"][1])
        _, start, stop = places.pop(batch_name.encode())  # nearly all of the reply, which is copied event by event
        cursor = {key: (kind, reply[begin:end]) for key, (kind, begin, end) in places.items()}
        identity = int.from_bytes(cursor[b"id"][1], "little", signed=True)
        # A cursor that the server has closed (id 0: an invalidate event) is reopened after its last event.
        self._cursor = Int64(identity) if identity else None
        self._cursor_name = raw.text_of(cursor[b"ns"]).decode().partition(".")[2]
        events = fast_path.documents(reply, start, stop)
        self._portion.weighed(len(events), stop - start)
        return cursor, self._fragments.join(events) if self._splits else events

    def _position_after(
        self, cursor: dict[bytes, raw.Value], events: list[bytes], operation_time: raw.Value | None
    ) -> Position:
        now = ClusterTime.from_payload(operation_time[1]) if operation_time is not None else BEGINNING_OF_TIME
        self.server_seconds = max(self.server_seconds, now.seconds)
        last = raw.fields(events[-1]) if events else None
        token = cursor.get(b"postBatchResumeToken")
        if last is not None and token is None:
            token = last[b"_id"]
        if self._position is not None and (token is None or token[1] == self._position.token):
            return self._position  # a stream that was just reopened is where it was
        if token is None:
            raise NoPositionError
        time = token_time(token[1])
        if time is None and last is not None and b"clusterTime" in last:
            time = ClusterTime.from_payload(last[b"clusterTime"][1])
        return Position(token[1], now if time is None else time)


def _said_beside(reply: bytes) -> dict[bytes, raw.Value]:
    """The fields of a reply except its cursor."""
    places = raw.spans(reply)
    return {key: (kind, reply[start:stop]) for key, (kind, start, stop) in places.items() if key != b"cursor"}


class NoPositionError(PyMongoError):
    """The server opened the stream without returning a position; servers before 4.0.7 do not."""
