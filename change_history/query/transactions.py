"""Transactions by name: `session:number` as a log prints it, or any event of it by the beginning of its id.

A session's name is the first eight hexadecimal digits of its UUID; more of them may be given, with or without
hyphens. An event's id is 32 hexadecimal digits, the first eight of which are the second.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from bson import Binary, MaxKey
from bson.binary import UUID_SUBTYPE

from change_history.bson.values import document_to_python
from change_history.errors import HistoryError
from change_history.stored.event import Transaction
from change_history.stored.reading import as_query

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bson.raw_bson import RawBSONDocument
    from pymongo.collection import Collection

SHORT_SESSION = 8
"""Hexadecimal digits of a session's UUID in a transaction's name."""

SHORT_EVENT = 20
"""Hexadecimal digits of an event's id in its name: its cluster time and a little of the digest."""

_UUID_DIGITS = 32
_EVENT_DIGITS = 32
_LEAST_EVENT_DIGITS = 8  # one second: the range to search if it is not unique
_SESSION = re.compile(r"([0-9a-f]{4,32}):([0-9]+)")
_EVENT = re.compile(rf"[0-9a-f]{{{_LEAST_EVENT_DIGITS},{_EVENT_DIGITS}}}")
_PLACE = {"transaction": 1, "namespace": 1}

TRANSACTIONS = [("transaction.session", 1), ("transaction.number", 1), ("_id", 1)]
"""Key of the index on transactions."""


class SessionName(NamedTuple):
    """`session:number`: the beginning of the session's UUID, in lower-case hexadecimal digits, and the number."""

    digits: str
    number: int


class EventName(NamedTuple):
    """The beginning of an event's id, in lower-case hexadecimal digits."""

    digits: str


Name: TypeAlias = SessionName | EventName


class UnknownTransactionError(HistoryError, LookupError):
    """No transaction has this name; the message says why."""


class AmbiguousTransactionError(HistoryError, LookupError):
    """Several transactions, or events, have this name; the message names some of them."""


def read_name(text: str) -> Name:
    """Read the name of a transaction.

    Raises:
        ValueError: neither `session:number` nor the beginning of an event's id.
    """
    plain = text.strip().lower().replace("-", "")
    if found := _SESSION.fullmatch(plain):
        return SessionName(found[1], int(found[2]))
    if _EVENT.fullmatch(plain):
        return EventName(plain)
    raise ValueError("it is neither session:number nor the beginning of an event's id")


def name_of(transaction: Transaction, digits: int = SHORT_SESSION) -> str:
    """The name of a transaction; only its number if the session has no UUID."""
    session = transaction.session
    uuid = session.get("id") if isinstance(session, dict) else None
    number = str(int(transaction.number))
    return f"{bytes(uuid).hex()[:digits]}:{number}" if isinstance(uuid, bytes) else number


def event_name(event_id: bytes) -> str:
    """The name of an event: the beginning of its id."""
    return bytes(event_id).hex()[:SHORT_EVENT]


def find(collection: Collection[RawBSONDocument], name: Name) -> Transaction:
    """Find the transaction of a name, by the index on transactions or on `_id`.

    Args:
        name: see `read_name`.

    Raises:
        UnknownTransactionError: nothing has this name, or it is an event outside of any transaction.
        AmbiguousTransactionError: several transactions or events match the name.
    """
    if isinstance(name, EventName):
        return _of_event(collection, name.digits)
    query = session_query(name)
    index: dict[str, Any] = {"sort": TRANSACTIONS[:2], "hint": TRANSACTIONS}
    first = collection.find_one(as_query(query), _PLACE, **index)
    if first is None:
        raise UnknownTransactionError(f"no transaction {name.digits}:{name.number} is recorded")
    found = _transaction(first)
    sessions = {"$gt": found.session, "$lte": query["transaction.session"]["$lte"]}
    others = query | {"transaction.session": sessions}
    second = collection.find_one(as_query(others), _PLACE, **index)
    if second is not None:
        both = " and ".join(name_of(each, _UUID_DIGITS) for each in (found, _transaction(second)))
        raise AmbiguousTransactionError(f"several transactions are called {name.digits}:{name.number}: {both}")
    return found


def among(collection: Collection[RawBSONDocument], name: Name, namespaces: Iterable[str]) -> list[Transaction]:
    """The transactions of a name with events in some namespaces; two at most, which shows that it is ambiguous."""
    query = session_query(name) if isinstance(name, SessionName) else event_query(name)
    query |= {"transaction": {"$exists": True}, "namespace": {"$in": list(namespaces)}}
    found: list[Transaction] = []
    with collection.find(as_query(query), _PLACE) as cursor:
        for stored in cursor:
            one = _transaction(stored)
            if one not in found:
                found.append(one)
            if len(found) > 1:
                break
    return found


def session_query(name: SessionName) -> dict[str, Any]:
    """The conditions for the server: every event in a transaction of this name."""
    lowest, highest = (
        Binary(bytes.fromhex(name.digits.ljust(_UUID_DIGITS, digit)), UUID_SUBTYPE) for digit in ("0", "f")
    )
    # Documents compare field by field, and MaxKey is greater than any value.
    sessions = {"$gte": {"id": lowest}, "$lte": {"id": highest, "": MaxKey()}}
    return {"transaction": {"$exists": True}, "transaction.session": sessions, "transaction.number": name.number}


def event_query(name: EventName) -> dict[str, Any]:
    """The conditions for the server: every event whose id begins with the name."""
    lowest, highest = (bytes.fromhex(name.digits.ljust(_EVENT_DIGITS, digit)) for digit in ("0", "f"))
    return {"_id": {"$gte": lowest, "$lte": highest}}


def _of_event(collection: Collection[RawBSONDocument], digits: str) -> Transaction:
    query = event_query(EventName(digits))
    first = collection.find_one(as_query(query), _PLACE, sort=[("_id", 1)])
    if first is None:
        raise UnknownTransactionError(f"no event's id begins with {digits}")
    if "transaction" not in first:
        of_transactions = query | {"transaction": {"$exists": True}}
        other = collection.find_one(as_query(of_transactions), _PLACE, sort=[("_id", 1)])
        if other is None:
            raise UnknownTransactionError(f"event {bytes(first['_id']).hex()} belongs to no transaction")
    else:
        mine = first["transaction"]
        # Its fields always have the same order, so it can be compared as a whole.
        other = collection.find_one(as_query(query | {"transaction": {"$ne": mine}}), _PLACE, sort=[("_id", 1)])
    if other is not None:
        both = " and ".join(bytes(each["_id"]).hex() for each in (first, other))
        raise AmbiguousTransactionError(f"events with different transactions have ids that begin with {digits}: {both}")
    return _transaction(first)


def _transaction(stored: RawBSONDocument) -> Transaction:
    found = document_to_python(stored)["transaction"]
    return Transaction(found["session"], int(found["number"]))
