"""What the daemon records of a real replica set."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument

from change_history.bson import raw
from tests.support import oracle
from tests.support.daemon import Daemon, eventually
from tests.support.generated.documents import every_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo import MongoClient
    from pymongo.database import Database

    from watcher.embedded.mongod import Mongod


def _changes(daemon: Daemon, namespace: str, operation: str) -> list[list[dict[str, Any]]]:
    query = {"namespace": namespace, "operation": operation}
    return [oracle.entry(item)["changes"] for item in oracle.history(daemon.database, query)]


def test_no_value_of_any_type_is_changed_by_recording_it(database: Database[Any], daemon: Daemon) -> None:
    """Byte for byte, as new value of an insert and an update and as old value of an update and a delete.

    `_cls`, `$` and dotted keys inside, years 0 and 20000, NaN, three kinds of 3, the deprecated types.
    """
    whole = every_type()
    database.types.insert_one(RawBSONDocument(whole))
    database.create_collection("other", changeStreamPreAndPostImages={"enabled": True})
    database.other.insert_one({"_id": 1})
    others = {key: value for key, value in raw.fields(whole).items() if key != b"_id"}
    for value in others.values():
        assert database.other.update_one({"_id": 1}, _set(b"v", value)).modified_count == 1
        database.other.update_one({"_id": 1}, {"$unset": {"v": 1}})
    eventually(lambda: _options(database, "types"), "pre-images")
    database.types.delete_one({})
    database.end.insert_one({"_id": "end"})
    daemon.recorded(f"{database.name}.end", "end")

    expected = raw.elements(whole)
    inserted, deleted = (
        [raw.fields(change) for _, change in raw.items(raw.fields(item)[b"changes"][1])]
        for operation in ("insert", "delete")
        for item in oracle.history(daemon.database, {"namespace": f"{database.name}.types", "operation": operation})
    )
    assert [change[b"new_value"] for change in inserted] == [(kind, payload) for _, kind, payload in expected]
    assert [change[b"old_value"] for change in deleted] == [(kind, payload) for _, kind, payload in expected]
    updates = [
        raw.fields(raw.items(raw.fields(item)[b"changes"][1])[0][1])
        for item in oracle.history(daemon.database, {"namespace": f"{database.name}.other", "operation": "update"})
    ]
    values = list(others.values())
    assert [change[b"new_value"] for change in updates[0::2]] == values
    assert [change[b"old_value"] for change in updates[1::2]] == values


def _set(field: bytes, value: raw.Value) -> RawBSONDocument:
    return RawBSONDocument(raw.from_fields([(b"$set", (raw.DOCUMENT, raw.from_fields([(field, value)])))]))


def _options(database: Database[Any], collection: str) -> dict[str, Any]:
    """The options of a collection."""
    (info,) = database.list_collections(filter={"name": collection})
    options: dict[str, Any] = info["options"]
    return options


def test_events_about_collections_are_recorded_as_they_are_named(database: Database[Any], daemon: Daemon) -> None:
    """Create, index, modify, rename, drop: named and described, and never an error."""
    database.create_collection("a", capped=True, size=4096)
    database.a.create_index("x", name="by_x")
    database.command({"collMod": "a", "cappedMax": 5})
    database.a.drop_index("by_x")
    database.a.rename("b")
    database.create_collection("a_view", viewOn="b", pipeline=[])
    database.b.drop()
    database.end.insert_one({"_id": "end"})
    daemon.recorded(f"{database.name}.end", "end")

    found = [oracle.entry(item) for item in oracle.history(daemon.database, {"document_id": {"$exists": False}})]
    ours = [(event["namespace"].partition(".")[2], event["operation"]) for event in found]
    assert {
        ("a", "create"),
        ("a", "createIndexes"),
        ("a", "modify"),
        ("a", "dropIndexes"),
        ("a", "rename"),
        ("b", "drop"),
    } <= set(ours)
    assert ours.index(("a", "create")) < ours.index(("a", "rename")) < ours.index(("b", "drop"))
    rename = next(event for event in found if event["operation"] == "rename")
    assert rename["description"]["to"] == {"db": database.name, "coll": "b"}
    index = next(event for event in found if event["operation"] == "createIndexes")
    assert index["description"]["indexes"][0]["name"] == "by_x"
    assert not [line for line in daemon.log_lines() if line["level"] == "error"]


def test_a_collection_made_later_is_watched_and_gets_pre_images(database: Database[Any], daemon: Daemon) -> None:
    """Each said once in the log."""
    database.later.insert_one({"_id": 1, "n": 1})
    eventually(
        lambda: any(line["event"] == "pre-images switched on" for line in daemon.log_lines()), "pre-images switched on"
    )
    database.later.update_one({"_id": 1}, {"$set": {"n": 2}})
    database.end.insert_one({"_id": "end"})
    daemon.recorded(f"{database.name}.end", "end")

    assert _changes(daemon, f"{database.name}.later", "update") == [[{"field": "n", "old_value": 1, "new_value": 2}]]
    said = [line["namespace"] for line in daemon.log_lines() if line["event"] == "pre-images switched on"]
    assert sorted(said) == [f"{database.name}.end", f"{database.name}.later"]


def test_without_images_the_old_value_is_unknown_and_not_null(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """Under `PRE_IMAGES=use` nothing is switched on, and nothing is invented."""
    database.plain.insert_one({"_id": 1, "n": 1})
    daemon = make_daemon(replica_set_uri, database.name, pre_images="use", baseline="off").start().ready()
    database.plain.update_one({"_id": 1}, {"$set": {"n": None}})
    database.plain.delete_one({"_id": 1})
    daemon.recorded(f"{database.name}.plain", 1)
    eventually(lambda: _changes(daemon, f"{database.name}.plain", "delete"), "the delete")

    (update,) = _changes(daemon, f"{database.name}.plain", "update")
    assert update == [{"field": "n", "new_value": None, "old_value_from": "unknown"}]
    assert _changes(daemon, f"{database.name}.plain", "delete") == [
        [{"field": "", "path": [], "old_value_from": "unknown"}]
    ]
    assert _options(database, "plain") == {}


@pytest.mark.parametrize(
    ("include", "exclude", "watched"),
    [
        ("{db}.a", "", ["a"]),
        ("{db}.*", "{db}.b*", ["a", "x.y"]),
        ("{db}.a,{db}.x.?", "", ["a", "x.y"]),
        ("{half}*.*", "*.x.*", ["a", "b", "bb"]),
    ],
    ids=["one collection", "database but", "some of a database", "deployment"],
)
def test_exactly_what_is_included_is_recorded(
    replica_set_uri: str,
    database: Database[Any],
    make_daemon: Callable[..., Daemon],
    include: str,
    exclude: str,
    watched: list[str],
) -> None:
    """At each of the three scopes; the filter is the server's, so nothing else even arrives."""
    names = {"db": database.name, "half": database.name[:14]}
    given = {"include": include.format(**names), **({"exclude": exclude.format(**names)} if exclude else {})}
    daemon = make_daemon(replica_set_uri, database.name, **given).start().ready()
    for name in ("b", "x.y", "bb", "a"):
        database[name].insert_one({"_id": 1})
    daemon.recorded(f"{database.name}.a", 1)
    database["b"].rename("x.z")

    inserted = [oracle.entry(item)["namespace"] for item in oracle.history(daemon.database, {"operation": "insert"})]
    assert sorted(inserted) == sorted(f"{database.name}.{name}" for name in watched)


