"""Following: sends new events as they are recorded to any number of clients, from one change stream on the history.

The hub follows in one thread, and passes each event to the clients it concerns; it is encoded as JSON once. The hub
buffers the last events, so a client that reconnects (`Last-Event-ID`) continues where it was, without missed or
duplicate events. Events that are no longer buffered are read from history, from that event's time on; then an event may
be sent twice. Events that have waited, or were buffered, are read again before they are sent: they may have been erased
or expired.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from bson import Timestamp
from pymongo.errors import PyMongoError
from starlette.responses import Response, StreamingResponse

from change_history.bson.equality import key_of
from change_history.bson.values import ABSENT, to_raw
from change_history.errors import HistoryError
from change_history.http import wire
from change_history.query import gaps
from change_history.query.selection import Selection
from watcher.errors import Verdict, classify, name_of
from watcher.web import problems
from watcher.web.access import Holding
from watcher.web.api import parameters as p

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from starlette.requests import Request

    from change_history.reader import Reader
    from change_history.stored.event import Event
    from watcher.web.access_log import AccessLog
    from watcher.web.executor import Asker
    from watcher.web.visible import VisibleHistory

log = structlog.get_logger(__name__)

MEDIA_TYPE = "text/event-stream"
_REMEMBERED = 2000
_REMEMBERED_BYTES = 32 * 1024 * 1024
_WAITING = 2000
"""Most events that may wait for a slow client; then it is disconnected, and has to reconnect."""
_FRESH_S = 1.0
"""Seconds after its arrival in which an event is sent without being read again."""
_READ_AT_ONCE = 100
_HEARTBEAT_S = 15.0
_AGAIN_S = 1.0
_RETRY_MS = 2000
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
_OPENING_S = 10.0

ID = p.Parameter("id", f"Only this document of `namespace`. {p.ID.description}", p.ID.read, "a document's id")
RECORDED = p.Parameter(
    "recorded",
    "So many of what is recorded already come first.",
    p.whole(0, 1000),
    "a number from 0 to 1000",
    {"type": "integer", "minimum": 0, "maximum": 1000, "default": 0},
)
MODE = p.Parameter(
    "mode",
    "How values are written; an event stream has no other way to ask for it.",
    p.one_of("relaxed", "canonical"),
    "relaxed or canonical",
    {"type": "string", "enum": ["relaxed", "canonical"], "default": "relaxed"},
)
PARAMETERS = (p.ABOUT, ID, p.FIELD, p.OPERATION, p.ACTOR, p.REASON, p.REQUEST, RECORDED, MODE)


class Sent(NamedTuple):
    """An event that the hub has passed to its clients.

    Attributes:
        size: size of its history document in bytes.
        completed: it was passed on before, and has now got its actor.
        came_at: time of arrival in seconds of the monotonic clock.
        told: the encoded message, by whether values are canonical; made when first needed.
    """

    number: int
    event: Event
    size: int
    completed: bool
    came_at: float
    told: dict[bool, bytes]

    def message(self, hub: str, *, canonical: bool) -> bytes:
        """The message for clients that may read the whole event."""
        found = self.told.get(canonical)
        if found is None:
            found = self.told[canonical] = message(hub, self.kind, self.event, canonical=canonical)
        return found

    @property
    def kind(self) -> int:
        """Distinguishes the two messages of an event: new, and completed."""
        return _COMPLETED if self.completed else _NEW


_OF_HISTORY, _NEW, _COMPLETED = range(3)


def message(hub: str, sent: int, event: Event, *, canonical: bool) -> bytes:
    """An event as it is sent.

    Args:
        hub: name of the hub that buffers it.
        sent: `_NEW`, `_COMPLETED`, or that it is read from history. The id contains no sequence number, which would
            reveal the number of events that others may read.
    """
    kind = "gap" if gaps.is_operation(event.operation) else "change"
    text = wire.dumps(wire.event_tree(event), canonical=canonical)
    return f"id: {hub}-{sent}-{bytes(event.id).hex()}\nevent: {kind}\ndata: {text}\n\n".encode()


_OF_ACTOR = {"actor": "id", "reason": "reason", "request": "request"}
"""Name in a request to the attribute of an actor."""


class Beat(Enum):
    """A keep-alive message for idle connections."""

    BEAT = "beat"


@dataclass(eq=False, slots=True)
class Follower:
    """A client that follows.

    Attributes:
        selection: the events that it follows.
        may_read: returns whether it may read a namespace. Other events are not queued at all: even a delay would reveal
            that there was one.
        queue: the waiting events, `BEAT` now and then, None at the end.
    """

    selection: Selection
    may_read: Callable[[str], bool]
    queue: asyncio.Queue[Sent | Beat | None] = field(default_factory=asyncio.Queue)
    _key: Any = None
    _who: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        asked = ((name, getattr(self.selection, name)) for name in ("actor", "reason", "request"))
        self._who = {_OF_ACTOR[name]: key_of(to_raw(wanted)) for name, wanted in asked if wanted is not None}
        if self.selection.document_id is not ABSENT:
            self._key = key_of(to_raw(self.selection.document_id))

    def concerns(self, sent: Sent) -> bool:
        """Whether the client follows an event."""
        wanted, event = self.selection, sent.event
        if sent.completed and not self._who:
            return False
        if gaps.is_operation(event.operation):
            return wanted.namespace is None or gaps.concerns_namespace(gaps.view(event), wanted.namespace)
        if event.namespace != wanted.namespace and (wanted.namespace is not None or not self.may_read(event.namespace)):
            return False
        if wanted.operations and event.operation not in wanted.operations:
            return False
        if self._key is not None and (event.document_id is ABSENT or key_of(to_raw(event.document_id)) != self._key):
            return False
        return self._was_by_them(event) and bool(wanted.verdict(event))

    def _was_by_them(self, event: Event) -> bool:
        actor = event.actor
        return all(
            actor is not None and (said := getattr(actor, name)) is not None and key_of(to_raw(said)) == wanted
            for name, wanted in self._who.items()
        )


class Hub:
    """Follows the history for all clients. Its methods are called from the event loop."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.name = secrets.token_hex(4)
        self._followers: set[Follower] = set()
        self._remembered: deque[Sent] = deque()
        self._bytes = 0
        self._number = 0
        self._stop = threading.Event()
        self._open = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._beating: asyncio.TimerHandle | None = None

    @property
    def followers(self) -> int:
        """Number of clients that follow."""
        return len(self._followers)

    async def join(self, follower: Follower, after: tuple[int, bytes] | None) -> list[Sent] | None:
        """Pass new events to a client from now on.

        Args:
            follower: the client.
            after: the last event that it received from this hub, and its kind; None: none.

        Returns:
            That event and all later ones, if it is still buffered; None: it is not.

        Raises:
            watcher.web.problems.Problem: the history cannot be followed at the moment.
        """
        if self._thread is None:
            loop = asyncio.get_running_loop()
            self._beating = loop.call_later(_HEARTBEAT_S, self._beat, loop)
            self._thread = threading.Thread(target=self._follow, args=(loop,), name="follow", daemon=True)
            self._thread.start()
        try:
            await asyncio.wait_for(self._open.wait(), _OPENING_S)
        except TimeoutError:
            raise problems.Problem(
                HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "the history cannot be followed at the moment"
            ) from None
        self._followers.add(follower)
        if after is None:
            return None
        its = (each.number for each in self._remembered if (each.kind, bytes(each.event.id)) == after)
        number = next(its, None)
        return [sent for sent in self._remembered if sent.number >= number] if number is not None else None

    def leave(self, follower: Follower) -> None:
        """Pass no more events to a client."""
        self._followers.discard(follower)

    def close(self) -> None:
        """End, and disconnect all clients."""
        self._stop.set()
        if self._beating is not None:
            self._beating.cancel()
        for follower in self._followers:
            follower.queue.put_nowait(None)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        for follower in self._followers:
            follower.queue.put_nowait(Beat.BEAT)
        self._beating = loop.call_later(_HEARTBEAT_S, self._beat, loop)

    def _hand_out(self, events: list[tuple[Event, int, bool]]) -> None:
        for event, size, completed in events:
            self._number += 1
            sent = Sent(self._number, event, size, completed, time.monotonic(), {})
            self._remembered.append(sent)
            self._bytes += size
            while len(self._remembered) > _REMEMBERED or self._bytes > _REMEMBERED_BYTES:
                self._bytes -= self._remembered.popleft().size
            for follower in [each for each in self._followers if each.concerns(sent)]:
                follower.queue.put_nowait(sent)
                if follower.queue.qsize() > _WAITING:
                    self._let_go(follower)

    def _let_go(self, follower: Follower) -> None:
        self.leave(follower)
        while not follower.queue.empty():
            follower.queue.get_nowait()
        follower.queue.put_nowait(None)

    def _lost(self) -> None:
        """Disconnect all clients after lost events: they reconnect, and read these from history."""
        self._open.clear()
        self._remembered.clear()
        self._bytes = 0
        self._number += 1
        for follower in list(self._followers):
            self._let_go(follower)

    def _follow(self, loop: asyncio.AbstractEventLoop) -> None:
        token: Any = None
        while not self._stop.is_set():
            try:
                for events, after in self._reader.new_events(self._stop, token):
                    token = after
                    if events is None:
                        loop.call_soon_threadsafe(self._open.set)
                    elif events:
                        loop.call_soon_threadsafe(self._hand_out, events)
            except (PyMongoError, HistoryError) as error:
                log.warning("the history cannot be followed, trying again", error=name_of(error))
                if classify(error) is not Verdict.TRANSIENT:
                    token = None
                    loop.call_soon_threadsafe(self._lost)
                self._stop.wait(_AGAIN_S)


