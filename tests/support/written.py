"""History documents written by a test itself, without a daemon."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from uuid import UUID

from bson import Binary, Int64, Timestamp
from bson.raw_bson import RawBSONDocument

from change_history.bson.values import to_raw
from models import ABSENT, ChangeModel, HistoryModel, TransactionModel

if TYPE_CHECKING:
    from pymongo.database import Database

START = 1_700_000_000
"""Second of cluster time 0 of these tests: 2023-11-14 22:13:20 UTC."""


def change(field: str, old: Any = ABSENT, new: Any = ABSENT, **values: Any) -> ChangeModel:
    """A change of one field."""
    return ChangeModel(field=field, old_value=old, new_value=new, **values)


def transaction(session: int, number: int) -> TransactionModel:
    """A transaction; sessions differ in their first eight digits."""
    identity = Binary.from_uuid(UUID(int=(session << 96) + 7))
    return TransactionModel(session={"id": identity, "uid": b"u" * 32}, number=Int64(number))


def event_id(second: int, place: int = 0) -> bytes:
    """The id of the event of a second; `place` tells events of one cluster time apart."""
    digest = blake2b(f"{second} {place}".encode(), digest_size=8).digest()
    return (START + second).to_bytes(4, "big") + (1).to_bytes(4, "big") + digest


def stored(second: int, document_id: Any, *changes: ChangeModel, **values: Any) -> RawBSONDocument:
    """An event of a document in `shop.users`; its wall time is half a second after its cluster time."""
    place = values.pop("place", 0)
    about: dict[str, Any] = {
        "namespace": "shop.users",
        "operation": "update",
        "timestamp": datetime.fromtimestamp(START + second, UTC) + timedelta(milliseconds=500),
    }
    event = HistoryModel(
        id=event_id(second, place),
        document_id=document_id,
        cluster_time=Timestamp(START + second, 1),
        changes=list(changes),
        resume_token=f"{second:08} {place:04}".encode(),
        **(about | values),
    )
    # By our own encoder: a change may hold what the driver cannot write.
    return RawBSONDocument(to_raw(event.to_mongo().to_dict())[1])


def write(database: Database[Any], second: int, document_id: Any, *changes: ChangeModel, **values: Any) -> None:
    """Write down an event (see `stored`)."""
    database.history.insert_one(stored(second, document_id, *changes, **values))


def at(second: float) -> datetime:
    """So many seconds after the start."""
    return datetime.fromtimestamp(START, UTC) + timedelta(seconds=second)


def seconds(events: Any) -> list[int]:
    """Which events these are, by their second."""
    return [int.from_bytes(event["_id"][:4], "big") - START for event in events]
