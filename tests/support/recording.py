"""History and snapshots made in the test's own process, on request, by the daemon's own stages."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

from bson.raw_bson import RawBSONDocument

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME
from change_history.bson.redacted import without_mark
from change_history.bson.values import document_to_python, to_raw
from change_history.reconstruct.snapshot_maker import SnapshotMaker, every_state
from change_history.reconstruct.snapshots import TIMELINE_NAME, Snapshot, read
from change_history.redaction_rules import Rule
from change_history.stored.names import DOCUMENT_TIMELINE, HISTORY, SNAPSHOTS
from change_history.stored.reading import RAW
from models import HistoryModel, SnapshotModel
from watcher.events import record
from watcher.events.redaction import Redaction
from watcher.stream.batch import Entry, Position, Recorded
from watcher.stream.listener import Listener
from watcher.stream.writer import Writer
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo import MongoClient
    from pymongo.database import Database

MARKER = "marker"

_NOWHERE = Position(b"", BEGINNING_OF_TIME)


def make_indexes(database: Database[Any]) -> None:
    """Make the indexes of a history, as the daemon does when it starts."""
    for index in HistoryModel._meta["indexes"]:
        keys = [("_id" if key == "id" else key, 1) for key in index["fields"]]
        partial = {name: value for name, value in index.items() if name == "partialFilterExpression"}
        database[HISTORY].create_index(keys, name=index["name"], **partial)


class Recording:
    """Follows one database; a context manager, which drops the history at its end.

    Args:
        client: the deployment, which keeps the history too.
        watched: name of the watched database.
        include: globs of what is watched.
        redact: rules of what is withheld.
    """

    def __init__(
        self, client: MongoClient[Any], watched: str, include: str | None = None, redact: tuple[str, ...] = ()
    ) -> None:
        self._client = client
        self._watched = watched
        self.history: Database[Any] = client[f"{watched}_history"]
        globs = tuple(glob.format(db=watched) for glob in (include or "{db}.*").split(","))
        scope = Scope((*globs, f"{watched}.{MARKER}"), (), self.history.name)
        self._listener = Listener(client, scope, 1000, None, pre_images=True)
        self._writer = Writer(self.history, "test")
        self._redaction = Redaction([Rule.parse(rule) for rule in redact])
        self._markers = 0
        make_indexes(self.history)
        self._listener.next_batch()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._client.drop_database(self.history.name)

    def catch_up(self) -> list[bytes]:
        """Record what has happened; the new history documents, in the order of the stream."""
        self._markers += 1
        self._client[self._watched][MARKER].insert_one({"_id": self._markers})
        found: list[bytes] = []
        while True:
            for event in self._listener.next_batch().events:
                if _is_mark(event, self._markers):
                    return self._store(found)
                if b"ns" in raw.fields(event) and not _is_mark(event):
                    found.append(event)

    def _store(self, events: list[bytes]) -> list[bytes]:
        events, _ = self._redaction.batch(events)
        entries = [Entry(without_mark(record.record(event)), event) for event in events]
        self._writer.write(Recorded(entries, [], _NOWHERE))
        return [entry.document for entry in entries]

    def forget(self) -> None:
        """Forget all that is recorded."""
        self.history[HISTORY].delete_many({})

    def put(self, document: bytes) -> None:
        """Store a history document of the test's own."""
        self.history[HISTORY].insert_one(RawBSONDocument(document))


def _is_mark(event: bytes, number: int | None = None) -> bool:
    found = document_to_python(event)
    if found.get("ns", {}).get("coll") != MARKER:
        return False
    return number is None or found.get("documentKey", {}).get("_id") == number


RecordingT = TypeVar("RecordingT", bound=Recording)


@contextmanager
def with_snapshots(client: MongoClient[Any], database: str, kind: type[RecordingT]) -> Iterator[RecordingT]:
    """A history of a test's own database, whose collection `a` has pre-images, with room for snapshots."""
    client[database].create_collection("a", changeStreamPreAndPostImages={"enabled": True})
    with kind(client, database) as found:
        make_index(found.history)
        yield found


def make_index(history: Database[Any]) -> None:
    """Make the index of the snapshots, as the daemon does when it starts."""
    (index,) = SnapshotModel._meta["indexes"]
    keys = [("_id" if key == "id" else key, 1) for key in index["fields"]]
    assert (keys, index["name"]) == (DOCUMENT_TIMELINE, TIMELINE_NAME)
    history[SNAPSHOTS].create_index(keys, name=index["name"])


def fill(history: Database[Any], namespace: str, document_id: Any) -> int:
    """Make all snapshots of a document that are due; how many there are more."""
    return sum(SnapshotMaker(history).fill(namespace, to_raw(document_id)))


def stored(history: Database[Any], query: dict[str, Any] | None = None) -> list[Snapshot]:
    """All snapshots, oldest first; claims left out."""
    found = history.get_collection(SNAPSHOTS, codec_options=RAW).find(query or {}, sort=[("_id", 1)])
    return [start for item in found if (start := read(raw.fields(bytes(item.raw)))) is not None]


def folded(history: Database[Any], namespace: str, document_id: Any) -> dict[bytes, tuple[bytes, Any]]:
    """By the `_id` of each entry of a document: what it is based on and what the document is after it, by folding."""
    return {step.last: (step.base, step.document) for step in every_state(history, namespace, to_raw(document_id))}


def check(history: Database[Any], namespace: str, document_id: Any) -> list[Snapshot]:
    """Fail unless every snapshot of a document says what folding does; the snapshots."""
    expected = folded(history, namespace, document_id)
    found = stored(history, {"namespace": namespace, "document_id": document_id})
    for snapshot in found:
        assert (snapshot.base, snapshot.document) == expected[snapshot.id]
    return found


def spoil(history: Database[Any], snapshot: Snapshot, **values: Any) -> None:
    """Make a snapshot say something else."""
    document = raw.fields(snapshot.document) | {name.encode(): to_raw(value) for name, value in values.items()}
    state = RawBSONDocument(raw.from_fields(document.items()))
    history[SNAPSHOTS].update_one({"_id": snapshot.id}, {"$set": {"document": state}})
