"""Keeping snapshots: after which entries, and made in such a way that none can be stale.

An entry that enters history late makes later snapshots wrong, and is followed by their removal (`snapshots.forget`). So
that none slips through that is being made from a history without that entry, its place is claimed first, then history
is read, and the state takes the claim's place only if that is still there. A claim that a kill leaves behind tells
nothing, and is taken over by whoever comes next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary, ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern
from pymongo.errors import DuplicateKeyError, WriteError

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME, ClusterTime
from change_history.reconstruct import holes, lives, snapshots
from change_history.reconstruct.belief import believed_since
from change_history.reconstruct.document import recall_one
from change_history.reconstruct.ids import is_id
from change_history.reconstruct.places import END, identity, place_of
from change_history.stored.names import DOCUMENT_TIMELINE, HISTORY, SNAPSHOTS
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from change_history.reconstruct.belief import Hole
    from change_history.reconstruct.places import Place
    from change_history.reconstruct.states import Recalled

    Fields = dict[bytes, raw.Value]

SPACING = 32
"""A snapshot stands for so many entries, or more: as-of folds no more, and those after the last snapshot."""

SHARE = 512
"""Bytes of a snapshot for each entry that it stands for, at most: large documents have them less often."""

LARGEST = 12 * 1024 * 1024
"""Bytes of the largest state that is kept; a server stores documents of 16 MB."""

_BEGINNING = BEGINNING_OF_TIME.first_id
_WIDEST = 10
_TOLD_BY_STREAM = {"operation": {"$in": ["update", "replace"]}, "resume_token": {"$exists": True}}
"""A snapshot stands after an event of the stream: only those have a place of their own within their cluster time."""


class _Made(NamedTuple):
    """A snapshot that stands: `_id` of the entry that it is based on, and its bytes."""

    base: bytes
    size: int


class Keeper:
    """Makes the snapshots of one document after the other.

    Args:
        database: the history database.
    """

    def __init__(self, database: Database[Any]) -> None:
        self._database = database
        self._history = database.get_collection(HISTORY, codec_options=RAW)
        self._snapshots = database.get_collection(SNAPSHOTS, codec_options=RAW, write_concern=WriteConcern(1))

    def fill(
        self, namespace: str, document_id: raw.Value, until: Place = END, *, onwards: bool = False
    ) -> Iterator[bool]:
        """Make the snapshots of a document that are due, one a step.

        Where history does not tell the document, wider and wider steps are taken until it does again; then the work is
        taken up where it began to.

        Args:
            namespace: `db.coll`.
            document_id: its `_id`.
            until: the beginning of a cluster time up to which all of history is stored, in whatever order that is done.
            onwards: only those after the last that there is.

        Yields:
            After each step, whether a snapshot stands there now.

        Raises:
            pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
        """
        gaps: dict[str, list[Hole]] = {}
        since, step = self._last(namespace, document_id, until) if onwards else (_BEGINNING, SPACING)
        in_vain = 0
        while (entry := self.due(namespace, document_id, since, until, step << in_vain)) is not None:
            made = self._keep(namespace, entry, gaps)
            if made is not None and in_vain and made.base > since:
                since, step, in_vain = made.base, SPACING, 0  # what lies between is told too
                continue
            yield made is not None
            since = identity(entry)
            if made is not None:
                step, in_vain = _spacing(made.size), 0
            else:
                in_vain = min(in_vain + 1, _WIDEST)

    def due(
        self, namespace: str, document_id: raw.Value, since: bytes, until: Place, step: int = SPACING
    ) -> Fields | None:
        """The entry, at least so many after another, that is to be followed by the next snapshot.

        Most documents have none, which the index alone says.
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

    def _last(self, namespace: str, document_id: raw.Value, until: Place) -> tuple[bytes, int]:
        """`_id` of a document's last snapshot before a place, and after how many entries the next one is due."""
        query = {
            "namespace": namespace,
            "document_id": is_id(document_id),
            "_id": {"$lte": Binary(until.last_id)},
            "document": {"$exists": True},
        }
        wanted = {"_id": 1, "size": {"$bsonSize": "$document"}}
        for found in self._snapshots.find(query, wanted, sort=[("_id", -1)], hint=DOCUMENT_TIMELINE, limit=1):
            return bytes(found["_id"]), _spacing(found["size"])
        return _BEGINNING, SPACING

    def _keep(self, namespace: str, entry: Fields, gaps: dict[str, list[Hole]]) -> _Made | None:
        """Make one snapshot; None if there can be none."""
        place = {"_id": Binary(identity(entry))}
        nonce = ObjectId()
        mine = {**place, "claim": nonce}
        claim = [(name, entry[name]) for name in (b"_id", b"namespace", b"document_id")]
        claim.append((b"claim", (raw.OBJECT_ID, nonce.binary)))
        try:
            unmade = {**place, "document": {"$exists": False}}
            self._snapshots.replace_one(unmade, RawBSONDocument(raw.from_fields(claim)), upsert=True)
        except DuplicateKeyError:
            stored = self._snapshots.find_one(place)
            start = snapshots.read(raw.fields(bytes(stored.raw))) if stored is not None else None
            return _Made(start.base, len(start.document)) if start is not None else None
        spans = list(lives.spans(self._database, namespace, place_of(entry).following))
        recalled = recall_one(self._database, spans, entry[b"document_id"])
        for span in spans:
            if span.namespace not in gaps:
                gaps[span.namespace] = holes.gaps(self._database, span.namespace)
        state = _believed(recalled, identity(entry), [hole for span in spans for hole in gaps[span.namespace]])
        if state is not None and self._fulfil(mine, snapshots.written(entry, *state)):
            return _Made(state[1], len(state[0]))
        self._snapshots.delete_one(mine)
        return None

    def _fulfil(self, claim: dict[str, Any], snapshot: bytes) -> bool:
        """Put a snapshot in the place of a claim; whether that was still there, and the server took it."""
        try:
            return self._snapshots.replace_one(claim, RawBSONDocument(snapshot)).matched_count == 1
        except WriteError:
            return False


def _spacing(size: int) -> int:
    """After how many entries a snapshot is due that follows one of so many bytes."""
    return max(SPACING, size // SHARE)


def _believed(recalled: Recalled | None, entry: bytes, gaps: list[Hole]) -> tuple[bytes, bytes] | None:
    """The state after an entry and what it is based on, if it can be relied upon and is no larger than it may be."""
    if recalled is None or recalled.last != entry or not isinstance(recalled.document, bytes):
        return None
    since = believed_since(ClusterTime.from_id(entry), BEGINNING_OF_TIME, gaps)
    if recalled.base_time is None or recalled.base_time < since or len(recalled.document) > LARGEST:
        return None
    return recalled.document, recalled.base
