"""Following: nothing missed between what is recorded and what comes, nothing twice."""

from __future__ import annotations

import threading
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import pytest
from bson import Timestamp

from change_history import Selection
from change_history.reader import Reader
from models import ABSENT, ChangeModel, HistoryModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database


def record(database: Database[Any], number: int, document_id: Any = 1, field: str = "n") -> None:
    """Write down one event, as the daemon would."""
    token = b"token%d-%s" % (number, repr(document_id).encode())
    database.history.insert_one(
        HistoryModel(
            id=number.to_bytes(8, "big") + blake2b(token, digest_size=8).digest(),
            namespace="shop.users",
            document_id=document_id,
            operation="update",
            cluster_time=Timestamp(0, number),
            changes=[ChangeModel(field=field, old_value=ABSENT, new_value=number)],
            resume_token=token,
        ).to_mongo()
    )


@pytest.fixture
def history(database: Database[Any], replica_set_uri: str) -> Iterator[Reader]:
    """An empty history with its indexes."""
    database.history.create_index([("namespace", 1), ("document_id", 1), ("_id", 1)])
    database.history.create_index([("namespace", 1), ("_id", 1)])
    with Reader.connect(replica_set_uri, database.name) as connected:
        yield connected


def number(stored: Any) -> int:
    """Which event it is."""
    return int.from_bytes(stored["_id"][:8], "big")


def test_nothing_is_missed_or_repeated_where_the_recorded_meets_the_new(
    history: Reader, database: Database[Any]
) -> None:
    """A writer that never pauses, also below the events already read, as an unordered batch may."""
    for n in range(1000, 1100):
        record(database, n)
    stop, stop_writing = threading.Event(), threading.Event()
    written: list[int] = []

    def write() -> None:
        for n in range(100):
            if stop_writing.is_set():
                return
            for new in (500 + n, 2000 + n):
                record(database, new)
                written.append(new)

    writer = threading.Thread(target=write)
    seen: list[int] = []
    following = history.follow_stored(Selection("shop.users", 1), stop=stop)
    try:
        for stored in following:
            if not seen:
                writer.start()
            seen.append(number(stored))
            if len(seen) == 300:
                stop.set()
    finally:
        stop_writing.set()
        writer.join()

    assert sorted(seen) == sorted([*range(1000, 1100), *written])
    assert len(set(seen)) == len(seen) == 300


def test_only_what_was_asked_for_comes(history: Reader, database: Database[Any]) -> None:
    """Other documents, other fields, and the older of the recorded ones stay away."""
    stop = threading.Event()
    for n in range(1, 6):
        record(database, n)
    following = history.follow_stored(Selection("shop.users", 1, field="address"), stop=stop, limit=2)
    record(database, 6, field="address.city")
    record(database, 7, field="address")

    assert [number(next(following)) for _ in range(2)] == [6, 7]
    record(database, 8, document_id="1", field="address")
    record(database, 9, field="addresses")
    record(database, 10, document_id=1.0, field="address.zip")
    assert number(next(following)) == 10
    stop.set()
    assert list(following) == []


def test_a_quiet_history_still_lets_go(history: Reader) -> None:
    """`stop` is noticed without an event."""
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()

    assert list(history.follow_stored(Selection("shop.users"), stop=stop)) == []
