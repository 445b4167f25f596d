"""A sealed history, made in the test's own process by the daemon's own stages, and copies of it to be tampered with."""

from __future__ import annotations

import datetime as dt
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any, Self

from bson.raw_bson import RawBSONDocument
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME, ClusterTime
from change_history.seals.seal import SigningKey
from change_history.seals.store import Store
from change_history.stored.names import CHECKPOINTS
from change_history.stored.order import identity
from change_history.stored.reading import RAW
from tests.support.daemon import eventually
from tests.support.recording import Recording
from watcher.sealing.sealer import Sealer, Terms
from watcher.stream.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo import MongoClient
    from pymongo.database import Database

    from change_history.seals.seal import Sealed
    from tests.support.daemon import Daemon
    from watcher.sealing.outlet import Outlet


class SealedRecording(Recording):
    """Follows one database and seals what it records; a context manager, which drops the history at its end.

    Args:
        stream: name of the stream; several may be recorded into one history, each by its own object.
        key: what seals are signed with.
    """

    def __init__(
        self, client: MongoClient[Any], watched: str, *, key: SigningKey | None = None, outlet: Outlet | None = None
    ) -> None:
        super().__init__(client, watched)
        self.reached = BEGINNING_OF_TIME
        self._terms = Terms(1.0, key, outlet)
        self._begin()

    def _begin(self) -> None:
        self.sealer = a_sealer(self.history, "default", self._terms, lambda: self.reached or None, self.reached)
        self._writer = Writer(self.history, "default", self.sealer.stored)

    def record(self) -> list[bytes]:
        """Record what has happened, and save the position."""
        documents = self.catch_up()
        if documents:
            self.reached = max(self.reached, *(ClusterTime.from_id(identity(raw.fields(each))) for each in documents))
        self.save()
        return documents

    def save(self) -> None:
        """Save the position."""
        said = {"cluster_time": self.reached.timestamp, "updated_at": dt.datetime.now(dt.UTC)}
        self.history[CHECKPOINTS].update_one({"_id": "default"}, {"$set": said}, upsert=True)

    def seal(self) -> Sealed:
        """Seal what there is."""
        sealed = self.sealer.now()
        assert sealed is not None
        return sealed

    def restart(self) -> None:
        """Lose what is only in memory, as a kill does, and begin again from the saved position."""
        found = self.history[CHECKPOINTS].find_one({"_id": "default"})
        self.reached = ClusterTime.of(found["cluster_time"]) if found is not None else BEGINNING_OF_TIME
        self._begin()

    def __enter__(self) -> Self:
        return self


def a_sealer(database: Database[Any], stream: str, terms: Terms, recorded: Any, begins: ClusterTime) -> Sealer:
    """A sealer that nobody else can take the lead from."""
    sealer = Sealer(database, stream, terms, recorded, lambda write: write(None), Event())
    sealer.begin(begins)
    return sealer


def a_key() -> SigningKey:
    """A key to sign with."""
    return SigningKey(Ed25519PrivateKey.generate())


class Original:
    """What a history database holds, so that it can be had again after it was tampered with."""

    def __init__(self, database: Database[Any]) -> None:
        self._database = database
        self._documents = {name: self._read(name) for name in self._names()}

    def restore(self) -> None:
        """Put back every byte."""
        for name in {*self._documents, *self._names()}:
            wanted, there = self._documents.get(name, {}), self._read(name)
            collection = self._database[name]
            for key in [key for key in there if there[key] != wanted.get(key)]:
                query = RawBSONDocument(raw.from_fields([(b"_id", key)]))
                assert collection.delete_one(query).deleted_count
            lost = [RawBSONDocument(wanted[key]) for key in wanted if there.get(key) != wanted[key]]
            if lost:
                collection.insert_many(lost)

    def _names(self) -> list[str]:
        found = self._database.list_collection_names(filter={"type": "collection"})
        return [name for name in found if not name.startswith("system.")]

    def _read(self, name: str) -> dict[raw.Value, bytes]:
        stored = self._database.get_collection(name, codec_options=RAW).find()
        documents = [bytes(document.raw) for document in stored]
        return {raw.fields(document)[b"_id"]: document for document in documents}


@contextmanager
def tampered(original: Original) -> Iterator[None]:
    """Put everything back at the end of the block."""
    try:
        yield
    finally:
        original.restore()


def sealed_again(daemon: Daemon, more: int = 2) -> None:
    """Wait for so many more seals."""
    last = Store(daemon.database).last_number()
    eventually(lambda: Store(daemon.database).last_number() >= last + more, f"more seals\n{daemon.log()}")
