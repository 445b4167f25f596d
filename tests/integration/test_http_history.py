"""`History.connect("http://…")` answers as `History` on the deployment does."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson import Binary, Decimal128, Int64, ObjectId, Timestamp
from bson.raw_bson import RawBSONDocument

from change_history import History, HttpError, NoSuchVersionError, UnknownTransactionError
from change_history.bson import raw
from change_history.bson.values import to_python, to_raw
from change_history.http.history import NotOverHttpError
from tests.support.daemon import eventually
from tests.support.recording import Recording
from tests.support.web import Served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


def test_values_that_json_changes_are_the_same(both: Both, client: MongoClient[Any]) -> None:
    """A NaN of its own bits, a Decimal128 that no text says, a key twice: as stored, in states and differences."""
    nan, odd = (raw.DOUBLE, bytes.fromhex("341200000000f8ff")), (raw.DECIMAL128, bytes(15) + b"\x7e")
    twice = raw.DOCUMENT, raw.from_fields([(b"a", to_raw(1)), (b"a", nan)])
    exact, values = client[both.name].exact, {b"nan": nan, b"odd": odd, b"twice": twice}
    exact.insert_one({"_id": 1})
    exact.replace_one({"_id": 1}, RawBSONDocument(raw.from_fields([(b"_id", to_raw(1)), *values.items()])))
    like = {"$oid": "66f2a1c0e4b0d52a3c9f1e77"}
    exact.update_one({"_id": 1}, [{"$set": {"like": {"$literal": like}}}])
    both.recording.catch_up()
    name = f"{both.name}.exact"
    first = next(both.direct.log(name))

    assert all(raw.element(key, value) in (both.http.state(name, 1).data or b"") for key, value in values.items())
    assert both.http.state(name, 1).data == both.direct.state(name, 1).data
    assert both.http.differences(name, 1, 1, 3) == both.direct.differences(name, 1, 1, 3)
    changed = list(both.direct.collection_diff(name, first.cluster_time))
    assert list(both.http.collection_diff(name, first.cluster_time)) == changed
    (event,) = both.http.log(name, changed_to=like)
    assert [event] == list(both.direct.log(name, changed_to=like))
    assert len(list(both.http.log(name, changed_to=to_python(odd)))) == 1


def test_now_is_the_end_of_what_is_recorded(both: Both, client: MongoClient[Any]) -> None:
    """Of a document whose collection was dropped, the last version is something else."""
    client[both.name].dropped.insert_one({"_id": 1, "a": 1})
    client[both.name].dropped.drop()
    both.recording.catch_up()
    name = f"{both.name}.dropped"

    assert [change.field for change in both.http.diff(name, 1, None, 1)] == ["_id", "a"]
    for points in ((None, 1), (1, None), (None, -1), (None, None), (None, Timestamp(1, 1))):
        assert both.http.diff(name, 1, *points) == both.direct.diff(name, 1, *points), points
    for moment in (None, Timestamp(1, 1), Timestamp(2**32 - 1, 2**32 - 1)):
        assert list(both.http.collection_diff(name, moment)) == list(both.direct.collection_diff(name, moment))


def test_what_was_never_recorded_has_no_versions(both: Both) -> None:
    """No difference between two of them either; and what is no operation finds nothing anywhere."""
    orders = f"{both.name}.orders"
    for history in (both.http, both.direct):
        for ask in (history.as_of, history.diff, history.blame):
            with pytest.raises(NoSuchVersionError, match="no version of it is recorded"):
                ask(orders, "never", 1)
        with pytest.raises(ValueError, match="'UPDATE' is no operation"):
            history.log(orders, operation="UPDATE")


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
    for top in (1, 2, 500):
        assert list(over.busiest_documents(top)) == list(direct.busiest_documents(top))
        assert list(over.busiest_fields(top)) == list(direct.busiest_fields(top))
    assert over.by_actor() == direct.by_actor()
    assert over.by_actor().unknown_by
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


def test_what_somebody_does_comes_once_it_is_known_who(both: Both, client: MongoClient[Any]) -> None:
    """Also where that becomes known after the event; nothing that others did, nothing twice."""
    orders, stop = f"{both.name}.orders", threading.Event()
    history = both.recording.history.history
    found: list[Any] = []

    def follow() -> None:
        for event in both.http.follow(orders, stop=stop, actor="eve", reason="ticket 7"):
            found.append(event)
            if len(found) == 3:
                stop.set()

    def write(n: int, actor: dict[str, Any] | None) -> bytes:
        client[both.name].orders.update_one({"_id": FIRST}, {"$set": {"n": n}})
        (document,) = both.recording.catch_up()
        event_id = bson.decode(document)["_id"]
        if actor is not None:
            history.update_one({"_id": Binary(event_id)}, {"$set": {"actor": {"provenance": "context", **actor}}})
        return bytes(event_id)

    eve = {"id": "eve", "reason": "ticket 7"}
    ids = [write(100, eve)]
    thread = threading.Thread(target=follow)
    thread.start()
    eventually(lambda: found, "what is recorded already")
    write(101, None)
    write(102, {"id": "eve", "reason": "ticket 8"})
    write(103, {"id": "ben", "reason": "ticket 7"})
    ids += [write(104, eve), write(105, eve)]
    thread.join(120)

    assert not thread.is_alive()
    assert [event.id for event in found] == ids
    assert [event.actor.id for event in found] == ["eve"] * 3


FILTERS: list[dict[str, Any]] = [
    {},
    {"price": Decimal128("2")},
    {"tags": "b", "n": {"$exists": True}},
    {"n": {"$gt": 0, "$type": ["long", "int"]}},
    {"$or": [{"tags": {"$all": ["b"], "$size": 1}}, {"$nor": [{"price": {"$mod": [2, 0]}}]}]},
    {"tags": {"$elemMatch": {"$in": ["b", re.compile("^c")]}}},
    {"tags": {"$regex": "^B", "$options": "i", "$nin": ["c"]}},
    {"tags": {"$not": {"$regex": "^b"}}},
    {"x": {"$eq": {"y": 1}}},
    {"x": {"$ref": "users", "$id": 1, "$db": "shop"}},
    {"x": {"$in": [{"$ref": "users", "$id": 1}]}},
]


@pytest.mark.parametrize("query", FILTERS, ids=str)
def test_a_filter_of_mongodb_finds_the_same(both: Both, query: dict[str, Any]) -> None:
    """Also one that Extended JSON alone would read as another."""
    orders = f"{both.name}.orders"
    assert list(both.http.collection_as_of(orders, query=query)) == list(
        both.direct.collection_as_of(orders, query=query)
    )


@pytest.mark.parametrize(
    "query",
    [
        {"$where": "sleep(1000) || true"},
        {"$or": [{"a": {"$not": {"$where": "true"}}}]},
        {"$expr": {"$function": {"body": "true", "args": [], "lang": "js"}}},
        {"$jsonSchema": {}},
        {"$text": {"$search": "x"}},
        {"a": {"$near": [0, 0]}},
        {"a": {"$eq": {"$function": 1}}},
        {"a": {"$in": "no list"}},
        {"$and": [{"a": 1}] * 1001},
    ],
    ids=lambda query: str(query)[:40],
)
def test_a_filter_cannot_run_a_program(both: Both, query: dict[str, Any]) -> None:
    """Nor read elsewhere; nor one that the server refuses end as a fault of ours."""
    with pytest.raises(ValueError):  # noqa: PT011 - in many words
        list(both.http.collection_as_of(f"{both.name}.orders", query=query))


def test_what_cannot_be_is_said(both: Both) -> None:
    """In the library's own words, and what to type instead."""
    asked: list[tuple[Callable[[], Any], str]] = [
        (lambda: both.http.revert("shop.orders", 17, to=1), 'shop.orders \'{"$numberInt": "17"}\' --to 1'),
        (lambda: both.http.undelete("shop.orders", "it's"), "--undelete"),
        (lambda: both.http.revert_transaction("bf14af2a:1"), "watcher revert --transaction bf14af2a:1"),
    ]
    for revert, command in asked:
        with pytest.raises(NotOverHttpError, match="nothing is written over HTTP") as refused:
            revert()
        assert command in str(refused.value)
    with pytest.raises(UnknownTransactionError):
        both.http.transaction("ffffffff:1")
    with pytest.raises(ValueError, match="no namespace"):
        both.http.log("nodot")
    with pytest.raises(ValueError, match="in the clear"):
        History.connect("http://history.example.org", token="secret")
    with History.connect("http://127.0.0.1:1") as nobody, pytest.raises(HttpError, match="does not answer"):
        nobody.as_of("a.b", 1)
