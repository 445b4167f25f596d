"""Intents: records of the transactions that revert documents, stored before the commit, so that a log can mark them.

Only its events prove that a transaction was committed. An intent without a committed transaction, because the process
ended before, has no effect; `unsettled` finds these, and `settle` notes their outcome.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary, Int64, Timestamp
from pymongo import WriteConcern
from pymongo.errors import OperationFailure, PyMongoError

from change_history import server_codes
from change_history.bson import raw
from change_history.bson.values import ABSENT, document_to_python, to_python
from change_history.query import transactions
from change_history.query.transactions import SessionName
from change_history.reconstruct.trust import recorded_until
from change_history.revert.errors import NotAllowedError
from change_history.stored.event import Transaction
from change_history.stored.names import ABANDONED, DONE, INTENDED, REVERTS
from change_history.stored.reading import RAW, as_query, history_collection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bson.raw_bson import RawBSONDocument
    from pymongo.database import Database

    from change_history.contexts import Acting
    from change_history.reconstruct.point_in_time import PointInTime
    from change_history.revert.writes import Write
    from change_history.stored.event import Event

LIFETIME_S = 60
"""Seconds for which a server lets a transaction be open, by default (`transactionLifetimeLimitSeconds`)."""

_MOST_NAMED = 1000
_UUID_BYTES = 16


class Purpose(NamedTuple):
    """The request that a revert carries out.

    Attributes:
        to: the requested point in time; None: a transaction is undone.
        undone: the transaction to undo.
        fields: those that were asked for; none: all.
        forced: whether conflicts are overwritten.
        keep_withheld: whether withheld values are left as they are, instead of refusing the document.
    """

    to: PointInTime | None = None
    undone: Transaction | None = None
    fields: tuple[str, ...] = ()
    forced: bool = False
    keep_withheld: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRevert:
    """A revert as stored. The attributes have the names and meanings of the stored fields.

    Attributes:
        id: its transaction: the 16 bytes of the session's UUID and the number as 8 bytes, big-endian.
        state: `intended`, `done` or `abandoned`.
        to: the requested point in time: a date, a timestamp (a cluster time), or a version number.
        undone: or instead, `session` and `number` of the transaction to undo.
        fields: those that were asked for; none: all.
        forced: whether conflicts were to be overwritten.
        by: who reverted, as in the context document of the transaction: `actor`, `reason`, `request`.
        documents: namespace and `_id` of the documents written, the first 1,000 at most.
        count: the number of documents written.
        begun_at: when it began, by the clock of the reverting process.
        cluster_time: that of the deployment, before the commit.
    """

    id: bytes
    state: str
    to: Any = ABSENT
    undone: Any = ABSENT
    fields: tuple[str, ...] = ()
    forced: bool = False
    by: Any = ABSENT
    documents: Any = ABSENT
    count: int
    begun_at: datetime
    cluster_time: Timestamp


def to_revert(stored: RawBSONDocument | bytes) -> RecordedRevert:
    """The revert of a stored document, its values exact to the BSON type."""
    found = document_to_python(stored)
    return RecordedRevert(
        id=found["_id"],
        state=found["state"],
        to=found.get("to", ABSENT),
        undone=found.get("undone", ABSENT),
        fields=tuple(found.get("fields", ())),
        forced=found.get("forced", False),
        by=found.get("by", ABSENT),
        documents=found.get("documents", ABSENT),
        count=found["count"],
        begun_at=found["begun_at"],
        cluster_time=found["cluster_time"],
    )


class Unsettled(NamedTuple):
    """An intent that was never confirmed.

    Attributes:
        state: `done`: its events are in history; `abandoned`: they are not, and would be by now; `intended`: history
            is not recorded so far yet.
    """

    revert: RecordedRevert
    state: str


class Intents:
    """Writes and settles the intents in the collection of reverts."""

    def __init__(self, database: Database[Any]) -> None:
        self._database = database
        self._reverts = database.get_collection(REVERTS, codec_options=RAW, write_concern=WriteConcern("majority"))

    def intend(
        self,
        transaction: Transaction,
        purpose: Purpose,
        writes: Sequence[Write],
        now: Timestamp,
        by: Acting | None = None,
    ) -> None:
        """Store what a transaction is going to do.

        Args:
            transaction: the open transaction.

        Raises:
            NotAllowedError: the user may not write to the history database.
        """
        found: dict[str, Any] = {"_id": id_of(transaction), "state": INTENDED}
        if purpose.undone is not None:
            found["undone"] = {"session": purpose.undone.session, "number": Int64(purpose.undone.number)}
        else:
            found["to"] = Int64(purpose.to) if isinstance(purpose.to, int) else purpose.to
        if purpose.fields:
            found["fields"] = list(purpose.fields)
        if purpose.forced:
            found["forced"] = True
        found["documents"] = [
            {"namespace": write.namespace, "document_id": to_python(write.raw_id)} for write in writes[:_MOST_NAMED]
        ]
        if by is not None:
            found["by"] = by.document()
        found |= {"count": len(writes), "begun_at": datetime.now(UTC), "cluster_time": now}
        try:
            self._reverts.insert_one(as_query(found))
        except OperationFailure as error:
            if error.code != server_codes.UNAUTHORIZED:
                raise
            name = self._database.name
            raise NotAllowedError(
                f"the revert itself is written down in {name}, and the user of the history may not write there: "
                f"give it the role readWrite on {name}"
            ) from error

    def withdraw(self, transaction: Transaction) -> None:
        """Delete an intent whose transaction was not committed. Failures are ignored: a leftover does no harm."""
        with suppress(PyMongoError):
            self._reverts.delete_one({"_id": id_of(transaction)})

    def done(self, transaction: Transaction) -> None:
        """Mark a transaction as committed. Failures are ignored: its events prove it as well."""
        with suppress(PyMongoError):
            self._mark(id_of(transaction), DONE)

    def unsettled(self) -> list[Unsettled]:
        """The intents that were never confirmed, with their outcomes. Each is from a process that ended too early."""
        found = [to_revert(stored) for stored in self._reverts.find({"state": INTENDED})]
        return [Unsettled(revert, self._became(revert)) for revert in found]

    def settle(self, unsettled: Sequence[Unsettled]) -> None:
        """Store the outcomes that are known."""
        for revert, state in unsettled:
            if state != INTENDED:
                self._mark(revert.id, state)

    def _mark(self, revert_id: bytes, state: str) -> None:
        self._reverts.update_one({"_id": Binary(revert_id)}, {"$set": {"state": state}})

    def _became(self, revert: RecordedRevert) -> str:
        name = SessionName(bytes(revert.id)[:_UUID_BYTES].hex(), int.from_bytes(revert.id[_UUID_BYTES:], "big"))
        query = as_query(transactions.session_query(name))
        history = history_collection(self._database)
        if history.find_one(query, {"_id": 1}, hint=transactions.TRANSACTIONS) is not None:
            return DONE
        reached = recorded_until(self._database, revert.documents[0]["namespace"])
        over = Timestamp(revert.cluster_time.time + LIFETIME_S, 0)
        return ABANDONED if reached is not None and reached > over else INTENDED


def id_of(transaction: Transaction) -> Binary:
    """The `_id` of a transaction's revert: its session's UUID and its number."""
    return Binary(bytes(transaction.session["id"]) + int(transaction.number).to_bytes(8, "big"))


_SLACK = timedelta(minutes=1)
"""How far the reader's clock and an event's may differ."""


class Reverts:
    """Identifies the events of reverts. Reverts are few: their ids are read once, only newer ones are looked up."""

    def __init__(self, database: Database[Any]) -> None:
        self._reverts = database.get_collection(REVERTS, codec_options=RAW)
        self._known: dict[bytes, bytes | None] | None = None
        self._read_at = datetime.now(UTC)

    def of(self, event: Event) -> RecordedRevert | None:
        """The revert that an event belongs to; None: it is no revert's."""
        if event.transaction is None:
            return None
        found = self._find(event.transaction.session, int(event.transaction.number), event.timestamp)
        return to_revert(found) if found is not None else None

    def of_stored(self, stored: RawBSONDocument) -> bytes | None:
        """The revert, as BSON, that a stored history document belongs to; None: it is no revert's."""
        data = bytes(stored.raw)
        fields = raw.fields(data) if b"transaction" in data else {}
        if b"transaction" not in fields:
            return None
        transaction = to_python(fields[b"transaction"])
        return self._find(transaction["session"], int(transaction["number"]), to_python(fields[b"timestamp"]))

    def _find(self, session: Any, number: int, when: Any) -> bytes | None:
        uuid = session.get("id") if isinstance(session, dict) else None
        if not isinstance(uuid, bytes):
            return None
        identity = id_of(Transaction(session, number))
        revert_id = bytes(identity)  # a Binary equals no bytes
        if self._known is None:
            self._known = {bytes(found["_id"]): None for found in self._reverts.find({}, {"_id": 1})}
        if revert_id not in self._known and not self._is_new(when):
            return None
        found = self._known.get(revert_id)
        if found is None and (stored := self._reverts.find_one({"_id": identity}, {"documents": 0})) is not None:
            found = self._known[bytes(revert_id)] = bytes(stored.raw)
        return found

    def _is_new(self, when: Any) -> bool:
        return not isinstance(when, datetime) or when > self._read_at - _SLACK
