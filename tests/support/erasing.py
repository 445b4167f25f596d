"""Erasing in the test's own process, and looking for what is left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import Binary

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME
from change_history.bson.values import to_raw
from change_history.stored.names import HISTORY
from change_history.stored.order import identity
from change_history.stored.reading import RAW
from watcher.erasure.intervals import intervals_of
from watcher.erasure.requests import Erasure, Erasures
from watcher.erasure.values import Trail
from watcher.erasure.work import ErasureWork
from watcher.stream.batch import Entry, Position, Recorded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymongo.database import Database

    from tests.support.recording import Recording
    from watcher.erasure.work import ErasureReport

MARK = "m4rk"
"""Stands in what is to be erased, and nowhere else."""

NOWHERE = Position(b"", BEGINNING_OF_TIME)


def asked(
    history: Database[Any],
    namespace: str,
    documents: Iterable[Any] = (),
    *,
    values: Iterable[Any] = (),
    fields: Iterable[str] = (),
    trail: Trail = Trail.FIELDS,
) -> Erasure:
    """An erasure that is written down."""
    return Erasures(history).begin(
        namespace,
        list(map(to_raw, documents)),
        list(map(to_raw, values)),
        names=[place.namespace for place in intervals_of(history, namespace)] if namespace else [],
        fields=fields,
        trail=trail,
        by="test",
        reason="asked for",
    )


def erase(history: Database[Any], namespace: str, documents: Iterable[Any] = (), **more: Any) -> ErasureReport:
    """Erase, to the end."""
    erasure = asked(history, namespace, documents, **more)
    erasures = Erasures(history)
    outcome = ErasureWork(history, erasure, erasures.key()).run()
    erasures.finish(erasure, dict(outcome.counts))
    return outcome


def holding(history: Database[Any], *marks: str) -> list[tuple[str, Any]]:
    """Where a mark stands in the history database, byte by byte."""
    found = []
    for name in history.list_collection_names(filter={"type": "collection"}):
        for stored in history.get_collection(name, codec_options=RAW).find():
            data = bytes(stored.raw)
            if any(mark.encode() in data for mark in marks):
                found.append((name, data))
    return found


def recorded(documents: list[bytes]) -> Recorded:
    """A batch."""
    return Recorded([Entry(each, b"event") for each in documents], [], NOWHERE)


def recorded_only(recording: Recording) -> list[bytes]:
    """What has happened since, removed from history again."""
    found = recording.catch_up()
    for each in found:
        recording.history[HISTORY].delete_one({"_id": Binary(identity(raw.fields(each)))})
    return found