def test_a_rename_into_what_is_watched_is_recorded(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """Otherwise a watched collection would appear out of nowhere."""
    include = f"{database.name}.in,{database.name}.end"
    daemon = make_daemon(replica_set_uri, database.name, include=include).start().ready()
    database.out.insert_one({"_id": 1})
    database.out.rename("in")
    eventually(lambda: daemon.database.history.find_one({"operation": "rename"}), "the rename")


def test_history_is_never_watched_itself(own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]) -> None:
    """A daemon that records its own history would never end."""
    server = own_server()
    daemon = make_daemon(server.uri, "shop", include="*.*").start().ready()
    daemon.client.shop.a.insert_one({"_id": 1})
    daemon.recorded("shop.a", 1)
    time.sleep(1.5)

    assert set(daemon.database.history.distinct("namespace")) == {"shop.a"}


def test_a_dropped_collection_or_database_does_not_end_the_stream(
    own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]
) -> None:
    """Streams of one collection or database are invalidated by these; the daemon goes on after the invalidation."""
    server = own_server()
    for stream, include in (("collection", "shop.a"), ("database", "shop.*")):
        daemon = make_daemon(server.uri, "shop", include=include, stream=stream).start().ready()
        shop = daemon.client.shop
        shop.a.insert_one({"_id": f"{stream} before"})
        shop.a.drop()
        shop.a.insert_one({"_id": f"{stream} between"})
        daemon.client.drop_database("shop")
        shop.a.insert_one({"_id": f"{stream} after"})
        for when in ("before", "between", "after"):
            daemon.recorded("shop.a", f"{stream} {when}")
        assert daemon.database.history.count_documents({"operation": "invalidate"}) >= 1
        assert daemon.stop() == 0


