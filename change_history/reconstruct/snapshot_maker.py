"""Make snapshots: choose the entries they follow, let none become stale, and verify them against history.

An entry that enters history late makes later snapshots wrong, so they are removed afterwards (`snapshots.forget`). That
must also catch a snapshot that is being made from history without this entry. So a claim is stored in its place first,
then history is read, and the snapshot replaces the claim only if that is still there. A claim that a killed process
leaves behind has no state, and the next process takes it over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary, MinKey, ObjectId, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern
from pymongo.errors import DuplicateKeyError, WriteError

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME, ClusterTime
from change_history.bson.values import to_python
from change_history.reconstruct import snapshots, trust
from change_history.reconstruct.document import reconstruct_one, states_of
from change_history.reconstruct.entries import fields_of, find, ordered, timelines
from change_history.reconstruct.lineage import Incarnation, incarnations_of, lineage_of
from change_history.reconstruct.reads import is_id
from change_history.reconstruct.trust import Unknown, recorded_until, trusted_since
from change_history.stored.names import DOCUMENT_TIMELINE, HISTORY, SNAPSHOTS
from change_history.stored.order import END, before, identity, position_of
from change_history.stored.reading import RAW, history_collection, recorded_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.collection import Collection
    from pymongo.database import Database

    from change_history.reconstruct.document import ReconstructedFrom
    from change_history.reconstruct.entries import Reconstructed
    from change_history.reconstruct.snapshots import Snapshot
    from change_history.reconstruct.trust import GapBounds
    from change_history.stored.order import HistoryPosition

    Fields = dict[bytes, raw.Value]

SPACING = 32
"""Entries between two snapshots, at least. It bounds what a reconstruction folds, with the entries after the last."""

SHARE = 512
"""Bytes of a snapshot per entry since the one before, at most: large documents get snapshots less often."""

LARGEST = 12 * 1024 * 1024
"""Bytes of the largest document that gets a snapshot; the server's limit for a stored document is 16 MB."""

_BEGINNING = BEGINNING_OF_TIME.first_id
_WIDEST = 10
_TOLD_BY_STREAM = {"operation": {"$in": ["update", "replace"]}, "resume_token": {"$exists": True}}
"""Snapshots follow only events of the stream: only those have a position of their own within their cluster time."""

_EMPTY_TIMESTAMP: raw.Value = (raw.TIMESTAMP, bytes(8))


class _Made(NamedTuple):
    """A stored snapshot: `_id` of the entry that it is based on, and its size in bytes."""

    base: bytes
    size: int


