"""Histories long enough for snapshots, and what snapshots must never be: another word than folding has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson.raw_bson import RawBSONDocument

from change_history.bson import raw
from change_history.bson.values import to_raw
from change_history.reconstruct.keeping import Keeper
from change_history.reconstruct.snapshots import TIMELINE, TIMELINE_NAME, Start, read
from change_history.reconstruct.told import told
from change_history.stored.names import SNAPSHOTS
from change_history.stored.reading import RAW
from models import SnapshotModel

if TYPE_CHECKING:
    from pymongo.database import Database


def make_index(history: Database[Any]) -> None:
    """Make the index of the snapshots, as the daemon does when it starts."""
    (index,) = SnapshotModel._meta["indexes"]
    keys = [("_id" if key == "id" else key, 1) for key in index["fields"]]
    assert (keys, index["name"]) == (TIMELINE, TIMELINE_NAME)
    history[SNAPSHOTS].create_index(keys, name=index["name"])


def fill(history: Database[Any], namespace: str, document_id: Any) -> int:
    """Make all snapshots of a document that are due; how many there are more."""
    return sum(Keeper(history).fill(namespace, to_raw(document_id)))


def stored(history: Database[Any], query: dict[str, Any] | None = None) -> list[Start]:
    """All snapshots, oldest first; claims left out."""
    found = history.get_collection(SNAPSHOTS, codec_options=RAW).find(query or {}, sort=[("_id", 1)])
    return [start for item in found if (start := read(raw.fields(bytes(item.raw)))) is not None]


def folded(history: Database[Any], namespace: str, document_id: Any) -> dict[bytes, tuple[bytes, Any]]:
    """By the `_id` of each entry of a document: what it is based on and what the document is after it, by folding."""
    return {step.last: (step.base, step.document) for step in told(history, namespace, to_raw(document_id))}


def check(history: Database[Any], namespace: str, document_id: Any) -> list[Start]:
    """Fail unless every snapshot of a document says what folding does; the snapshots."""
    expected = folded(history, namespace, document_id)
    found = stored(history, {"namespace": namespace, "document_id": document_id})
    for snapshot in found:
        assert (snapshot.base, snapshot.document) == expected[snapshot.id]
    return found


def spoil(history: Database[Any], snapshot: Start, **values: Any) -> None:
    """Make a snapshot say something else."""
    document = raw.fields(snapshot.document) | {name.encode(): to_raw(value) for name, value in values.items()}
    state = RawBSONDocument(raw.from_fields(document.items()))
    history[SNAPSHOTS].update_one({"_id": snapshot.id}, {"$set": {"document": state}})
