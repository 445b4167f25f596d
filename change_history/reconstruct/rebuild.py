"""Snapshots made anew from history, and compared with it. Nothing else is written than they themselves.

Both may be done while the daemon runs, interrupted, and repeated (see `change_history.reconstruct.keeping`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary, MinKey, Timestamp

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import to_python
from change_history.reconstruct import lives, snapshots
from change_history.reconstruct.document import recall_one
from change_history.reconstruct.ids import is_id
from change_history.reconstruct.keeping import SPACING, Keeper
from change_history.reconstruct.places import END, before
from change_history.reconstruct.recorded import recorded_until
from change_history.reconstruct.states import Unknown
from change_history.reconstruct.told import told
from change_history.stored.names import DOCUMENT_TIMELINE, HISTORY, SNAPSHOTS
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.collection import Collection
    from pymongo.database import Database

    from change_history.reconstruct.places import Place
    from change_history.reconstruct.snapshots import Start
    from change_history.reconstruct.states import Recalled


class Document(NamedTuple):
    """A document in history.

    Attributes:
        namespace: `db.coll`.
        id: its `_id`.
        entries: how many there are of it, in its history or among the snapshots.
    """

    namespace: str
    id: raw.Value
    entries: int


class Difference(NamedTuple):
    """A snapshot that does not say what history says.

    Attributes:
        document: of which it is.
        snapshot: its `_id`, 16 bytes, that of the entry after which it stands.
        said: what is wrong with it, in words.
    """

    document: Document
    snapshot: bytes
    said: str

    @property
    def cluster_time(self) -> Timestamp:
        """When it stands."""
        return ClusterTime.from_id(self.snapshot).timestamp


class Snapshots:
    """The snapshots of a history.

    Args:
        database: the history database; its primary is to be read.

    Every method raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """

    def __init__(self, database: Database[Any]) -> None:
        self._database = database
        self._snapshots = database.get_collection(SNAPSHOTS, codec_options=RAW)
        self._keeper = Keeper(database)

    def namespaces(self) -> list[str]:
        """Every namespace that has history or snapshots, sorted."""
        found = {*self._database[HISTORY].distinct("namespace"), *self._database[SNAPSHOTS].distinct("namespace")}
        return sorted(name for name in found if name)

    def long_lived(self, namespace: str, document_id: raw.Value | None = None) -> Iterator[Document]:
        """The documents of a namespace that have entries enough for a snapshot; with an id, no more than that one."""
        history = self._database.get_collection(HISTORY, codec_options=RAW)
        return _counted(history, namespace, document_id, SPACING)

    def discard(self, namespace: str, document_id: raw.Value | None = None) -> None:
        """Throw away the snapshots of a namespace, or of one document."""
        of_one = {"document_id": is_id(document_id)} if document_id is not None else {}
        self._snapshots.delete_many({"namespace": namespace, **of_one})

    def make_index(self) -> None:
        """Make the index of the snapshots, where no daemon has done so yet."""
        self._snapshots.create_index(DOCUMENT_TIMELINE, name=snapshots.TIMELINE_NAME)

    def fill(self, document: Document) -> Iterator[bool]:
        """Make all snapshots of a document that are due, in steps of some entries each, up to where history is whole.

        Yields:
            After each step, whether a snapshot stands there now.
        """
        until = _recorded_until(self._database, document.namespace)
        return self._keeper.fill(document.namespace, document.id, until=until)

    def documents(self, namespace: str) -> Iterator[Document]:
        """The documents of a namespace that have snapshots."""
        return _counted(self._snapshots, namespace, None, 1)

    def verify(self, document: Document) -> Iterator[Difference]:
        """Compare the snapshots of a document, byte for byte, with the folding of its whole history."""
        query = {"namespace": document.namespace, "document_id": is_id(document.id)}
        found = self._snapshots.find(query, {"_id": 1}, hint=DOCUMENT_TIMELINE)
        left = {bytes(item["_id"]) for item in found}
        for step in told(self._database, document.namespace, document.id):
            if step.last in left:
                left.remove(step.last)
                yield from self._judged(document, step.last, step)
        for snapshot in sorted(left):
            yield from self._judged(document, snapshot, None)

    def remove(self, difference: Difference) -> None:
        """Throw away a snapshot that says something wrong."""
        self._snapshots.delete_one({"_id": Binary(difference.snapshot)})

    def _judged(self, document: Document, snapshot: bytes, step: Recalled | None) -> Iterator[Difference]:
        start = self._read(snapshot)
        if start is None or _wrong(start, step) is None:
            return
        # History may have grown in between, or the snapshot have been made again.
        start = self._read(snapshot)
        if start is None:
            return
        spans = lives.spans(self._database, document.namespace, start.place.following)
        again = recall_one(self._database, spans, document.id, from_snapshots=False)
        said = _wrong(start, again if again is not None and again.last == snapshot else None)
        if said is not None:
            yield Difference(document, snapshot, said)

    def _read(self, snapshot: bytes) -> Start | None:
        stored = self._snapshots.find_one({"_id": Binary(snapshot)})
        return snapshots.read(raw.fields(bytes(stored.raw))) if stored is not None else None


def _wrong(start: Start, step: Recalled | None) -> str | None:
    """What is wrong with a snapshot, given what history says at its place; None: nothing."""
    if step is None:
        return "no entry of the document stands there"
    if step.document is None:
        return "the document was not there"
    if isinstance(step.document, Unknown):
        return f"history does not tell the document there: {step.document.reason}"
    if start.document != step.document:
        return "the document was another"
    if start.base != step.base:
        return "it is based on another entry"
    return None


def _counted(
    collection: Collection[Any], namespace: str, document_id: raw.Value | None, least: int
) -> Iterator[Document]:
    """Documents by the number of their entries in a collection; its index alone tells."""
    wanted = is_id(document_id) if document_id is not None else {"$gt": MinKey()}
    stages: list[dict[str, Any]] = [
        {"$match": {"namespace": namespace, "document_id": wanted}},
        {"$group": {"_id": "$document_id", "entries": {"$sum": 1}}},
        {"$match": {"entries": {"$gte": least}}},
        {"$sort": {"_id": 1}},
    ]
    with collection.aggregate(stages, allowDiskUse=True, hint=dict(DOCUMENT_TIMELINE)) as cursor:
        for stored in cursor:
            fields = raw.fields(bytes(stored.raw))
            yield Document(namespace, fields[b"_id"], int(to_python(fields[b"entries"])))


def _recorded_until(database: Database[Any], namespace: str) -> Place:
    """Up to where all events of a namespace are in history. Behind it a batch may be stored in part, in any order."""
    reached = recorded_until(database, namespace)
    return before(ClusterTime.of(reached)) if reached is not None else END