class SnapshotMaker:
    """Makes the snapshots of one document after the other.

    Args:
        oldest: returns the cluster time since when snapshots are kept.
    """

    def __init__(self, database: Database[Any], oldest: Callable[[], ClusterTime] = lambda: BEGINNING_OF_TIME) -> None:
        self._database = database
        self._oldest = oldest
        self._history = database.get_collection(HISTORY, codec_options=RAW)
        self._snapshots = database.get_collection(SNAPSHOTS, codec_options=RAW, write_concern=WriteConcern(1))

    def fill(
        self, namespace: str, document_id: raw.Value, until: HistoryPosition = END, *, onwards: bool = False
    ) -> Iterator[bool]:
        """Make the snapshots of a document that are due, one per step.

        Where history does not determine the document, the steps double until it does again; then the work goes back to
        where it last began to.

        Args:
            until: the beginning of a cluster time up to which all entries are stored, in whatever order.
            onwards: only those after the document's last snapshot.

        Yields:
            After each step, whether there is a snapshot now.
        """
        gaps: dict[str, list[GapBounds]] = {}
        since, step = self._last(namespace, document_id, until) if onwards else (_BEGINNING, SPACING)
        in_vain = 0
        while (entry := self.due(namespace, document_id, since, until, step << in_vain)) is not None:
            made = self._keep(namespace, entry, gaps)
            if made is not None and in_vain and made.base > since:
                since, step, in_vain = made.base, SPACING, 0  # history is complete in between, too
                continue
            yield made is not None
            since = identity(entry)
            if made is not None:
                step, in_vain = _spacing(made.size), 0
            else:
                in_vain = min(in_vain + 1, _WIDEST)

    def due(
        self, namespace: str, document_id: raw.Value, since: bytes, until: HistoryPosition, step: int = SPACING
    ) -> Fields | None:
        """The entry, at least `step` entries after another, that the next snapshot is to follow; None: none is due.

        Most documents have none, which the index alone answers.
        """
        query = {
            "namespace": namespace,
            "document_id": is_id(document_id),
            "_id": {"$gt": Binary(since), "$lte": Binary(until.last_id)},
        }
        options: dict[str, Any] = {"sort": [("_id", 1)], "hint": DOCUMENT_TIMELINE, "limit": 1}
        for reached in self._history.find(query, {"_id": 1}, skip=step - 1, **options):
            first = {"$gte": Binary(identity(raw.fields(bytes(reached.raw)))), "$lte": Binary(until.last_id)}
            wanted = ("namespace", "document_id", "resume_token")
            for stored in self._history.find({**query, "_id": first, **_TOLD_BY_STREAM}, wanted, **options):
                return raw.fields(bytes(stored.raw))
        return None

    def _last(self, namespace: str, document_id: raw.Value, until: HistoryPosition) -> tuple[bytes, int]:
        """`_id` of a document's last snapshot before a position, and the number of entries until the next is due."""
        query = {
            "namespace": namespace,
            "document_id": is_id(document_id),
            "_id": {"$lte": Binary(until.last_id)},
            "document": {"$exists": True},
        }
        wanted = {"_id": 1, "size": {"$bsonSize": "$document"}}
        for found in self._snapshots.find(query, wanted, sort=[("_id", -1)], hint=DOCUMENT_TIMELINE, limit=1):
            return bytes(found["_id"]), _spacing(found["size"])
        return self._oldest().first_id, SPACING

    def _keep(self, namespace: str, entry: Fields, gaps: dict[str, list[GapBounds]]) -> _Made | None:
        """Make the snapshot after an entry; None: there can be none.

        A document whose `_id` is an empty timestamp gets none: the server would put its own time there.
        """
        if entry[b"document_id"] == _EMPTY_TIMESTAMP:
            return None
        position = {"_id": Binary(identity(entry))}
        nonce = ObjectId()
        mine = {**position, "claim": nonce}
        claim = [(name, entry[name]) for name in (b"_id", b"namespace", b"document_id")]
        claim.append((b"claim", (raw.OBJECT_ID, nonce.binary)))
        try:
            unmade = {**position, "document": {"$exists": False}}
            self._snapshots.replace_one(unmade, RawBSONDocument(raw.from_fields(claim)), upsert=True)
        except DuplicateKeyError:
            stored = self._snapshots.find_one(position)
            start = snapshots.read(raw.fields(bytes(stored.raw))) if stored is not None else None
            return _Made(start.base, len(start.document)) if start is not None else None
        lineage = list(lineage_of(self._database, namespace, position_of(entry).following))
        told = reconstruct_one(self._database, lineage, entry[b"document_id"])
        for incarnation in lineage:
            if incarnation.namespace not in gaps:
                gaps[incarnation.namespace] = trust.gaps(self._database, incarnation.namespace)
        state = _trusted(
            told.reconstructed, identity(entry), [gap for incarnation in lineage for gap in gaps[incarnation.namespace]]
        )
        if state is not None and self._fulfil(mine, snapshots.written(entry, *state, _changed(told))):
            return _Made(state[1], len(state[0]))
        self._snapshots.delete_one(mine)
        return None

    def _fulfil(self, claim: dict[str, Any], snapshot: bytes) -> bool:
        """Replace a claim by its snapshot; whether the claim was still there, and the server took the snapshot."""
        try:
            return self._snapshots.replace_one(claim, RawBSONDocument(snapshot)).matched_count == 1
        except WriteError:
            return False


def _changed(told: ReconstructedFrom) -> tuple[bytes, bytes] | None:
    """The snapshot before, by its `_id`, and the paths changed since then; None: not known."""
    if told.start is None or not told.is_of_one_name:
        return None
    paths = snapshots.changed_by(told.entries)
    return (told.start.id, paths) if paths is not None else None