async def follow(request: Request) -> Response:
    """Answer a request to follow."""
    given = p.read(request, PARAMETERS)
    accept = request.headers.get("accept", "*/*")
    if not any(wanted in accept for wanted in (MEDIA_TYPE, "text/*", "*/*")):
        raise problems.Problem(HTTPStatus.NOT_ACCEPTABLE, "not-acceptable", f"accept {MEDIA_TYPE}")
    asker: Asker = request.app.state.asker
    hub: Hub = request.app.state.hub
    if hub.followers >= asker.limits.followers:
        raise problems.busy()

    def choose(history: VisibleHistory) -> Selection:
        namespace, document_id = given.get("namespace"), given.get("id", ABSENT)
        if namespace is not None:
            history.recorded(namespace)
        elif document_id is not ABSENT:
            raise problems.wrong_request("id: a document's id means something only within a namespace")
        if isinstance(document_id, p.OfEvent):
            event = history.event(document_id.event_id)
            if event.namespace != namespace or event.document_id is ABSENT:
                raise problems.not_found()
            document_id = event.document_id
        who = {name: given.get(name) for name in _OF_ACTOR}
        return Selection(namespace, document_id, given.get("field"), operations=given.get("operation", ()), **who)

    if request.method == "HEAD":
        await asker.ask(request, choose)
        return Response(media_type=MEDIA_TYPE, headers=_HEADERS)
    last = _last_event_id(request.headers.get("last-event-id", ""))
    follower = Follower(await asker.ask(request, choose), request.state.visitor.may_read)
    known = await hub.join(follower, last[1:] if last is not None and last[0] == hub.name else None)
    canonical = given.get("mode") == "canonical"
    feed = _Feed(request, hub, follower, canonical=canonical)
    events = feed.all(known, last[2] if last is not None else None, given.get("recorded", 0))
    return StreamingResponse(events, media_type=MEDIA_TYPE, headers=_HEADERS)


