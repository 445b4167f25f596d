"""What `watcher serve` answers under /api/v1, beside what `History` says: on a real server."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import suppress
from http.client import HTTPConnection
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from change_history import History
from change_history.bson import extended_json
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import to_raw
from change_history.http import wire
from tests.support.daemon import eventually
from tests.support.recording import Recording
from tests.support.servers import free_port
from tests.support.web import Follower, Served, path_of
from watcher.clients import APP_NAME
from watcher.embedded.mongod import Mongod
from watcher.web import problems, server
from watcher.web.executor import Asker
from watcher.web.question import ClientGoneError
from watcher.web.settings import Limits, WebSettings
from watcher.web.visitors import everything

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from watcher.web.visible import VisibleHistory

CANONICAL = "application/json; mode=canonical"
HOSTILE_IDS: list[Any] = [
    "<script>alert(1)</script>",
    "javascript:alert(1)",
    "$where",
    "a/b/../c?x=1#y%2F",
    "..",
    "line\r\nSet-Cookie: a=b",
    "\u202egnp.exe\u0000",
    "",
    "~x",
    "Zoë \U0001f600 ß",
    "42",
    42,
    ObjectId("66f2a1c0e4b0d52a3c9f1e77"),
    Decimal128("1.10"),
    Int64(2**60),
    Binary(b"\x00\xff", 128),
    {"a": [1, {"b": None}]},
    None,
]


class World:
    """A served history."""

    def __init__(self, served: Served, history: History, name: str, recording: Recording) -> None:
        self.served = served
        self.history = history
        self.name = name
        self.recording = recording

    def collection(self, name: str) -> str:
        """The namespace of a collection."""
        return f"{self.name}.{name}"

    def get(self, *parts: str, query: str = "", **headers: str) -> Any:
        """Ask below /api/v1."""
        return self.served.get(f"/api/v1{path_of(*parts)}{query}", **headers)


@pytest.fixture(scope="module")
def world(client: MongoClient[Any], replica_set_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Orders with a history of changes, hostile documents, a transaction."""
    folder = tmp_path_factory.mktemp("served")
    name = f"api_{folder.name.replace('-', '_')}_{time.time_ns()}"
    shop = client[name]
    with Recording(client, name) as recording:
        for each in ("orders", "hostile", "products"):
            shop.create_collection(each, changeStreamPreAndPostImages={"enabled": True})
        shop.orders.insert_one({"_id": 17, "status": "new", "items": [{"_id": 1, "qty": Int64(2)}], "total": 3.5})
        shop.orders.insert_one({"_id": 18, "status": "new"})
        shop.orders.update_one({"_id": 17}, {"$set": {"status": "paid", "items.0.qty": Int64(3)}})
        shop.orders.delete_one({"_id": 18})
        with client.start_session() as session, session.start_transaction():
            shop.orders.update_one({"_id": 17}, {"$set": {"status": "shipped"}}, session=session)
            shop.products.insert_one({"_id": "lamp", "stock": 8}, session=session)
        for document_id in HOSTILE_IDS:
            shop.hostile.insert_one({"_id": document_id, "<b>": "<script>", "v": {"$gt": "", "$oid": "x"}})
            shop.hostile.update_one({"_id": {"$eq": document_id}}, {"$set": {"n": 1}})
        recording.catch_up()
        history = History(client, recording.history.name)
        with Served(folder / "log", uri=replica_set_uri, history_database=recording.history.name) as served:
            yield World(served, history, name, recording)
    client.drop_database(name)


def test_what_a_document_was_is_what_history_says(world: World) -> None:
    """At every version, exactly."""
    orders = world.collection("orders")
    for at in (1, 2, 3, -1, None):
        reply = world.get("collections", orders, "documents", "17", query=f"?at={at}" if at else "", accept=CANONICAL)

        assert reply.status == 200, reply.body
        assert wire.state_from(reply.json) == world.history.state(orders, 17, at)


def test_a_document_that_was_deleted_is_said_to_be_gone(world: World) -> None:
    """It is not taken for one that never was."""
    gone = world.get("collections", world.collection("orders"), "documents", "18").json

    assert (gone["exists"], gone["document"], gone["ended_by"]["operation"]) == (False, None, "delete")
    assert world.get("collections", world.collection("orders"), "documents", "19").status == 404
    assert world.get("collections", world.collection("none"), "documents", "17").status == 404
    assert world.get("collections", world.collection("none"), "events").status == 404