def _spacing(size: int) -> int:
    """The number of entries after which the next snapshot is due, given the size of the last in bytes."""
    return max(SPACING, size // SHARE)


def _trusted(reconstructed: Reconstructed | None, entry: bytes, gaps: list[GapBounds]) -> tuple[bytes, bytes] | None:
    """The state after an entry and its base; None: it cannot be relied upon, or is larger than `LARGEST`."""
    if reconstructed is None or reconstructed.last != entry or not isinstance(reconstructed.document, bytes):
        return None
    since = trusted_since(ClusterTime.from_id(entry), BEGINNING_OF_TIME, gaps)
    if reconstructed.base_time is None or reconstructed.base_time < since or len(reconstructed.document) > LARGEST:
        return None
    return reconstructed.document, reconstructed.base


class Document(NamedTuple):
    """A document that has history or snapshots.

    Attributes:
        entries: the number of its history entries, or of its snapshots.
    """

    namespace: str
    id: raw.Value
    entries: int


class WrongSnapshot(NamedTuple):
    """A snapshot that differs from history.

    Attributes:
        snapshot: its `_id`, 16 bytes: that of the entry it follows.
    """

    document: Document
    snapshot: bytes
    said: str

    @property
    def cluster_time(self) -> Timestamp:
        """The cluster time of the entry it follows."""
        return ClusterTime.from_id(self.snapshot).timestamp


class Snapshots:
    """The snapshots of a history.

    Args:
        database: the history database, read from its primary.
    """

    def __init__(self, database: Database[Any]) -> None:
        self._database = database
        self._snapshots = database.get_collection(SNAPSHOTS, codec_options=RAW)
        self._maker = SnapshotMaker(database)

    def namespaces(self) -> list[str]:
        """Every namespace that has history or snapshots, sorted."""
        return sorted({*recorded_names(history_collection(self._database)), *recorded_names(self._snapshots)})

    def long_lived(self, namespace: str, document_id: raw.Value | None = None) -> Iterator[Document]:
        """The documents of a namespace with enough entries for a snapshot; with an id, only that one."""
        history = self._database.get_collection(HISTORY, codec_options=RAW)
        return _counted(history, namespace, document_id, SPACING)

    def discard(self, namespace: str, document_id: raw.Value | None = None) -> None:
        """Delete the snapshots of a namespace, or of one document."""
        of_one = {"document_id": is_id(document_id)} if document_id is not None else {}
        self._snapshots.delete_many({"namespace": namespace, **of_one})

    def make_index(self) -> None:
        """Create the index of the snapshots, where no daemon has done so yet."""
        self._snapshots.create_index(DOCUMENT_TIMELINE, name=snapshots.TIMELINE_NAME)

    def fill(self, document: Document) -> Iterator[bool]:
        """Make all snapshots of a document that are due, in steps of some entries, up to where history is complete.

        Yields:
            After each step, whether there is a snapshot now.
        """
        until = _recorded_until(self._database, document.namespace)
        return self._maker.fill(document.namespace, document.id, until=until)

    def documents(self, namespace: str) -> Iterator[Document]:
        """The documents of a namespace that have snapshots."""
        return _counted(self._snapshots, namespace, None, 1)

    def verify(self, document: Document) -> Iterator[WrongSnapshot]:
        """Compare the snapshots of a document, byte for byte, with the result of folding its whole history."""
        query = {"namespace": document.namespace, "document_id": is_id(document.id)}
        found = self._snapshots.find(query, {"_id": 1}, hint=DOCUMENT_TIMELINE)
        left = {bytes(item["_id"]) for item in found}
        for step in every_state(self._database, document.namespace, document.id):
            if step.last in left:
                left.remove(step.last)
                yield from self._judged(document, step.last, step)
        for snapshot in sorted(left):
            yield from self._judged(document, snapshot, None)

    def remove(self, difference: WrongSnapshot) -> None:
        """Delete a snapshot that `verify` found to be wrong."""
        self._snapshots.delete_one({"_id": Binary(difference.snapshot)})

    def _judged(self, document: Document, snapshot: bytes, step: Reconstructed | None) -> Iterator[WrongSnapshot]:
        start = self._read(snapshot)
        if start is None or (_wrong(start, step) or self._wrongly_changed(document, start)) is None:
            return
        # Meanwhile history may have grown, or the snapshot may have been made again.
        start = self._read(snapshot)
        if start is None:
            return
        lineage = lineage_of(self._database, document.namespace, start.position.following)
        again = reconstruct_one(self._database, lineage, document.id, from_snapshots=False).reconstructed
        said = _wrong(start, again if again is not None and again.last == snapshot else None)
        said = said or self._wrongly_changed(document, start)
        if said is not None:
            yield WrongSnapshot(document, snapshot, said)

    def _wrongly_changed(self, document: Document, start: Snapshot) -> str | None:
        """What is wrong with a snapshot's changed paths; None: nothing, or the entries they are from have expired."""
        if not start.since:
            return None
        since = ClusterTime.from_id(start.since)
        stretch = Incarnation(document.namespace, since, start.position.following)
        stored = find(self._database, stretch, is_id(document.id)).sort("_id", 1)
        entries = list(ordered(fields_of(self._database, stored), stretch.until))
        before = [number for number, fields in enumerate(entries) if identity(fields) == start.since]
        if not before or snapshots.changed_by(entries[before[0] + 1 :]) == start.changed:
            return None
        return "other paths were changed since the one before"

    def _read(self, snapshot: bytes) -> Snapshot | None:
        stored = self._snapshots.find_one({"_id": Binary(snapshot)})
        return snapshots.read(raw.fields(bytes(stored.raw))) if stored is not None else None


def _wrong(start: Snapshot, step: Reconstructed | None) -> str | None:
    """What is wrong with a snapshot, given the document reconstructed there; None: nothing."""
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
    """The documents with at least `least` entries in a collection, counted from its index alone."""
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


def _recorded_until(database: Database[Any], namespace: str) -> HistoryPosition:
    """The position up to which all events of a namespace are stored. After it, a batch may be stored in part."""
    reached = recorded_until(database, namespace)
    return before(ClusterTime.of(reached)) if reached is not None else END


def every_state(database: Database[Any], namespace: str, document_id: raw.Value) -> Iterator[Reconstructed]:
    """Yield a document after each of its entries under one name, oldest first, without using snapshots."""
    for incarnation in incarnations_of(database, namespace):
        for _, entries in timelines(database, incarnation, [document_id]):
            yield from states_of(database, namespace, document_id, entries)