class _Feed:
    """The messages for one client."""

    def __init__(self, request: Request, hub: Hub, follower: Follower, *, canonical: bool) -> None:
        self._request = request
        self._hub = hub
        self._follower = follower
        self._canonical = canonical
        self._asker: Asker = request.app.state.asker
        self._access = Holding(request)
        self._access_log: AccessLog | None = request.app.state.access_log

    async def all(self, known: list[Sent] | None, after: bytes | None, recorded: int) -> AsyncIterator[bytes]:
        """The buffered events, those read from history, then the new ones."""
        try:
            yield f"retry: {_RETRY_MS}\n\n".encode()
            if known is not None and await self._shown(known[0]) is None:
                known = None  # what they may not read is not remembered for them either
            seen: deque[bytes] = deque(maxlen=2 * _WAITING)  # more of them cannot wait already
            if known is None and (after is not None or recorded):
                async for event in self._recorded(after, recorded):
                    if not self._access.holds():
                        return
                    seen.append(bytes(event.id))
                    yield message(self._hub.name, _OF_HISTORY, event, canonical=self._canonical)
            missed = [sent for sent in known[1:] if self._follower.concerns(sent)] if known is not None else []
            async for sent in self._as_they_are(missed):
                if (told := await self._told(sent)) is not None:
                    yield told
            had = frozenset(seen)
            async for some, is_quiet in self._new():
                new = self._as_they_are([each for each in some if each.event.id not in had])
                messages = [told async for each in new if (told := await self._told(each)) is not None]
                if messages or is_quiet:
                    yield b"".join(messages) if messages else b":\n\n"
        finally:
            self._hub.leave(self._follower)

    async def _new(self) -> AsyncIterator[tuple[list[Sent], bool]]:
        """The new events, and whether a keep-alive message is due.

        Ends when the client is disconnected, or may not read any more.
        """
        queue = self._follower.queue
        while True:
            waiting = [await queue.get()]
            while not queue.empty():
                waiting.append(queue.get_nowait())
            if not self._access.holds():
                return
            yield [each for each in waiting if isinstance(each, Sent)], Beat.BEAT in waiting
            if None in waiting:
                return

    async def _as_they_are(self, some: list[Sent]) -> AsyncIterator[Sent]:
        """Events read again from history unless they have just arrived; without those that no longer exist."""
        for start in range(0, len(some), _READ_AT_ONCE):
            piece = some[start : start + _READ_AT_ONCE]
            until = time.monotonic() - _FRESH_S
            ids = [bytes(sent.event.id) for sent in piece if sent.came_at < until]
            now = await self._asker.ask(self._request, partial(_events, ids)) if ids else {}
            for sent in piece:
                if sent.came_at >= until:
                    yield sent
                elif (event := now.get(bytes(sent.event.id))) is not None:
                    again = sent._replace(event=event, told={})
                    if self._follower.concerns(again):
                        yield again

    async def _told(self, sent: Sent) -> bytes | None:
        """The message of an event for this client; None: it is not sent."""
        event = sent.event
        shown = await self._shown(sent)
        if shown is None:
            return None
        if shown is not event:
            return message(self._hub.name, sent.kind, shown, canonical=self._canonical)
        if self._access_log is not None and event.document_id is not ABSENT:
            self._access_log.note(self._request, [(event.namespace, event.document_id)])
        return sent.message(self._hub.name, canonical=self._canonical)

    async def _shown(self, sent: Sent) -> Event | None:
        """An event as this client may read it; None: it may not."""
        visitor, event = self._request.state.visitor, sent.event
        if visitor.reads_everything:
            return event
        if gaps.is_operation(event.operation):
            return await self._asker.ask(self._request, lambda history: history.shown(event))
        return self._asker.visible(visitor).shown(event)

    async def _recorded(self, after: bytes | None, recorded: int) -> AsyncIterator[Event]:
        """The events recorded since an event, oldest first, or the last events; read in a thread, in batches."""
        selection = self._follower.selection
        found: deque[Event] = deque()

        def read(history: VisibleHistory) -> Iterator[bytes]:
            if after is not None:
                seconds, increment = int.from_bytes(after[:4], "big"), int.from_bytes(after[4:8], "big")
                since = replace(selection, since=Timestamp(seconds, increment))
                events = history.events(since, newest_first=False)
            else:
                events = reversed(list(history.events(selection, limit=recorded)))
            for event in chain(events):
                found.append(event)
                yield b"."

        async for _ in self._asker.stream(self._request, read):
            yield found.popleft()


def _events(ids: list[bytes], history: VisibleHistory) -> dict[bytes, Event]:
    return history.reader.events(ids)


def _last_event_id(text: str) -> tuple[str, int, bytes] | None:
    """The hub, the kind and the event of a message id; None: it is not an id of this program."""
    hub, _, rest = text.partition("-")
    number, _, event_id = rest.partition("-")
    if not number.isdecimal() or not number.isascii() or len(event_id) != 32:  # noqa: PLR2004 - digits of an id
        return None
    try:
        return hub, int(number), bytes.fromhex(event_id)
    except ValueError:
        return None
