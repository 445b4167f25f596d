"""Whole processes against a real replica set."""

from __future__ import annotations

import uuid
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient, timeout
from pymongo.errors import PyMongoError

from tests.support.daemon import Daemon
from tests.support.pages import driver as driver  # noqa: PLC0414 - fixtures of the tests of pages
from tests.support.pages import program as program  # noqa: PLC0414
from tests.support.pages import reader as reader  # noqa: PLC0414
from tests.support.pages import told as told  # noqa: PLC0414

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pymongo.database import Database


def _drop(client: MongoClient[Any], database: str) -> None:
    """Clean up on a server that the test may have taken away."""
    with suppress(PyMongoError), timeout(1):
        client.drop_database(database)


@pytest.fixture
def make_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """A function that makes a daemon for a deployment, not yet started; all are killed at the end.

    It watches one database and keeps history in one of its own, dropped afterwards.
    """
    with ExitStack() as stack:

        def make(uri: str, watched: str, **settings: Any) -> Daemon:
            client: MongoClient[Any] = stack.enter_context(MongoClient(uri, serverSelectionTimeoutMS=10_000))
            name = settings.pop("history_database", f"history_{uuid.uuid4().hex[:12]}")
            stack.callback(_drop, client, name)
            settings.setdefault("include", f"{watched}.*")
            log = tmp_path / f"{settings.get('stream', 'daemon')}{settings.get('partition', '').replace('/', 'of')}.log"
            daemon = Daemon(client, log, uri=uri, history_database=name, **settings)
            stack.callback(daemon.__exit__)
            return daemon

        yield make


@pytest.fixture
def daemon(replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]) -> Daemon:
    """A running daemon that watches the test's own database on the shared replica set."""
    return make_daemon(replica_set_uri, database.name).start().ready()


@pytest.fixture
def parts(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> Callable[..., list[Daemon]]:
    """A function that makes the daemons of so many parts of one stream, not yet started; for 1, of the whole."""
    history = f"history_of_{database.name}"

    def make(number: int, **settings: Any) -> list[Daemon]:
        of_parts = [{"partition": f"{i + 1}/{number}"} for i in range(number)] if number > 1 else [{}]
        return [
            make_daemon(replica_set_uri, database.name, history_database=history, **one, **settings) for one in of_parts
        ]

    return make
