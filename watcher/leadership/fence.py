"""What only the leader of a stream may say: written together with its term, or not at all.

What a daemon records of events can be written by anybody at any time: the same event is the same history. What it says
by itself, a gap or a baseline, is true only as long as it leads. No clock can see to that, since a process
may be frozen between its look at the clock and its write. So it is written in a transaction which also writes the
stream's document in `terms`, and which fails once that names a later term.

That is not the checkpoint: a transaction that its daemon leaves open, being frozen or killed, keeps what it wrote
locked until the server ends it, and the lead must change hands meanwhile.
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
        """From here on no earlier term can say anything. Safe to repeat.

        Call it before anything is read from history that is to be judged by.

        Raises:
            watcher.leadership.lease.DeposedError: a later term has said so before.
        """
        with self._lock:
            self._hold()

    def run(self, write: Callable[[ClientSession | None], T]) -> T:
        """Write something if the term still lasts, and all of it or nothing.

        Args:
            write: does so within the session it is given; it is safe to repeat, and writes nothing outside of it. A
                standalone server has no transactions, so there is none then, and no more than a look at the term.

        Raises:
            watcher.leadership.lease.DeposedError: the term is over; nothing is written.
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
        """Touch the term; False: this server has no transactions."""
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
        """Do not wait for a transaction which an earlier term has left open; its daemon may be frozen, or gone."""
        found = self._terms.find_one({"_id": self.stream, "term": {"$lt": self.term.number}}, {"session": 1})
        if found is None:
            return
        try:
            self._client.admin.command({"killSessions": [found["session"]]})
        except OperationFailure:  # another user's: then the server ends it in a minute
            return

    def _touch(self, session: ClientSession | None) -> None:
        """Write the term's document, so that no later term can be noted before this transaction is over."""
        mine = {"_id": self.stream, "term": self.term.number, "owner": self.term.owner}
        self.term.require(self._terms.update_one(mine, {"$inc": {"writes": 1}}, session=session))