def test_events_come_as_history_tells_them(world: World) -> None:
    """Page by page, in either order, each once, exact."""
    for order in ("newest", "oldest"):
        found, query = [], f"?limit=2&order={order}"
        while True:
            page = world.get("events", query=query, accept=CANONICAL).json
            found += [wire.event_from(each) for each in page["items"]]
            if page["next"] is None:
                break
            query = f"?limit=2&order={order}&cursor={page['next']}"

        assert found == list(world.history.log(None, reverse=order == "newest"))


def test_a_cursor_of_another_question_is_refused(world: World) -> None:
    """Or pages of two answers would be taken for one."""
    cursor = world.get("events", query="?limit=1").json["next"]

    for query in (f"?order=oldest&cursor={cursor}", "?cursor=AAAA", "?cursor=%00", f"?cursor={cursor}x"):
        reply = world.get("events", query=query)
        assert reply.status == 400, query
        assert reply.headers["content-type"] == "application/problem+json"


def test_a_document_with_a_hostile_id_is_found_by_it(world: World) -> None:
    """Whatever is in it, it is a value: found, and given back exactly."""
    hostile = world.collection("hostile")
    for document_id in HOSTILE_IDS:
        text = extended_json.dumps(document_id)
        reply = world.get("collections", hostile, "documents", text, accept=CANONICAL)

        assert reply.status == 200, (document_id, reply.body)
        state = wire.state_from(reply.json)
        assert to_raw(state.document_id) == to_raw(document_id)
        assert state == world.history.state(hostile, document_id)
        assert b"\xe2\x80\xae" not in reply.body  # nothing turns the writing round
        assert reply.headers["content-type"].startswith("application/json")


def test_a_key_of_a_megabyte_can_be_read(world: World, client: MongoClient[Any]) -> None:
    """Its URL names one of its events, since no URL is so long."""
    huge = "k" * 1_000_000
    client[world.name].hostile.insert_one({"_id": huge, "k" * 1_000_000: 1})
    world.recording.catch_up()
    event = next(world.history.log(world.collection("hostile"), huge))

    by_event = world.get(
        "collections", world.collection("hostile"), "documents", f"~{event.id.hex()}", accept=CANONICAL
    )

    assert wire.state_from(by_event.json) == world.history.state(world.collection("hostile"), huge)
    assert world.get("collections", world.collection("hostile"), "documents", huge).status in {400, 414}


def test_a_filter_is_data_and_never_an_operator(world: World) -> None:
    """Every value is compared as a value; a field that looks like an operator is refused."""
    orders, hostile = world.collection("orders"), world.collection("hostile")

    def found(namespace: str, *where: str) -> Any:
        query = "&".join(f"where={path_of(each)[1:]}" for each in where)
        return world.get("collections", namespace, "documents", query=f"?{query}&limit=1000")

    assert [each["document_id"] for each in found(orders, 'status = "shipped"').json["items"]] == [17]
    assert found(orders, "status = new").json["items"] == []
    assert [each["document_id"] for each in found(orders, "total>=3.5", "_id<20").json["items"]] == [17]
    assert found(orders, 'status = {"$ne": 1}').json["items"] == []
    assert found(orders, 'status = {"$gt": ""}').json["items"] == []
    assert found(hostile, 'v = {"$gt": ""}').json["items"] == []
    for wrong in ("$where = sleep(1000)", "a.$where = 1", "$expr = 1", "status", "= 1", "a..b = 1"):
        assert found(orders, wrong).status == 400, wrong


def test_every_mistake_is_said_at_once(world: World) -> None:
    """And what is not known is no answer to another question."""
    reply = world.get("events", query="?limt=5&limit=0&since=soon&operation=INSRT")

    assert reply.status == 400
    assert {each["parameter"] for each in reply.json["errors"]} == {"limt", "limit", "since", "operation"}


def test_what_is_different_is_what_history_says(world: World) -> None:
    """Of a document."""
    orders = world.collection("orders")
    said = world.get("collections", orders, "documents", "17", "diff", query="?from=1&to=2", accept=CANONICAL).json

    assert [wire.change_from(each, None) for each in said["changes"]] == world.history.diff(orders, 17, 1, 2)
    assert [wire.difference_from(each) for each in said["differences"]] == world.history.differences(orders, 17, 1, 2)


