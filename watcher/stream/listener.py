"""The first stage: follow a change stream and hand on its events, untouched, batch by batch.

The stream is driven by its two commands, `aggregate` and `getMore`, rather than by pymongo's `ChangeStream`: a batch
is the unit here, its position (`postBatchResumeToken`) must travel with it, and its events must stay bytes. Neither
can be had there: `ChangeStream.resume_token` moves on by itself, and every event is decoded.

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
"""How long a quiet server holds back its empty answer, in milliseconds; also how long a stop may wait for it."""

IMAGES_WIRE_VERSION = 17
"""`maxWireVersion` of MongoDB 6.0, the first with pre-images, expanded events and the raw update description."""

DOUBTS = 5
"""A position is believed to be lost when the stream, opened anew at it, was refused so often in a row."""

BREAKS = 3
"""So often the connection may break without an event in between before the server is asked for the reason."""

TOO_LARGE_ID = "an _id is too large for a resume token"
"""Cause of a gap."""

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


class Listener:
    """One change stream, opened anew after every failure at the position of the last batch handed on.

    Args:
        batch_size: at most so many events in a batch.
        position: where to go on; None: from now on.
        pre_images: ask for the images before each change.
        intact: the position is what was saved; one that is not is lost, whatever the server would make of it.
        skip_what_is_lost: when the server cannot go on from the position, go on from now and say so with the next
            batch, instead of raising. Likewise leave out events that cannot be delivered.
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
        """Wait for events, half a second at most; the batch may be empty.

        Raises:
            pymongo.errors.PyMongoError: the stream broke. The next call opens it anew.
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
        """After a failure, ask for less, or go on from now, if that is what helps.

        Raises:
            pymongo.errors.PyMongoError: it does not; the error, as it is to be judged.
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
        self._doubts = 0  # only now: opening a stream reads nothing, so it says nothing of its position
        if batch.events:
            self._breaks = 0
        return batch

    def _broke_by_size(self) -> bool:
        """Count a break of the connection; whether an event that is too large is the reason of so many.

        Where the event would fit and the answer does not, a server closes the connection. So does one that goes away;
        it is asked, after some of these, whether such an event follows.
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
        # A stage that leaves out the event of a token leaves the server looking for it.
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
        """Go on without the events up to now that cannot be delivered; they are a gap.

        Raises:
            UndeliverableError: nothing may be left out.
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
        """A cluster time that no event has passed which can be read."""
        now: Timestamp = self._client.admin.command("ping")["operationTime"]
        return now

    def _judged(self, error: PyMongoError) -> PyMongoError:
        """A gap is declared for good, so the server must say so more than once that the position is lost.

        A position within an event that came in fragments is none either: only the rest of the event follows it.
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
        """Give the stream's cursor back to the server. Never raises: the server forgets idle cursors by itself."""
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
        """A server would wait for the time of such a position, and pass over everything that happens until then.

        Raises:
            PositionDoubtedError: the member asked may not know yet how late it is.
            PositionRefusedError: the deployment has not come to its time, or has gone back behind it.
        """
        position = self._lost.position if self._lost is not None else self._position
        now = damage.cluster_time(reply)
        # A stream that begins stands one tick after the server's time, where nothing has happened yet.
        if position is None or now is None or position.cluster_time.just_before <= now:
            return
        self._doubts += 1
        if self._doubts < DOUBTS:
            raise PositionDoubtedError("the position lies in the future")
        self.close()
        raise damage.refusal_of_the_future(position, now)

    def _do_without(self, code: int | None) -> bool:
        """The server does not know something it was asked for: ask without. False: that was not it."""
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
            # Empty at first: a stream that begins has a position before it has events.
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
            # The event of the token may be left out, and the server would look for it. What is read again is recorded.
            options["startAtOperationTime"] = self._position.cluster_time.timestamp
        elif (
            self._position is not None
            and not self._narrow
            and self._scope.widened
            and ends_stream(self._position.token)
        ):
            # A stream of the collection, or of the database, ended here. That of the database goes on behind what ended
            # it; from that very time on, a stream that a dropDatabase ended would be told of its end for ever.
            options["startAtOperationTime"] = self._position.cluster_time.just_after.timestamp
        elif self._position is not None:
            # startAfter goes on where resumeAfter does, and after an invalidate event, where resumeAfter refuses.
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
        while self._fragments.pending:  # no position is taken within an event
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
        """The cursor as a reply gives it, without its events, and the events that are whole."""
        places = raw.spans(reply, raw.spans(reply)[b"cursor"][1])
        _, start, stop = places.pop(batch_name.encode())  # nearly all of the reply, which is copied event by event
        cursor = {key: (kind, reply[begin:end]) for key, (kind, begin, end) in places.items()}
        identity = int.from_bytes(cursor[b"id"][1], "little", signed=True)
        # A cursor that the server has closed (id 0: an invalidate event) is opened anew, after its last event.
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
            return self._position  # a stream that is only just opened again stands where it stood
        if token is None:
            raise NoPositionError
        time = token_time(token[1])
        if time is None and last is not None and b"clusterTime" in last:
            time = ClusterTime.from_payload(last[b"clusterTime"][1])
        return Position(token[1], now if time is None else time)


def _said_beside(reply: bytes) -> dict[bytes, raw.Value]:
    """What a reply says beside its cursor."""
    places = raw.spans(reply)
    return {key: (kind, reply[start:stop]) for key, (kind, start, stop) in places.items() if key != b"cursor"}


class NoPositionError(PyMongoError):
    """The server opened the stream without saying where it stands; servers before 4.0.7 do not."""
