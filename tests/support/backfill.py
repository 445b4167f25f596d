"""Whether the backfill is done, and whether history says of every document what the server has."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import models
from change_history.bson import raw
from change_history.bson.equality import key_of
from change_history.reconstruct.entries import reconstruct_many
from change_history.reconstruct.lineage import lineage_of
from change_history.stored.names import HISTORY
from change_history.stored.order import END
from change_history.stored.reading import RAW
from models import HistoryModel
from tests.support import oracle
from tests.support.daemon import eventually

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from pymongo.database import Database

    from tests.support.daemon import Daemon


@contextmanager
def history_database(uri: str) -> Iterator[Database[Any]]:
    """A history database of its own, with its indexes; dropped afterwards."""
    name = f"history_{uuid.uuid4().hex[:12]}"
    client = models.connect(uri, name)
    HistoryModel.ensure_indexes()
    yield client[name]
    client.drop_database(name)
    models.disconnect()


def backfilled(daemon: Daemon) -> bool:
    """Whether no plan is waiting."""
    checkpoint = daemon.database.checkpoints.find_one()
    return checkpoint is not None and "token" in checkpoint and "survey" not in checkpoint


def told(daemon: Daemon, namespace: str) -> dict[raw.Value, Any]:
    """What the documents of a collection are, as history tells it; without those that are gone."""
    recorded = daemon.database.get_collection(HISTORY, codec_options=RAW)
    incarnations = list(lineage_of(daemon.database, namespace, END))
    ids: dict[Hashable, raw.Value] = {}
    for incarnation in incarnations:
        query = {"namespace": incarnation.namespace, "document_id": {"$exists": True}, "_id": incarnation.ids()}
        for entry in recorded.find(query, {"document_id": 1}):
            document_id = raw.fields(bytes(entry.raw))[b"document_id"]
            ids[key_of(document_id)] = document_id
    documents = (
        known.document for known in reconstruct_many(daemon.database, incarnations, list(ids.values())).values()
    )
    unknown = uuid.uuid4().bytes  # equals no document's bytes
    return {
        raw.fields(document)[b"_id"] if isinstance(document, bytes) else (raw.BINARY, unknown): document
        for document in documents
        if document is not None
    }


def complete(daemon: Daemon, database: Database[Any]) -> bool:
    """Whether history tells every document of a database as it is, byte for byte, and no other."""
    live: dict[str, dict[raw.Value, bytes]] = {name: {} for name in database.list_collection_names()}
    for (namespace, _), document in oracle.live(database).items():
        live[namespace.partition(".")[2]][raw.fields(document)[b"_id"]] = document
    return all(told(daemon, f"{database.name}.{name}") == documents for name, documents in live.items())


def settled(daemon: Daemon, database: Database[Any]) -> None:
    """Wait until every plan is carried out, and history has every document."""
    eventually(lambda: backfilled(daemon), "the end of the backfill")
    eventually(lambda: complete(daemon, database), f"history to have every document\n{daemon.log()}")


def entries(daemon: Daemon, query: dict[str, Any]) -> list[dict[str, Any]]:
    """Recorded history as Python objects, in its order."""
    return [oracle.entry(stored) for stored in oracle.history(daemon.database, query)]