def test_blame_names_the_event_of_every_leaf(world: World) -> None:
    """As history does."""
    orders = world.collection("orders")
    said = world.get("collections", orders, "documents", "17", "blame", accept=CANONICAL).json

    found = {leaf["field"]: wire.event_from(said["events"][leaf["event"]]) for leaf in said["leaves"]}
    assert found == world.history.blame(orders, 17)


def test_a_collection_is_read_as_it_was_page_by_page_and_line_by_line(world: World) -> None:
    """The same documents."""
    hostile = world.collection("hostile")
    first = next(world.history.log(hostile, 42))
    at = f"{first.cluster_time.time}:{first.cluster_time.inc}"
    whole = world.get(
        "collections", hostile, "documents", query=f"?at={at}", accept="application/x-ndjson;mode=canonical"
    )
    expected = [to_raw(each) for each in world.history.collection_as_of(hostile, first.cluster_time)]
    lines = [json.loads(line) for line in whole.body.splitlines()]
    assert [to_raw(wire.value_from(each["document"])) for each in lines] == expected

    found: list[Any] = []
    cursor = ""
    while cursor is not None:
        query = f"?at={at}&limit=3" + (f"&cursor={cursor}" if cursor else "")
        page = world.get("collections", hostile, "documents", query=query, accept=CANONICAL).json
        found += [to_raw(wire.value_from(each["document"])) for each in page["items"]]
        cursor = page["next"]
    assert found == expected


def test_a_page_whose_beginning_is_gone_is_not_taken_for_the_last(world: World, client: MongoClient[Any]) -> None:
    """A document was deleted between two pages: without a word, all those behind it would be missing."""
    products = world.collection("products")
    client[world.name].products.insert_many([{"_id": f"gone {number}"} for number in range(3)])
    world.recording.catch_up()
    page = world.get("collections", products, "documents", query="?limit=1").json
    client[world.name].products.delete_one({"_id": page["items"][0]["document_id"]})
    world.recording.catch_up()
    for accept in ("application/json", "application/x-ndjson"):
        reply = world.get("collections", products, "documents", query=f"?limit=1&cursor={page['next']}", accept=accept)
        assert (reply.status, reply.json["type"].rpartition(":")[2]) == (410, "cursor-gone")


def test_a_name_that_is_no_utf_8_is_a_mistake_and_no_fault_of_ours(world: World) -> None:
    """No server has such a namespace."""
    for path in ("", "/events", "/documents", "/documents/17", "/documents/17/blame"):
        assert world.served.get(f"/api/v1/collections/%ff.orders{path}").status == 400, path


def test_what_the_client_has_is_not_sent_again(world: World) -> None:
    """Until something is recorded."""
    parts = ("collections", world.collection("orders"), "documents", "17")
    tag = world.get(*parts).headers["etag"]

    assert world.get(*parts, if_none_match=tag).status == 304
    assert world.get(*parts, if_none_match='"x"').status == 200


def test_counts_agree(world: World) -> None:
    """With those of `History`."""
    orders = world.collection("orders")
    listed = {each["namespace"]: each["events"] for each in world.get("collections").json["items"]}
    said = world.get("stats", query="?of=collections&of=days&of=documents&of=fields").json

    for namespace, numbers in world.history.stats().by_collection():
        assert listed[namespace] == numbers.events
    assert {"namespace": orders, **dict(world.history.stats(orders).by_collection())[orders]._asdict()} in said[
        "collections"
    ]
    assert said["documents"][0]["events"] >= 2
    assert sum(1 for each in said["fields"] if each["namespace"] == orders)


def test_a_transaction_is_read_by_its_name(world: World) -> None:
    """All that it touched."""
    event = next(event for event in world.history.log(world.collection("products"), "lamp"))
    name = world.get("events", bytes(event.id).hex()).json["transaction"]["name"]

    touched = {each["namespace"] for each in world.get("transactions", name).json["items"]}
    assert touched == {world.collection("orders"), world.collection("products")}
    assert world.get("transactions", "ffffffff:99").status == 404


