"""The queries of one request, and how they are cancelled when the client has disconnected."""

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
    """The client has disconnected."""


class Question:
    """The queries of one request. They run in one thread, and are cancelled from another.

    Attributes:
        documents: namespace and `_id` of the documents in the answer, for the access log.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Any = None
        self._cursors: dict[int, Any] = {}
        self._cancelled = threading.Event()
        self.documents: list[tuple[str, Any]] = []

    def check(self) -> None:
        """Raise if the request was cancelled.

        Raises:
            ClientGoneError: it was.
        """
        if self._cancelled.is_set():
            raise ClientGoneError

    def each(self, rows: Iterable[T]) -> Iterator[T]:
        """The rows, with a check for cancellation before each."""
        for row in rows:
            self.check()
            yield row

    def begins(self, session: Any, cursors: Iterable[int] = ()) -> None:
        """Note that a command is sent to the server.

        Args:
            session: the session of the command.
            cursors: ids of the cursors that it continues or closes.
        """
        with self._lock:
            self._session = session
            for each in cursors:
                self._cursors.pop(each, None)

    def ends(self, cursor: int = 0) -> None:
        """Note that the command is answered. Waits while it is being killed, so that no other request gets its session.

        Args:
            cursor: id of the cursor that stays open; 0: none.
        """
        with self._lock:
            if cursor:
                self._cursors[cursor] = self._session
            self._session = None

    def cancel(self, client: MongoClient[Any]) -> None:
        """Cancel the queries, and on the server the running command and the open cursors."""
        self._cancelled.set()
        with self._lock:
            sessions = [self._session, *self._cursors.values()]
            found = {bytes(session["id"]): session for session in sessions if session is not None}
            self._cursors.clear()
            if found:
                with suppress(PyMongoError):
                    client.admin.command("killSessions", list(found.values()))
