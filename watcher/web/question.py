"""One question to the history, and how it is stopped when nobody waits for the answer any more."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from pymongo.errors import PyMongoError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pymongo import MongoClient

    T = TypeVar("T")


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


class Question:
    """What one request asks the history. It runs in one thread, and is cancelled from another.

    Attributes:
        documents: of which something was given out, for the access log.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Any = None
        self._cursors: dict[int, Any] = {}
        self._cancelled = threading.Event()
        self.documents: list[tuple[str, Any]] = []

    def check(self) -> None:
        """Go on only if somebody waits for the answer.

        Raises:
            ClientGoneError: nobody does.
        """
        if self._cancelled.is_set():
            raise ClientGoneError

    def each(self, rows: Iterable[T]) -> Iterator[T]:
        """The rows, as long as somebody waits for them."""
        for row in rows:
            self.check()
            yield row

    def begins(self, session: Any, cursors: Iterable[int] = ()) -> None:
        """A command is sent to the server.

        Args:
            session: in which it runs.
            cursors: ids of those that it goes on with, or closes.
        """
        with self._lock:
            self._session = session
            for each in cursors:
                self._cursors.pop(each, None)

    def ends(self, cursor: int = 0) -> None:
        """The command is answered. While it is being killed this waits, so no other question gets its session.

        Args:
            cursor: id of the one that it has left open; 0: none.
        """
        with self._lock:
            if cursor:
                self._cursors[cursor] = self._session
            self._session = None

    def cancel(self, client: MongoClient[Any]) -> None:
        """Stop it, and what the server does or keeps for it: the command under way, and open cursors."""
        self._cancelled.set()
        with self._lock:
            sessions = [self._session, *self._cursors.values()]
            found = {bytes(session["id"]): session for session in sessions if session is not None}
            self._cursors.clear()
            if found:
                with suppress(PyMongoError):
                    client.admin.command("killSessions", list(found.values()))
