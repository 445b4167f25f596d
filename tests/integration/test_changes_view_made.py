"""The view of the changes is made and kept up to date by the daemon, and never in its way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient
from structlog.testing import capture_logs

from models.changes_view import NAME, PIPELINE
from tests.support.daemon import eventually
from watcher import views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pymongo.database import Database

    from watcher.embedded.mongod import Mongod

OLDER: list[dict[str, Any]] = [{"$unwind": "$changes"}]


def definition(database: Database[Any]) -> Any:
    """How the view is defined."""
    (info,) = database.list_collections(filter={"name": NAME})
    return info["type"], info["options"].get("viewOn"), info["options"].get("pipeline")


def test_the_view_is_made_once(database: Database[Any]) -> None:
    """Every start makes sure of it."""
    with capture_logs() as logs:
        views.ensure(database)
        views.ensure(database)

    assert definition(database) == ("view", "history", PIPELINE)
    assert logs == []


def test_an_older_view_is_brought_up_to_date(database: Database[Any]) -> None:
    """A new version would otherwise be read by the old definition for ever."""
    database.command("create", NAME, viewOn="history", pipeline=OLDER)

    views.ensure(database)

    assert definition(database) == ("view", "history", PIPELINE)


def test_what_is_not_ours_is_left_alone(database: Database[Any]) -> None:
    """A collection that somebody else called `changes` has data."""
    database[NAME].insert_one({"_id": 1})
    with capture_logs() as logs:
        views.ensure(database)

    assert database[NAME].count_documents({}) == 1
    assert [line["log_level"] for line in logs] == ["warning"]


@pytest.fixture
def guarded(own_server: Callable[..., Mongod], tmp_path: Path) -> Iterator[Callable[[str], Database[Any]]]:
    """A server with authentication and an older view; a function that gives the history database to a user."""
    key = tmp_path / "key"
    key.write_text("c2VjcmV0IGtleSBmb3IgdGVzdHMgb25seQ==")
    key.chmod(0o600)
    server = own_server()
    with MongoClient[dict[str, Any]](server.uri) as admin:
        admin.change_history.command("create", NAME, viewOn="history", pipeline=OLDER)
        admin.admin.command("createUser", "writer", pwd="x", roles=[{"role": "readWrite", "db": "change_history"}])
        admin.admin.command("createUser", "reader", pwd="x", roles=[{"role": "read", "db": "change_history"}])
        admin.admin.command("createUser", "stranger", pwd="x", roles=[])
    server.stop()
    server._extra_args = ("--auth", "--keyFile", str(key))  # the same data, now with authentication
    server._initiate = False
    server.start()
    clients: list[MongoClient[Any]] = []

    def database_of(user: str) -> Database[Any]:
        clients.append(
            MongoClient(server.uri.replace("//", f"//{user}:x@") + "?authSource=admin&directConnection=true")
        )
        eventually(lambda: clients[-1].admin.command("hello")["isWritablePrimary"], "a primary")
        return clients[-1].get_database("change_history")

    yield database_of
    for client in clients:
        client.close()


@pytest.mark.parametrize("user", ["reader", "stranger"])
def test_without_the_privilege_recording_goes_on(guarded: Callable[[str], Database[Any]], user: str) -> None:
    """A view is a convenience; not to have it is worth a warning and no more."""
    with capture_logs() as logs:
        views.ensure(guarded(user))

    assert [line["log_level"] for line in logs] == ["warning"]
    assert "Unauthorized" in logs[0]["error"]


def test_the_documented_role_is_enough(guarded: Callable[[str], Database[Any]]) -> None:
    """`readWrite` may not change a view; it is made anew."""
    database = guarded("writer")

    views.ensure(database)

    assert definition(database) == ("view", "history", PIPELINE)