def test_the_position_of_an_idle_stream_moves_on(
    replica_set_uri: str, client: MongoClient[Any], database: Database[Any], daemon: Daemon
) -> None:
    """A quiet collection on a busy server must not fall off the oplog."""
    other = client[f"{database.name}_busy"]
    first = daemon.database.checkpoints.distinct("cluster_time")[0]

    def moved() -> bool:
        other.a.insert_one({})
        return bool(daemon.database.checkpoints.count_documents({"cluster_time": {"$gt": first}}))

    try:
        eventually(
            lambda: (
                other.a.insert_one({}) and daemon.database.checkpoints.count_documents({"cluster_time": {"$gt": first}})
            ),
            "the checkpoint to move without any watched event",
        )
    finally:
        client.drop_database(other.name)
    assert daemon.database.history.count_documents({}) == 0


def test_no_value_of_a_document_reaches_the_log(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """Not even at debug level."""
    daemon = make_daemon(replica_set_uri, database.name, log_level="debug").start().ready()
    database.a.insert_one({"_id": 1, "card": "4000-0012-3456-7899"})
    database.a.update_one({"_id": 1}, {"$set": {"card": "4000-0099-3456-7899"}})
    daemon.recorded(f"{database.name}.a", 1)
    daemon.stop()

    assert "3456" not in daemon.log()
    assert {"stream", "event", "level", "timestamp"} <= set(daemon.log_lines()[-1])


def test_a_transaction_keeps_its_session_number_and_order(
    client: MongoClient[Any], database: Database[Any], daemon: Daemon
) -> None:
    """Also several events on one document."""
    database.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
    with client.start_session() as session, session.start_transaction():
        database.a.insert_one({"_id": 1, "n": 0}, session=session)
        for number in range(1, 40):
            database.a.update_one({"_id": 1}, {"$set": {"n": number}}, session=session)
    database.end.insert_one({"_id": "end"})
    daemon.recorded(f"{database.name}.end", "end")

    query = {"namespace": f"{database.name}.a", "document_id": 1}
    events = [oracle.entry(item) for item in oracle.history(daemon.database, query)]
    assert [event["changes"][-1]["new_value"] for event in events] == list(range(40))
    assert len({bson.encode(event["transaction"]) for event in events}) == 1
    assert len({event["cluster_time"] for event in events}) == 1
