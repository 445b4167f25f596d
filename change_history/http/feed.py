"""New events over HTTP, as `watcher serve` sends them: server-sent events."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from change_history.http import wire
from change_history.http.connection import HttpError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from http.client import HTTPResponse

    from change_history.stored.event import Event

_MOST_SEEN = 10_000
_LOOK_UP_S = 0.2
_AGAIN_S = 1.0


class Feed:
    """New events as the server sends them. A thread waits for them, so that `stop` is noticed meanwhile."""

    def __init__(self, connect: Callable[[Mapping[str, str]], HTTPResponse], stop: threading.Event) -> None:
        self._connect = connect
        self._stop = stop
        self._last: str | None = None
        self._reply: HTTPResponse | None = None

    def open(self) -> None:
        """Start the feed: it includes all that is recorded from now on."""
        again = {"Last-Event-ID": self._last} if self._last is not None else {}
        self._reply = self._connect({"Accept": "text/event-stream", **again})
        self._reply.readline()  # `retry: …` comes once the server follows

    def events(self) -> Iterator[Event]:
        """New events until stopped. A lost connection is reopened, and nothing is missed."""
        while not self._stop.is_set():
            if self._reply is None:
                try:
                    self.open()
                except HttpError as error:
                    if error.status is not None and error.kind not in {"busy", "unavailable"}:
                        raise
                    self._stop.wait(_AGAIN_S)
                    continue
            lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
            threading.Thread(target=_read_lines, args=(self._reply, lines), name="follow", daemon=True).start()
            try:
                yield from self._read(lines)
            finally:
                reply, self._reply = self._reply, None
                if reply is not None:
                    _hang_up(reply)

    def _read(self, lines: queue.SimpleQueue[bytes | None]) -> Iterator[Event]:
        said: dict[bytes, bytes] = {}
        while not self._stop.is_set():
            try:
                line = lines.get(timeout=_LOOK_UP_S)
            except queue.Empty:
                continue
            if line is None:
                return
            if line.strip():
                name, _, text = line.rstrip(b"\n").partition(b": ")
                said[name] = text
                continue
            if b"data" in said:
                self._last = said[b"id"].decode()
                yield wire.event_from(json.loads(said[b"data"]))
            said = {}


def _read_lines(reply: HTTPResponse | None, lines: queue.SimpleQueue[bytes | None]) -> None:
    try:
        for line in reply or ():
            lines.put(line)
    except (OSError, ValueError, AttributeError):
        pass  # it was hung up
    finally:
        if reply is not None:
            reply.close()
        lines.put(None)


def _hang_up(reply: HTTPResponse) -> None:
    """Shut the connection down, which ends the waiting thread."""
    with suppress(OSError, AttributeError, ValueError), socket.socket(fileno=socket.dup(reply.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)


def each_once(recorded: Iterator[Event], feed: Feed) -> Iterator[Event]:
    """The recorded events, then those of the feed that were not among them."""
    order: deque[bytes] = deque()
    seen: set[bytes] = set()

    def note(event: Event) -> None:
        order.append(event.id)
        seen.add(event.id)
        if len(order) > _MOST_SEEN:
            seen.discard(order.popleft())

    for event in recorded:
        note(event)
        yield event
    for event in feed.events():
        if event.id not in seen:
            note(event)
            yield event
