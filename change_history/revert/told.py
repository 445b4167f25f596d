"""Which recorded events are a revert's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from change_history.bson import raw
from change_history.bson.values import to_python
from change_history.revert.intents import RecordedRevert, id_of, to_revert
from change_history.stored.event import Transaction
from change_history.stored.names import REVERTS
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from bson.raw_bson import RawBSONDocument
    from pymongo.database import Database

    from change_history.stored.event import Event

_SLACK = timedelta(minutes=1)
"""How far the clock of who reads and that of an event may be apart."""


class Reverts:
    """Tells reverts from other writes. There are few, so their ids are read once; only newer ones are asked for singly.

    Args:
        database: the history database.
    """

    def __init__(self, database: Database[Any]) -> None:
        self._reverts = database.get_collection(REVERTS, codec_options=RAW)
        self._known: dict[bytes, bytes | None] | None = None
        self._read_at = datetime.now(UTC)

    def of(self, event: Event) -> RecordedRevert | None:
        """The revert that an event belongs to; None: it is another write.

        Raises:
            pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
        """
        if event.transaction is None:
            return None
        found = self._find(event.transaction.session, int(event.transaction.number), event.timestamp)
        return to_revert(found) if found is not None else None

    def of_stored(self, stored: RawBSONDocument) -> bytes | None:
        """The same of a stored history document, as BSON. Raises as `of` does."""
        fields = raw.fields(bytes(stored.raw))
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
