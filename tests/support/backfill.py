"""Whether a survey is done, and whether history says of every document what the server has."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import models
from change_history.bson import raw
from models import HistoryModel
from tests.support import oracle
from tests.support.daemon import eventually
from watcher.backfill.recollection import Recollection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from tests.support.daemon import Daemon

_END = b"\xff" * 8


@contextmanager
def history_database(uri: str) -> Iterator[Database[Any]]:
    """A history database of its own, with its indexes; dropped afterwards."""
    name = f"history_{uuid.uuid4().hex[:12]}"
    client = models.connect(uri, name)
    HistoryModel.ensure_indexes()
    yield client[name]
    client.drop_database(name)
    models.disconnect()


def surveyed(daemon: Daemon) -> bool:
    """Whether no plan is waiting."""
    checkpoint = daemon.database.checkpoints.find_one()
    return checkpoint is not None and "token" in checkpoint and "survey" not in checkpoint


def told(daemon: Daemon, namespace: str) -> dict[raw.Value, Any]:
    """What the documents of a collection are, as history tells it; without those that are gone."""
    recollection = Recollection(daemon.database, _END)
    found: dict[raw.Value, Any] = {}
    for ids in recollection.ids(namespace, 1000):
        found |= recollection.recall(namespace, ids)
    return {key: document for key, document in found.items() if document is not None}


def level(daemon: Daemon, database: Database[Any]) -> bool:
    """Whether history tells every document of a database as it is, byte for byte, and no other."""
    live: dict[str, dict[raw.Value, bytes]] = {name: {} for name in database.list_collection_names()}
    for (namespace, _), document in oracle.live(database).items():
        live[namespace.partition(".")[2]][raw.fields(document)[b"_id"]] = document
    return all(told(daemon, f"{database.name}.{name}") == documents for name, documents in live.items())


def settled(daemon: Daemon, database: Database[Any]) -> None:
    """Wait until every plan is carried out, and history is level."""
    eventually(lambda: surveyed(daemon), "the end of the survey")
    eventually(lambda: level(daemon, database), f"history to be level\n{daemon.log()}", patience_s=20)


def entries(daemon: Daemon, query: dict[str, Any]) -> list[dict[str, Any]]:
    """Recorded history as Python objects, in its order."""
    return [oracle.entry(stored) for stored in oracle.history(daemon.database, query)]
