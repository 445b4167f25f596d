"""Peers in this process: a plain pymongo loop, and mongoengine as applications use it, one by one and in bulk.

Each follows the same stream from the same position, with the same images, and keeps of every event what the daemon
keeps: which field, its old value, its new value.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import mongoengine
from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern

from benchmarks.run import Clock, Run
from benchmarks.servers import BATCH_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo import MongoClient

    from watcher.stream.batch import Position

DATABASE = "bench_peers"
_ALIAS = "bench_peers"


class Change(mongoengine.EmbeddedDocument):  # type: ignore[misc]
    """One field of one event."""

    field = mongoengine.StringField()
    old_value = mongoengine.DynamicField()
    new_value = mongoengine.DynamicField()


class Kept(mongoengine.Document):  # type: ignore[misc]
    """One event."""

    meta = {"db_alias": _ALIAS, "collection": "mongoengine", "indexes": [("namespace", "document_id", "id")]}  # noqa: RUF012

    id = mongoengine.StringField(primary_key=True)
    namespace = mongoengine.StringField()
    document_id = mongoengine.DynamicField()
    operation = mongoengine.StringField()
    timestamp = mongoengine.DateTimeField()
    changes = mongoengine.EmbeddedDocumentListField(Change)


def plain(client: MongoClient[Any], position: Position, events: int) -> Run:
    """`watch` and `insert_many`, dictionaries all the way."""
    client.drop_database(DATABASE)
    target = client[DATABASE].get_collection("plain", write_concern=WriteConcern("majority"))
    target.create_index([("namespace", 1), ("document_id", 1), ("_id", 1)])

    def store(batch: list[dict[str, Any]]) -> None:
        target.insert_many(batch, ordered=False)

    return _follow(client, position, events, BATCH_SIZE, store)


def bulk(client: MongoClient[Any], position: Position, events: int) -> Run:
    """Documents of mongoengine, inserted a thousand at a time."""
    _connect(client)
    return _follow(
        client, position, events, BATCH_SIZE, lambda batch: Kept.objects.insert(_models(batch), load_bulk=False)
    )


def one_by_one(client: MongoClient[Any], position: Position, events: int) -> Run:
    """A `save()` of mongoengine for each event."""
    _connect(client)

    def store(batch: list[dict[str, Any]]) -> None:
        for model in _models(batch):
            model.save()

    return _follow(client, position, events, 100, store)


def _follow(
    client: MongoClient[Any], position: Position, events: int, size: int, store: Callable[[list[dict[str, Any]]], Any]
) -> Run:
    clock, seen, batch = Clock(events), 0, []
    for event in _events(client, position):
        batch.append(_kept(event))
        if len(batch) == size or seen + len(batch) == events:
            store(batch)
            seen, batch = seen + len(batch), []
            if (run := clock.at(seen, time.perf_counter())) is not None:
                return run
    raise AssertionError("a stream does not end")


def _events(client: MongoClient[Any], position: Position) -> Iterator[dict[str, Any]]:
    with client.watch(
        [{"$match": {"ns.db": "bench"}}],
        full_document_before_change="whenAvailable",
        start_after=RawBSONDocument(position.token),
        batch_size=BATCH_SIZE,
    ) as stream:
        yield from stream


def _kept(event: dict[str, Any]) -> dict[str, Any]:
    before, after = event.get("fullDocumentBeforeChange") or {}, event.get("fullDocument") or {}
    described = event.get("updateDescription")
    if described is not None:
        after, names = described["updatedFields"], [*described["updatedFields"], *described["removedFields"]]
    else:
        names = list({**before, **after})
    changes = []
    for name in names:
        change: dict[str, Any] = {"field": name}
        if name in before:
            change["old_value"] = before[name]
        if name in after:
            change["new_value"] = after[name]
        changes.append(change)
    return {
        "_id": event["_id"]["_data"],
        "namespace": f"{event['ns']['db']}.{event['ns']['coll']}",
        "document_id": event["documentKey"]["_id"],
        "operation": event["operationType"],
        "timestamp": event["wallTime"],
        "changes": changes,
    }


def _connect(client: MongoClient[Any]) -> None:
    client.drop_database(DATABASE)
    mongoengine.disconnect(_ALIAS)
    host, port = client.address or ("127.0.0.1", 27017)
    mongoengine.connect(
        DATABASE, host=f"mongodb://{host}:{port}/?w=majority", alias=_ALIAS, uuidRepresentation="standard"
    )
    Kept.ensure_indexes()


def _models(batch: list[dict[str, Any]]) -> list[Any]:
    models = []
    for item in batch:
        values = {**item, "changes": [Change(**change) for change in item["changes"]]}
        models.append(Kept(id=values.pop("_id"), **values))
    return models
