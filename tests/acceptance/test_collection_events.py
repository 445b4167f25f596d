"""Whatever befalls a collection: it is recorded as the server names it, and the stream goes on after it.

Streams of one collection or one database are ended by the server (`invalidate`) when these go away or are replaced.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from change_history import History
from tests.support import oracle
from tests.support.collection_events import CASES, SCOPES, Case, Window
from tests.support.daemon import Daemon, eventually
from tests.support.servers import free_port
from watcher.embedded.mongod import Mongod

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database


WATCHED = {
    "deployment": lambda _: True,
    "database": lambda namespace: namespace.startswith("shop."),
    "collection": lambda namespace: namespace == "shop.coll",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A server on which a whole deployment can be followed, and nobody else's data is in the way."""
    with Mongod(tmp_path_factory.mktemp("collections"), free_port(), cache_gb=0.25, oplog_mb=128) as started:
        yield started


@pytest.fixture(scope="module", params=SCOPES)
def scope(request: pytest.FixtureRequest) -> str:
    """What the daemon follows."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def survivor(scope: str, server: Mongod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for every scope, which goes through all of it without a restart."""
    log = tmp_path_factory.mktemp("survivor") / f"{scope}.log"
    with MongoClient[dict[str, Any]](server.uri) as client:
        # Without context documents: with them, a stream of one collection is one of its database.
        settings = {"include": SCOPES[scope], "stream": scope, "context_collection": ""}
        with Daemon(client, log, uri=server.uri, history_database=f"history_{scope}", **settings) as daemon:
            yield daemon.ready()
            assert daemon.stop() == 0
            assert daemon.database.rejected.count_documents({}) == 0
            assert not [line for line in daemon.log_lines() if line["level"] in ("error", "warning")]
        client.drop_database(daemon.database.name)


def _has_images(database: Database[Any], collection: str) -> bool:
    query = {"name": collection, "options.changeStreamPreAndPostImages.enabled": True}
    return bool(list(database.list_collections(filter=query)))


def _level(daemon: Daemon, scope: str) -> bool:
    """Whether history tells of every watched collection the documents that it has, and of no other any."""
    names = {f"{name}.{each}" for name in ("shop", "other") for each in daemon.client[name].list_collection_names()}
    names |= {"shop.coll", "shop.src", "shop.gone", "other.coll"}
    history = History(daemon.client, daemon.database.name)
    for namespace in filter(WATCHED[scope], names):
        database, _, collection = namespace.partition(".")
        live = daemon.client[database].get_collection(collection, codec_options=oracle.RAW).find()
        if {told.data for told in history.collection(namespace).documents()} != {bytes(each.raw) for each in live}:
            return False
    return True


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_befalls_a_collection_is_recorded_and_so_is_every_later_write(
    case: Case, scope: str, survivor: Daemon, request: pytest.FixtureRequest
) -> None:
    """No event more, none less, each as the server describes it; then a write, with its old value as ever."""
    window = Window(survivor, request.node.name)
    case.do(window.shop)
    assert window.close() == case.expected(scope)

    eventually(partial(_level, survivor, scope), "history level with the documents")
    eventually(lambda: _has_images(window.shop, "coll"), "pre-images of what the collection is now")
    window.shop.coll.update_one({"_id": window.end}, {"$set": {"n": 2}})
    query = {"namespace": "shop.coll", "document_id": window.end, "operation": "update"}
    eventually(lambda: survivor.database.history.find_one(query), "the later write")
    (update,) = oracle.history(survivor.database, query)
    assert oracle.entry(update)["changes"] == [{"field": "n", "old_value": 1, "new_value": 2}]
