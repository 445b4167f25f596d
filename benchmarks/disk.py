"""Bytes of disk per recorded update, indexes included, beside the same updates in the layouts of others.

Three-field updates of 20,000 documents of one kilobyte. Sizes are the server's (`collStats`), after a checkpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson.raw_bson import RawBSONDocument

from benchmarks import workloads
from benchmarks.daemon import Daemon
from benchmarks.layouts import LAYOUTS, Layout, Update

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo import MongoClient
    from pymongo.collection import Collection

    from benchmarks.figures import Figures
    from benchmarks.servers import Servers
    from watcher.stream.batch import Position

PART = "disk"
_DATABASE = "bench_layouts"
_AT_ONCE = 500
_FILLER = 850  # with the other fields, a kilobyte
_WATCHER = "watcher"


def measure(servers: Servers, figures: Figures, events: int) -> None:
    """Record the updates with the daemon, and store them in every layout on the second server."""
    workload = workloads.updates(events, filler=_FILLER)
    workload.prepare(servers.client)
    size = servers.client.bench.command("collStats", "orders")["avgObjSize"]
    position = servers.position()
    workload.load(servers.client)
    daemon = Daemon(servers)
    daemon.catch_up(position, events)
    collections = {layout.name: _create(servers.second, layout) for layout in LAYOUTS}
    _store(servers.client, position, events, collections)
    found = {_WATCHER: _bytes(daemon.history.history, events)}
    found |= {name: _bytes(collection, events) for name, collection in collections.items()}
    work = f"{events:,} three-field updates of 20,000 documents of {size:,} bytes"
    for name, (data, indexes, plain) in found.items():
        beside = {_WATCHER: sum(found[_WATCHER][:2])}
        note = f"data {data:.0f}, indexes {indexes:.0f}; BSON {plain:.0f}"
        figures.add(PART, work, name, data + indexes, "bytes/update", beside=beside, note=note)


def _create(client: MongoClient[Any], layout: Layout) -> Collection[Any]:
    options = {"wiredTiger": {"configString": f"block_compressor={layout.compressor}"}}
    collection = client[_DATABASE].create_collection(layout.name.replace(" ", "_"), storageEngine=options)
    for keys in layout.indexes:
        collection.create_index([(key, 1) for key in keys])
    if layout.unique:
        collection.create_index([(key, 1) for key in layout.unique], unique=True)
    return collection


def _store(client: MongoClient[Any], position: Position, events: int, collections: dict[str, Collection[Any]]) -> None:
    waiting: dict[str, list[dict[str, Any]]] = {name: [] for name in collections}
    for update in _updates(client, position, events):
        for layout in LAYOUTS:
            rows = waiting[layout.name]
            rows += layout.documents(update)
            if len(rows) >= _AT_ONCE or update.place == events:
                collections[layout.name].insert_many(rows, ordered=False)
                rows.clear()


def _updates(client: MongoClient[Any], position: Position, events: int) -> Iterator[Update]:
    numbers: dict[Any, int] = {}
    with client.bench.orders.watch(
        full_document_before_change="whenAvailable", start_after=RawBSONDocument(position.token), batch_size=_AT_ONCE
    ) as stream:
        for place, event in enumerate(stream, 1):
            key, before = event["documentKey"]["_id"], event["fullDocumentBeforeChange"]
            fields = event["updateDescription"]["updatedFields"]
            numbers[key] = numbers.get(key, 0) + 1
            yield Update(event, before, {**before, **fields}, fields, numbers[key], place)
            if place == events:
                return


def _bytes(collection: Collection[Any], events: int) -> tuple[float, float, float]:
    """Bytes of data, of indexes, and uncompressed, per update."""
    collection.database.client.admin.command("fsync")
    stats = collection.database.command("collStats", collection.name)
    return stats["storageSize"] / events, stats["totalIndexSize"] / events, stats["size"] / events
