"""History of the test's own making: entries at any time, in any order, with any clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from bson import Timestamp
from bson.raw_bson import RawBSONDocument

from change_history.bson.values import to_raw
from models import ABSENT, ChangeModel, HistoryModel

START = 1_700_000_000


def at(seconds: float) -> datetime:
    """So many seconds after the beginning."""
    return datetime.fromtimestamp(START, UTC) + timedelta(seconds=seconds)


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