def test_what_is_recorded_comes_to_those_who_follow(world: World, client: MongoClient[Any]) -> None:
    """And one who comes back misses nothing, and sees nothing twice."""
    orders = world.collection("orders")
    follower = Follower(world.served, f"?namespace={orders}&recorded=1")
    client[world.name].orders.update_one({"_id": 17}, {"$set": {"status": "sent back"}})
    client[world.name].products.update_one({"_id": "lamp"}, {"$inc": {"stock": 2}})
    client[world.name].orders.update_one({"_id": 17}, {"$set": {"status": "refunded"}})
    world.recording.catch_up()

    statuses: list[str] = []
    while len(statuses) < 3:
        kind, data, last = follower.next()
        assert (kind, data["namespace"]) == ("change", orders)
        statuses.append(data["changes"][-1]["new_value"])
        last_seen = last
    follower.close()
    assert statuses == ["shipped", "sent back", "refunded"]
    assert last_seen.split("-")[1] == "1"  # no number: the product's event between them would be counted

    client[world.name].orders.update_one({"_id": 17}, {"$set": {"status": "archived"}})
    world.recording.catch_up()
    again = Follower(world.served, f"?namespace={orders}", last_event_id=last_seen)
    assert again.next()[1]["changes"][0]["new_value"] == "archived"
    again.close()
    elsewhere = Follower(world.served, f"?namespace={orders}", last_event_id="0000-1-" + last_seen.rpartition("-")[2])
    found = [elsewhere.next()[1]["changes"][0]["new_value"] for _ in range(2)]
    elsewhere.close()
    assert found == ["refunded", "archived"]  # of another server: from that event on


STUCK = {"failCommands": ["aggregate"], "blockConnection": True, "blockTimeMS": 30_000, "appName": APP_NAME}
"""A fail point: the next query of `watcher serve` takes half a minute."""


@pytest.fixture(scope="module")
def stuck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MongoClient[Any], str, str]]:
    """A server of its own that can be made slow: its client, its connection string, its history database."""
    arguments = ("--setParameter", "enableTestCommands=1")
    folder = tmp_path_factory.mktemp("stuck")
    with (
        Mongod(folder, free_port(), cache_gb=0.25, oplog_mb=256, extra_args=arguments) as mongod,
        MongoClient[Any](mongod.uri) as client,
        Recording(client, "slow") as recording,
    ):
        client.slow.orders.insert_one({"_id": 1})
        recording.catch_up()
        yield client, mongod.uri, recording.history.name


def running(client: MongoClient[Any]) -> list[Any]:
    """The queries of `watcher serve` that the server is at."""
    found = client.admin.aggregate([{"$currentOp": {}}])
    commands = {"aggregate", "find", "getMore"}
    return [op for op in found if op.get("appName") == APP_NAME and commands & op.get("command", {}).keys()]


def test_a_client_that_goes_away_stops_its_query(stuck: tuple[MongoClient[Any], str, str], tmp_path: Path) -> None:
    """On the server, too: nothing is read for nobody."""
    client, uri, database = stuck
    with Served(tmp_path / "log", uri=uri, history_database=database) as served:
        client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": STUCK})
        connection = HTTPConnection("127.0.0.1", served.port, timeout=60)
        connection.request("GET", "/api/v1/stats")
        eventually(lambda: running(client), "the query to run")
        begun = time.monotonic()
        connection.close()

        eventually(lambda: not running(client), "the query to end")
        assert time.monotonic() - begun < 25
        assert served.get("/api/v1/stats").status == 200  # and nobody else's was stopped


@pytest.mark.parametrize("command", ["find", "getMore"])
def test_a_client_that_goes_away_stops_a_long_answer(
    stuck: tuple[MongoClient[Any], str, str], long_history: str, tmp_path: Path, command: str
) -> None:
    """Before its first line and in the middle of it, on the server, too."""
    client, uri, database = stuck
    try:
        with Served(tmp_path / "log", uri=uri, history_database=database) as served:
            data = {**STUCK, "failCommands": [command]}
            client.admin.command({"configureFailPoint": "failCommand", "mode": "alwaysOn", "data": data})
            connection = HTTPConnection("127.0.0.1", served.port, timeout=60)
            connection.request("GET", "/api/v1/events", headers={"accept": "application/x-ndjson"})
            if command == "getMore":
                reply = connection.getresponse()
                connection.sock.settimeout(3)
                with suppress(TimeoutError):
                    while reply.read1(1 << 20):
                        pass
            eventually(lambda: running(client), "the query to run")
            begun = time.monotonic()
            connection.sock.close()
            connection.close()
            eventually(lambda: not running(client), "the query to end")
            assert time.monotonic() - begun < 20
            client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
            assert served.get("/api/v1/events?limit=1").status == 200
            assert "Traceback" not in served.log()
    finally:
        client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
        assert not left_open(client, long_history)


