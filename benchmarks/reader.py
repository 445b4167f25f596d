"""The physical limit: a client that reads the same stream, with the same images, and throws it away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bson import CodecOptions
from bson.raw_bson import RawBSONDocument

from benchmarks.run import Clock, Run
from benchmarks.servers import BATCH_SIZE, scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo import MongoClient

    from watcher.stream.batch import Position

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


def batches(client: MongoClient[Any], position: Position, await_ms: int = 500) -> Iterator[Any]:
    """Follow a stream with the daemon's own options and batch size; its events as undecoded bytes.

    Args:
        client: the watched deployment.
        position: where to begin.
        await_ms: how long the server may hold back an empty answer, in milliseconds.
    """
    options = {
        "allChangesForCluster": True,
        "showExpandedEvents": True,
        "showRawUpdateDescription": True,
        "fullDocumentBeforeChange": "whenAvailable",
        "startAfter": RawBSONDocument(position.token),
    }
    command = {
        "aggregate": 1,
        "pipeline": [{"$changeStream": options}, {"$match": scope().match()}],
        "cursor": {"batchSize": 0},
    }
    with client.start_session(causal_consistency=False) as session:
        cursor = client.admin.command(command, session=session, codec_options=_RAW)["cursor"]["id"]
        more = {"getMore": cursor, "collection": "$cmd.aggregate", "batchSize": BATCH_SIZE, "maxTimeMS": await_ms}
        try:
            while True:
                yield client.admin.command(more, session=session, codec_options=_RAW)["cursor"]["nextBatch"]
        finally:
            client.admin.command({"killCursors": "$cmd.aggregate", "cursors": [cursor]}, session=session)


def discard(client: MongoClient[Any], position: Position, events: int) -> Run:
    """Read so many events and look at nothing but their number."""
    clock, seen = Clock(events), 0
    for batch in batches(client, position):
        seen += len(batch)
        if (run := clock.at(seen, time.perf_counter())) is not None:
            return run
    raise AssertionError("a stream does not end")
