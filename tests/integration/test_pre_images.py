"""Switching on pre-images, on whatever a server calls a collection."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from structlog.testing import capture_logs

from tests.support.daemon import eventually
from watcher.retry import Retry
from watcher.targets.pre_images import PreImages
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.database import Database

    from watcher.embedded.mongod import Mongod


def images(database: Database[Any], include: str = "{db}.*", exclude: str = "") -> PreImages:
    """Pre-images of the test's own database."""
    excluded = (exclude.format(db=database.name),) if exclude else ()
    return PreImages(database.client, Scope((include.format(db=database.name),), excluded, "history"))


def switched_on(database: Database[Any]) -> set[str]:
    """The collections that have them."""
    return {
        info["name"]
        for info in database.list_collections()
        if info.get("options", {}).get("changeStreamPreAndPostImages", {}).get("enabled")
    }


def said(logs: Any) -> list[tuple[str, str]]:
    """Level and namespace of what was logged."""
    return [(line["log_level"], line["namespace"].partition(".")[2]) for line in logs]


def test_collections_get_them_and_all_else_is_left_alone(database: Database[Any]) -> None:
    """Views and time series have none, and asking for them is an error; each collection is said once."""
    database.create_collection("plain")
    database.create_collection("a.b.c")
    database.create_collection("capped", capped=True, size=4096)
    database.create_collection("on", changeStreamPreAndPostImages={"enabled": True})
    database.create_collection("series", timeseries={"timeField": "t"})
    database.create_collection("view", viewOn="plain", pipeline=[])
    database.create_collection("clustered", clusteredIndex={"key": {"_id": 1}, "unique": True})
    with capture_logs() as logs:
        images(database).enable_existing()
        first = list(logs)
        images(database).enable_existing()

    assert switched_on(database) == {"plain", "a.b.c", "capped", "on", "clustered"}
    assert sorted(said(first)) == [("info", name) for name in ("a.b.c", "capped", "clustered", "plain")]
    assert logs == first


def test_only_what_is_watched_is_touched(database: Database[Any]) -> None:
    """They cost room on the server."""
    for name in ("a", "ab", "b"):
        database.create_collection(name)
    images(database, "{db}.a*", "{db}.ab").enable_existing()

    assert switched_on(database) == {"a"}


@pytest.mark.parametrize("kind", ["view", "series", "nothing", "on", "outside"])
def test_what_appears_and_can_have_none_is_no_error(database: Database[Any], kind: str) -> None:
    """A view is created by an event too; and a collection may be dropped before we come to it."""
    database.create_collection("base")
    if kind == "view":
        database.create_collection("view", viewOn="base", pipeline=[])
    if kind == "series":
        database.create_collection("series", timeseries={"timeField": "t"})
    if kind == "on":
        database.create_collection("on", changeStreamPreAndPostImages={"enabled": True})
    with capture_logs() as logs:
        images(database, "{db}.*", "{db}.outside").enable(f"{database.name}.{kind}")

    assert logs == []
    assert switched_on(database) <= {"on"}


def test_a_collection_that_appears_gets_them(database: Database[Any]) -> None:
    """With dots in its name, too; once."""
    database.create_collection("a.b")
    with capture_logs() as logs:
        for _ in range(2):
            images(database).enable(f"{database.name}.a.b")

    assert switched_on(database) == {"a.b"}
    assert said(logs) == [("info", "a.b")]


def test_a_collection_dropped_in_between_is_no_error(database: Database[Any]) -> None:
    """Between the list and the command."""
    with capture_logs() as logs:
        images(database)._enable(database.name, "gone")

    assert logs == []