@pytest.fixture
def long_history(stuck: tuple[MongoClient[Any], str, str]) -> Iterator[str]:
    """Have 24 MB more of events for a test; the namespace of the collection that keeps them."""
    client, _, database = stuck
    history = client[database].history
    first = history.find_one({"namespace": "slow.orders", "operation": "insert"})
    assert first is not None
    begin, tail = ClusterTime.from_id(bytes(first["_id"])), bytes(first["_id"])[8:]
    changes = [{"field": "pad", "new_value": "x" * 80_000}]
    # Each of its own cluster time: events of one are read together, to be put in order.
    moments = [ClusterTime(begin + number) for number in range(1, 301)]
    more = [
        {**first, "_id": Binary(at.prefix + tail), "cluster_time": at.timestamp, "changes": changes} for at in moments
    ]
    history.insert_many(more)
    yield f"{database}.history"
    history.delete_many({"_id": {"$in": [each["_id"] for each in more]}})


def left_open(client: MongoClient[Any], namespace: str) -> list[Any]:
    """The cursors that the server keeps for whoever reads a collection, at work or not."""
    found = client.admin.aggregate([{"$currentOp": {"idleCursors": True, "allUsers": True}}])
    return [op for op in found if op.get("ns") == namespace and (op["type"] == "idleCursor" or op.get("cursor"))]


def test_a_client_that_goes_away_in_the_middle_of_an_answer_leaves_no_cursor(
    stuck: tuple[MongoClient[Any], str, str], long_history: str, tmp_path: Path
) -> None:
    """It has read some of 24 MB, so the rest waits for it: the server keeps a cursor, which is of no use any more."""
    client, uri, database = stuck
    with Served(tmp_path / "log", uri=uri, history_database=database) as served:
        connection = HTTPConnection("127.0.0.1", served.port, timeout=60)
        connection.request("GET", "/api/v1/events", headers={"accept": "application/x-ndjson"})
        reply = connection.getresponse()
        assert len(reply.read(200_000)) == 200_000
        eventually(lambda: left_open(client, long_history), "a cursor to wait")
        connection.close()
        reply.close()
        eventually(lambda: not left_open(client, long_history), "the cursor to be closed")
        assert served.get("/api/v1/events?limit=1").status == 200
        assert "Traceback" not in served.log()


def test_a_question_ends_between_two_commands_too(stuck: tuple[MongoClient[Any], str, str], long_history: str) -> None:
    """Whoever reads a long history spends most of the time at what was read: the rest of it is not read for nobody."""
    client, uri, database = stuck
    begun, go_on, read = threading.Event(), threading.Event(), 0

    def work(history: VisibleHistory) -> None:
        nonlocal read
        for _ in history.reader.collection_of_history.find({}, batch_size=2):
            read += 1
            assert left_open(client, long_history)
            begun.set()
            assert go_on.wait(60)

    async def gone() -> dict[str, str]:
        await asyncio.to_thread(begun.wait, 60)
        return {"type": "http.disconnect"}

    async def ask(asker: Asker) -> None:
        request: Any = SimpleNamespace(state=SimpleNamespace(visitor=everything("anybody")), receive=gone)
        asked = asyncio.create_task(asker.ask(request, work))
        await asyncio.to_thread(begun.wait, 60)
        await asyncio.to_thread(eventually, lambda: not left_open(client, long_history), "the cursor to be closed")
        go_on.set()
        with pytest.raises(ClientGoneError):
            await asked

    with server.history(uri, database, WebSettings()) as (asking, reader):
        asyncio.run(ask(Asker(asking, reader, Limits())))
    assert read == 2


def test_an_answer_that_takes_too_long_is_given_up(stuck: tuple[MongoClient[Any], str, str]) -> None:
    """On the server, too; and that is said, with what to do."""
    client, uri, database = stuck
    request: Any = SimpleNamespace(state=SimpleNamespace(visitor=everything("anybody")), receive=asyncio.Event().wait)
    with server.history(uri, database, WebSettings()) as (asking, reader):

        async def ask() -> None:
            await Asker(asking, reader, Limits(seconds=0.5)).ask(
                request, lambda history: list(history.stats("slow.orders").by_collection())
            )

        data = {**STUCK, "blockTimeMS": 3000}  # more than it may take; what blocks it does not mind its time limit
        client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": data})
        with pytest.raises(PyMongoError) as caught:
            asyncio.run(ask())
        limits = [query["command"]["maxTimeMS"] for query in running(client)]

    assert problems.problem_of(caught.value, 0.5).kind == "too-costly"
    assert limits
    assert max(limits) <= 500
    eventually(lambda: not running(client), "the query to end")
    client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
