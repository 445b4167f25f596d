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

    def begins(self, session: Any) -> None:
        """A command is sent to the server."""
        with self._lock:
            self._session = session

    def ends(self) -> None:
        """The command is answered. While it is being killed this waits, so no other question gets its session."""
        with self._lock:
            self._session = None

    def cancel(self, client: MongoClient[Any]) -> None:
        """Stop it, and what the server does for it."""
        self._cancelled.set()
        with self._lock:
            if self._session is not None:
                with suppress(PyMongoError):
                    client.admin.command("killSessions", [self._session])