def test_the_options_of_a_collection_are_left_as_they_are(database: Database[Any]) -> None:
    """The daemon changes one setting and nothing else."""
    database.create_collection("a", validator={"n": {"$exists": True}}, validationLevel="moderate")
    database.a.create_index("n", name="by_n")
    images(database).enable_existing()
    (info,) = database.list_collections(filter={"name": "a"})

    assert info["options"] == {
        "validator": {"n": {"$exists": True}},
        "validationLevel": "moderate",
        "validationAction": "error",
        "changeStreamPreAndPostImages": {"enabled": True},
    } or info["options"] == {
        "validator": {"n": {"$exists": True}},
        "validationLevel": "moderate",
        "changeStreamPreAndPostImages": {"enabled": True},
    }
    assert set(database.a.index_information()) == {"_id_", "by_n"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    """A server with authentication: the address of a user who may do next to nothing, and an administrator."""
    from tests.support.servers import free_port
    from watcher.embedded.mongod import Mongod

    folder = tmp_path_factory.mktemp("guarded-mongod")
    key = folder / "key"
    key.write_text("c2VjcmV0IGtleSBmb3IgdGVzdHMgb25seQ==")
    key.chmod(0o600)
    port = free_port()
    with Mongod(folder, port, cache_gb=0.25, oplog_mb=256) as server, MongoClient[dict[str, Any]](server.uri) as admin:
        admin.shop.a.insert_one({"_id": 1})
        reader = [{"resource": {"db": "", "collection": ""}, "actions": ["changeStream", "find"]}]
        admin.admin.command("createRole", "watcher", privileges=reader, roles=[])
        admin.admin.command("createUser", "watcher", pwd="x", roles=["watcher"])
        admin.admin.command("createUser", "lister", pwd="x", roles=["readAnyDatabase"])
        admin.admin.command("createUser", "root", pwd="x", roles=["root"])
    options = {"cache_gb": 0.25, "extra_args": ("--auth", "--keyFile", str(key)), "initiate": False}
    with Mongod(folder, port, **options) as server:  # type: ignore[arg-type]
        root = f"mongodb://root:x@127.0.0.1:{port}/?directConnection=true"
        with MongoClient[dict[str, Any]](root) as admin:
            for _ in range(600):
                if admin.admin.command("hello")["isWritablePrimary"]:
                    break
            yield f"mongodb://{{}}:x@127.0.0.1:{port}/?directConnection=true", admin


@pytest.mark.parametrize("user", ["watcher", "lister"])
@pytest.mark.parametrize("include", ["shop.*", "*.*"])
def test_without_a_privilege_it_warns_and_goes_on(guarded: tuple[str, Any], user: str, include: str) -> None:
    """At the start and for a new collection, whether it may not list or may not modify: no event is worth an end."""
    address, _ = guarded
    with MongoClient[dict[str, Any]](address.format(user)) as client, capture_logs() as logs:
        mine = PreImages(client, Scope((include,), (), "history"))
        mine.enable_existing()
        at_start = len(logs)
        mine.enable("shop.a")

    assert at_start >= 1
    assert len(logs) > at_start
    assert {line["log_level"] for line in logs} == {"warning"}


def test_a_collection_whose_index_is_being_built_gets_them_later(own_server: Callable[..., Mongod]) -> None:
    """An application that makes a collection and at once its indexes would have unknown old values until a restart."""
    server = own_server(extra_args=("--setParameter", "enableTestCommands=1"))
    hang = {"configureFailPoint": "hangAfterSettingUpIndexBuild"}
    with MongoClient[dict[str, Any]](server.uri) as client, capture_logs() as logs:
        client.shop.a.insert_one({"n": 1})
        client.admin.command({**hang, "mode": "alwaysOn"})
        build = threading.Thread(target=client.shop.a.create_index, args=("n",))
        build.start()
        building: list[dict[str, Any]] = [{"$currentOp": {}}, {"$match": {"command.createIndexes": "a"}}]
        eventually(lambda: list(client.admin.aggregate(building)), "the index build")
        try:
            with suppress(OperationFailure):  # to be tried again
                PreImages(client, Scope(("shop.*",), (), "history")).enable("shop.a")
        finally:
            client.admin.command({**hang, "mode": "off"})
            build.join()

    assert [line["event"] for line in logs if "could not" in line["event"]] == []


def test_a_collection_that_the_server_lists_late_gets_them_too(database: Database[Any]) -> None:
    """Its creation is in the oplog a moment before it is in the catalogue; nothing else would ever tell of it."""
    stop = threading.Event()
    ours = images(database)
    ours.enable(f"{database.name}.late")  # as the server shows it then
    ours.enable(f"{database.name}.gone")
    database.create_collection("late")
    looking = threading.Thread(target=ours.look_again, args=(stop, Retry(stop, lambda *_: None, lambda *_: None)))
    looking.start()
    try:
        eventually(lambda: switched_on(database) == {"late"}, "pre-images of what was listed late")
    finally:
        stop.set()
        looking.join()
    assert "gone" not in database.list_collection_names()
