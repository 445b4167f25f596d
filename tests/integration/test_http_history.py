"""`History.connect("http://…")` answers as `History` on the deployment does."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from bson import Decimal128, Int64, ObjectId

from change_history import History, HttpError, NoSuchVersionError, UnknownTransactionError
from change_history.bson.values import to_raw
from change_history.http.history import NotOverHttpError
from tests.support.daemon import eventually
from tests.support.recording import Recording
from tests.support.web import Served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo import MongoClient

FIRST = ObjectId()


class Both:
    """The same history, directly and over HTTP."""

    def __init__(self, name: str, direct: History, http: History, recording: Recording) -> None:
        self.name = name
        self.direct = direct
        self.http = http
        self.recording = recording


@pytest.fixture(scope="module")
def both(client: MongoClient[Any], replica_set_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """A few documents with a past."""
    folder = tmp_path_factory.mktemp("served")
    name = f"http_{time.time_ns()}"
    shop = client[name]
    with Recording(client, name) as recording:
        shop.create_collection("orders", changeStreamPreAndPostImages={"enabled": True})
        shop.orders.insert_one({"_id": FIRST, "price": Decimal128("1.10"), "tags": ["a", "b"], "x": {"$oid": "y"}})
        shop.orders.update_one(
            {"_id": FIRST}, {"$set": {"price": Decimal128("2"), "n": Int64(1)}, "$pull": {"tags": "a"}}
        )
        with client.start_session() as session, session.start_transaction():
            shop.orders.insert_one({"_id": "second/…", "n": None}, session=session)
        shop.orders.delete_one({"_id": "second/…"})
        recording.catch_up()
        direct = History(client, recording.history.name)
        with (
            Served(folder / "log", uri=replica_set_uri, history_database=recording.history.name) as served,
            History.connect(served.url) as http,
        ):
            yield Both(name, direct, http, recording)
    client.drop_database(name)


def test_events_are_the_same(both: Both) -> None:
    """However they are asked for."""
    orders, (first, *_, last) = f"{both.name}.orders", both.direct.log(f"{both.name}.orders")
    transaction = both.direct.transaction(next(both.direct.log(orders, "second/…")).id.hex())
    asked: list[dict[str, Any]] = [
        {},
        {"limit": 2},
        {"limit": 2, "reverse": True},
        {"reverse": True},
        {"document_id": FIRST},
        {"document_id": "second/…", "operation": "delete"},
        {"field": "tags", "document_id": FIRST},
        {"changed_to": Decimal128("2")},
        {"changed_from": Decimal128("1.10"), "field": "price"},
        {"since": last.timestamp},
        {"until": first.cluster_time},
        {"transaction": transaction},
        {"document_id": "never"},
        {"limit": 0},
    ]
    for each in asked:
        assert list(both.http.log(orders, **each)) == list(both.direct.log(orders, **each)), each
    assert list(both.http.log(None)) == list(both.direct.log(None))
    assert list(both.http.log("no.such")) == []


def test_states_are_the_same(both: Both) -> None:
    """At every kind of point in time."""
    orders = f"{both.name}.orders"
    second = list(both.direct.log(orders, FIRST))[1]
    for at in (None, 1, 2, -1, second.timestamp, second.cluster_time):
        assert both.http.state(orders, FIRST, at) == both.direct.state(orders, FIRST, at), at
        assert to_raw(both.http.as_of(orders, FIRST, at)) == to_raw(both.direct.as_of(orders, FIRST, at))
    assert both.http.as_of(orders, "second/…") is None
    assert both.http.as_of(orders, "never") is None
    with pytest.raises(NoSuchVersionError) as over_http:
        both.http.as_of(orders, FIRST, 9)
    with pytest.raises(NoSuchVersionError) as directly:
        both.direct.as_of(orders, FIRST, 9)
    assert str(over_http.value) == str(directly.value)
    at = second.cluster_time
    assert list(both.http.collection_as_of(orders, at)) == list(both.direct.collection_as_of(orders, at))


def test_differences_and_blame_are_the_same(both: Both) -> None:
    """Of a document and of a collection."""
    orders = f"{both.name}.orders"
    first = next(both.direct.log(orders, FIRST))

    assert both.http.diff(orders, FIRST, 1, 2) == both.direct.diff(orders, FIRST, 1, 2)
    assert both.http.differences(orders, FIRST, 1, 2) == both.direct.differences(orders, FIRST, 1, 2)
    assert both.http.blame(orders, FIRST) == both.direct.blame(orders, FIRST)
    at = first.cluster_time
    assert list(both.http.collection_diff(orders, at)) == list(both.direct.collection_diff(orders, at))


def test_counts_are_the_same(both: Both) -> None:
    """And names."""
    mine = [name for name in both.direct.namespaces() if name.startswith(both.name)]
    assert both.http.namespaces() == both.direct.namespaces()
    assert mine
    over, direct = both.http.stats(), both.direct.stats()
    assert list(over.by_collection()) == list(direct.by_collection())
    assert list(over.by_day("UTC")) == list(direct.by_day("UTC"))
    assert over.by_actor().events == direct.by_actor().events
    assert list(both.http.gaps()) == list(both.direct.gaps())
    assert both.http.actors() == both.direct.actors()


def test_new_events_come_while_following(both: Both, client: MongoClient[Any]) -> None:
    """After those that are recorded, each once, until told to stop."""
    orders, stop = f"{both.name}.orders", threading.Event()
    found: list[Any] = []

    def follow() -> None:
        for event in both.http.follow(orders, FIRST, stop=stop, limit=1):
            found.append(event)
            if len(found) == 3:
                stop.set()

    thread = threading.Thread(target=follow)
    thread.start()
    eventually(lambda: found, "what is recorded already")
    for number in (7, 8):
        client[both.name].orders.update_one({"_id": FIRST}, {"$set": {"n": number}})
        both.recording.catch_up()
    thread.join(120)

    assert not thread.is_alive()
    assert found == list(both.direct.log(orders, FIRST, limit=3))


def test_what_cannot_be_is_said(both: Both) -> None:
    """In the library's own words."""
    with pytest.raises(NotOverHttpError):
        both.http.revert(f"{both.name}.orders", FIRST, to=1)
    with pytest.raises(UnknownTransactionError):
        both.http.transaction("ffffffff:1")
    with pytest.raises(ValueError, match="no namespace"):
        both.http.log("nodot")
    with pytest.raises(ValueError, match="in the clear"):
        History.connect("http://history.example.org", token="secret")
    with History.connect("http://127.0.0.1:1") as nobody, pytest.raises(HttpError, match="does not answer"):
        nobody.as_of("a.b", 1)
