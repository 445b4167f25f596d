"""History recorded in the test's own process, on request, by the daemon's own stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from bson.raw_bson import RawBSONDocument

from change_history.bson import raw
from change_history.bson.values import document_to_python
from change_history.stored.names import HISTORY
from models import HistoryModel
from watcher.events import record
from watcher.stream.batch import Entry, Position, Recorded
from watcher.stream.listener import Listener
from watcher.stream.writer import Writer
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.database import Database

MARKER = "marker"

_NOWHERE = Position(b"", bytes(8))


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
    """

    def __init__(self, client: MongoClient[Any], watched: str, include: str | None = None) -> None:
        self._client = client
        self._watched = watched
        self.history: Database[Any] = client[f"{watched}_history"]
        globs = tuple(glob.format(db=watched) for glob in (include or "{db}.*").split(","))
        scope = Scope((*globs, f"{watched}.{MARKER}"), (), self.history.name)
        self._listener = Listener(client, scope, 1000, None, pre_images=True)
        self._writer = Writer(self.history, "test")
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
        entries = [Entry(record.record(event), event) for event in events]
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
