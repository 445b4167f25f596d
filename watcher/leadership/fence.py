"""Fencing: writes that only the leader of a stream may make, in one transaction with its term.

The history of events may be written by any daemon at any time: the same event gives the same history. But a gap or a
baseline is valid only if its writer leads. A clock cannot ensure that, since a process may be suspended between reading
the clock and writing. So such entries are written in a transaction which also writes the stream's document in `terms`,
and which fails once that names a later term.

This document is not the checkpoint: a suspended or killed daemon may leave a transaction open, which keeps its
documents locked until the server aborts it, and leadership must be able to change meanwhile.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from pymongo import ReadPreference, WriteConcern
from pymongo.errors import DuplicateKeyError, OperationFailure
from pymongo.read_concern import ReadConcern

from change_history import server_codes
from change_history.stored.names import TERMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from watcher.leadership.lease import Term

T = TypeVar("T")

_MAJORITY = WriteConcern("majority")


class Fence:
    """Writes under a term, from any thread."""

    def __init__(self, history: Database[Any], stream: str, term: Term) -> None:
        self._client = history.client
        self._terms = history.get_collection(TERMS, write_concern=_MAJORITY)
        self.stream = stream
        self.term = term
        self._lock = Lock()
        self._session: ClientSession | None = None
        self._transactions = True

    def hold(self) -> None:
        """Ensure that no earlier term can write under its fence any more. Idempotent.

        To be called before reading the history that further writes depend on.

        Raises:
            watcher.leadership.lease.DeposedError: a later term has done so before.
        """
        with self._lock:
            self._hold()

    def run(self, write: Callable[[ClientSession | None], T]) -> T:
        """Write atomically, and only if the term still lasts.

        Args:
            write: writes in the given session, and nothing outside of it; idempotent. On a standalone server, which has
                no transactions, the session is None, and the term is only checked before the write.

        Raises:
            watcher.leadership.lease.DeposedError: the term is over; nothing was written.
        """
        with self._lock:
            session = self._hold()
            while self._transactions:
                with session.start_transaction(ReadConcern("snapshot"), _MAJORITY, ReadPreference.PRIMARY):
                    if self._touched(session):
                        return write(session)
            self._touch(None)
            return write(None)

    def _touched(self, session: ClientSession) -> bool:
        """Write the term's document in the transaction; False: this server has no transactions."""
        try:
            self._touch(session)
        except OperationFailure as error:
            if error.code != server_codes.ILLEGAL_OPERATION:  # a standalone server, which may keep history, has none
                raise
            self._transactions = False
            session.abort_transaction()
        return self._transactions

    def _hold(self) -> ClientSession:
        if self._session is not None:
            return self._session
        session = self._client.start_session(causal_consistency=False)
        self._end_what_is_open()
        mine = {"term": self.term.number, "owner": self.term.owner, "session": session.session_id}
        earlier = {"_id": self.stream, "term": {"$lt": self.term.number}}
        try:
            self._terms.update_one(earlier, {"$set": mine}, upsert=True)
        except DuplicateKeyError:  # this term is there already, or a later one
            self._touch(None)
        self._session = session
        return session

    def _end_what_is_open(self) -> None:
        """Abort a transaction that an earlier term has left open; its daemon may be suspended, or dead."""
        found = self._terms.find_one({"_id": self.stream, "term": {"$lt": self.term.number}}, {"session": 1})
        if found is None:
            return
        try:
            self._client.admin.command({"killSessions": [found["session"]]})
        except OperationFailure:  # another user's session: then the server aborts it within a minute
            return

    def _touch(self, session: ClientSession | None) -> None:
        """Write the term's document, so that no later term can be noted before this transaction ends."""
        mine = {"_id": self.stream, "term": self.term.number, "owner": self.term.owner}
        self.term.require(self._terms.update_one(mine, {"$inc": {"writes": 1}}, session=session))
