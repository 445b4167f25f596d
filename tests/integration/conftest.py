"""Streams on a real server, and helpers whose assertions are explained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from change_history.reader import Reader
from tests.support.recording import Recording
from watcher.health.http import HealthServer
from watcher.health.progress import Progress
from watcher.stream.listener import Listener
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo import MongoClient
    from pymongo.database import Database

    from tests.support.change_stream import Listen
    from watcher.stream.batch import Position


@pytest.fixture
def listen(database: Database[Any]) -> Iterator[Listen]:
    """A function that opens a stream on the test's own database; all are closed at the end."""
    listeners: list[Listener] = []

    def start(
        include: str = "{db}.*", batch_size: int = 100, position: Position | None = None, **more: Any
    ) -> Listener:
        scope = Scope((include.format(db=database.name),), (), "history")
        options = {"pre_images": True, **more}
        listener = Listener(database.client, scope, batch_size, position, **options)
        listeners.append(listener)
        return listener

    yield start
    for listener in listeners:
        listener.close()


@pytest.fixture
def recording(client: MongoClient[Any], database: Database[Any]) -> Iterator[Recording]:
    """A history of the test's own database, and two collections."""
    for name in ("a", "b"):
        database.create_collection(name, changeStreamPreAndPostImages={"enabled": True})
    with Recording(client, database.name) as found:
        yield found


@pytest.fixture
def history(client: MongoClient[Any], recording: Recording) -> Reader:
    """The history."""
    return Reader(client, recording.history.name)


@pytest.fixture
def namespace(database: Database[Any]) -> str:
    """Where the documents are."""
    return f"{database.name}.a"


@pytest.fixture
def progress() -> Progress:
    """What a daemon that has just started has done."""
    return Progress()


@pytest.fixture
def server(progress: Progress) -> Iterator[HealthServer]:
    """The health of a daemon, on any free port."""
    with HealthServer("127.0.0.1", 0, progress, "orders") as serving:
        yield serving
