"""The claim to expire a namespace's history: only one process at a time may hold it.

The base documents that replace expired history are computed from history, and stored. If two processes expired the same
namespace and one was suspended in between, it could store bases of entries that the other has long removed. So bases
are written in one transaction with the namespace's document in `horizons`, which names the claim's holder; the
transaction fails once that names another.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from bson import ObjectId
from pymongo import ReadPreference, WriteConcern
from pymongo.errors import DuplicateKeyError, OperationFailure
from pymongo.read_concern import ReadConcern

from change_history import server_codes
from change_history.bson.cluster_time import BEGINNING_OF_TIME, ClusterTime
from change_history.stored.names import HORIZONS

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    T = TypeVar("T")

_MAJORITY = WriteConcern("majority")
_LASTS_MS = 30_000


class ClaimedError(Exception):
    """Another process holds the claim on the namespace, or has held it since."""


class Claim:
    """The right to expire the history of one namespace. It ends with the block.

    Args:
        namespace: `db.coll`.

    Raises:
        ClaimedError: on entering, another process holds it.
    """

    def __init__(self, database: Database[Any], namespace: str) -> None:
        self._client = database.client
        self._horizons = database.get_collection(HORIZONS, write_concern=_MAJORITY)
        self.namespace = namespace
        self._mine = ObjectId()
        self._session: ClientSession | None = None
        self._transactions = True
        self.horizon = self.done = BEGINNING_OF_TIME

    def __enter__(self) -> Self:
        with suppress(DuplicateKeyError):
            self._horizons.update_one({"_id": self.namespace}, {"$setOnInsert": {"events": 0}}, upsert=True)
        free = {"_id": self.namespace, "$expr": {"$lt": [{"$ifNull": ["$until", 0]}, "$$NOW"]}}
        taken = {"worker": self._mine, "until": {"$add": ["$$NOW", _LASTS_MS]}}
        found = self._horizons.find_one_and_update(free, [{"$set": taken}])
        if found is None:
            raise ClaimedError(self.namespace)
        self.horizon, self.done = _time(found.get("horizon")), _time(found.get("done"))
        self._session = self._client.start_session(causal_consistency=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._session is not None:
            self._session.end_session()
        self._horizons.update_one({"_id": self.namespace, "worker": self._mine}, {"$unset": {"worker": 1, "until": 1}})

    def announce(self, horizon: ClusterTime) -> None:
        """Announce that history before a cluster time is being removed. To be called before any of it is."""
        self._set({"horizon": horizon.timestamp})
        self.horizon = horizon

    def finish(self, events: int) -> None:
        """Note that all history before the horizon was removed.

        Args:
            events: number of entries removed.
        """
        self._set({"done": self.horizon.timestamp}, {"events": events})
        self.done = self.horizon

    def run(self, write: Callable[[ClientSession | None], T]) -> T:
        """Write atomically, and only if the claim still holds.

        Args:
            write: writes in the given session; idempotent. On a standalone server, which has no transactions, the
                session is None, and the claim is only checked before the write.

        Raises:
            ClaimedError: the claim is lost; nothing is written.
        """
        session = self._session
        while session is not None and self._transactions:
            with session.start_transaction(ReadConcern("snapshot"), _MAJORITY, ReadPreference.PRIMARY):
                if self._touched(session):
                    return write(session)
        self.renew()
        return write(None)

    def together(self, write: Callable[[ClientSession | None], object]) -> None:
        """Write in one transaction, whoever holds the claim, without waiting for a majority.

        Documents removed in one transaction make one oplog entry, and cost the server two thirds as much.

        Args:
            write: as in `run`.
        """
        if self._session is not None and self._transactions:
            try:
                self._session.with_transaction(write, write_concern=WriteConcern(1))
            except OperationFailure as error:
                self._go_without(error)
            else:
                return
        write(None)

    def renew(self, session: ClientSession | None = None) -> None:
        """Extend the claim.

        Raises:
            ClaimedError: the claim is lost.
        """
        self._set({}, session=session)

    def _touched(self, session: ClientSession) -> bool:
        """Renew the claim in a transaction; False: this server has no transactions."""
        try:
            self.renew(session)
        except OperationFailure as error:
            self._go_without(error)
            session.abort_transaction()
        return self._transactions

    def _go_without(self, error: OperationFailure) -> None:
        """Use no transactions from now on, if that is why the server refused; otherwise raise `error`."""
        if error.code != server_codes.ILLEGAL_OPERATION:
            raise error
        self._transactions = False

    def _set(
        self, values: dict[str, Any], more: dict[str, int] | None = None, session: ClientSession | None = None
    ) -> None:
        counted = {name: {"$add": [{"$ifNull": [f"${name}", 0]}, count]} for name, count in (more or {}).items()}
        change = {**values, **counted, "until": {"$add": ["$$NOW", _LASTS_MS]}}
        mine = {"_id": self.namespace, "worker": self._mine}
        if not self._horizons.update_one(mine, [{"$set": change}], session=session).matched_count:
            raise ClaimedError(self.namespace)


def _time(stored: Any) -> ClusterTime:
    return ClusterTime.of(stored) if stored is not None else BEGINNING_OF_TIME
