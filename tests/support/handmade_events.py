"""Change events and history documents that tests write themselves, without a server or a daemon."""

from __future__ import annotations

import datetime as dt
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from uuid import UUID

import bson
from bson import Binary, Int64, Timestamp
from bson.raw_bson import RawBSONDocument

from change_history.bson.values import to_raw
from models import ABSENT, ChangeModel, HistoryModel, TransactionModel

if TYPE_CHECKING:
    from pymongo.database import Database

TOKEN = bytes.fromhex("826B04A8F90000001F2B022C0100296E04")
WALL_TIME = dt.datetime(2026, 11, 23, 21, 0, 0, 123000, tzinfo=dt.UTC)


def an_event(operation: str, **more: Any) -> bytes:
    """An event of an operation, BSON, with its envelope."""
    return bson.encode(
        {
            "_id": {"_data": TOKEN.hex().upper()},
            "operationType": operation,
            "clusterTime": Timestamp(1_795_467_513, 31),
            "wallTime": WALL_TIME,
            "ns": {"db": "shop", "coll": "users"},
            "documentKey": {"_id": 7},
            **more,
        }
    )


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


def cluster(seconds: int, increment: int = 1) -> Timestamp:
    """A cluster time so many seconds after the beginning."""
    return Timestamp(START + seconds, increment)


def entry(
    operation: str, second: int, increment: int = 1, *, wall: float | None = None, **values: Any
) -> RawBSONDocument:
    """A stored entry.

    Args:
        operation: what happened.
        second: of its cluster time, counted from the beginning.
        increment: of its cluster time.
        wall: its wall time, in seconds from the beginning; that of its cluster time.
        values: fields of `HistoryModel`; `new` is shorthand for one change, `token` for the resume token (None: none).
    """
    token = values.pop("token", f"{second}:{increment}".encode())
    new = values.pop("new", ABSENT)
    fields: dict[str, Any] = {"namespace": "shop.users", "document_id": 1, "changes": []}
    if new is not ABSENT:
        fields["changes"] = [ChangeModel(field=name, old_value=ABSENT, new_value=value) for name, value in new.items()]
    if token is not None:
        fields["resume_token"] = token
    digest = blake2b(repr((token, operation, values)).encode(), digest_size=8).digest()
    event = HistoryModel(
        id=(START + second).to_bytes(4, "big") + increment.to_bytes(4, "big") + digest,
        operation=operation,
        timestamp=at(second if wall is None else wall),
        cluster_time=cluster(second, increment),
        **(fields | values),
    )
    return RawBSONDocument(to_raw(dict(event.to_mongo()))[1])


def inserted(second: int, document_id: Any = 1, **values: Any) -> RawBSONDocument:
    """An insert of `{_id, n: <second>}`."""
    new = {"_id": document_id, "n": second}
    return entry("insert", second, document_id=document_id, new=new, **values)


def updated(second: int, increment: int = 1, n: Any = None, **values: Any) -> RawBSONDocument:
    """An update that sets n, to the second unless it is given."""
    return entry("update", second, increment, new={"n": second if n is None else n}, **values)


def of_collection(operation: str, second: int, namespace: str = "shop.users", **values: Any) -> RawBSONDocument:
    """An event about a collection; `to` is the name that a rename gives."""
    to = values.pop("to", None)
    if to is not None:
        database, _, collection = to.partition(".")
        values["description"] = {"to": {"db": database, "coll": collection}}
    return entry(operation, second, namespace=namespace, document_id=ABSENT, **values)


def gap(since: int, until: int, *, level: int | None = None, include: str = "*.*") -> RawBSONDocument:
    """An interval of which events were lost, level again since a second, or not."""
    said = {"stream": "default", "from": cluster(since), "to": cluster(until), "cause": "a test", "include": [include]}
    said["exclude"] = []
    if level is not None:
        said |= {"level": True, "level_at": cluster(level)}
    return entry("gap", since, namespace=None, document_id=ABSENT, description=said, token=None)
