"""Reconstruct documents at a position in history, by folding their entries.

A reconstructed document is its bytes; None where it did not exist; `Unknown` where history has entries of it, but not
all that are needed.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME, ClusterTime
from change_history.bson.equality import key_of
from change_history.reconstruct import fold, trust
from change_history.reconstruct.horizon import relied_on
from change_history.reconstruct.reads import in_ids
from change_history.reconstruct.trust import Unknown
from change_history.stored.chunks import whole
from change_history.stored.names import DOCUMENT_TIMELINE, HISTORY
from change_history.stored.order import fields_in_order, identity
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    from bson.raw_bson import RawBSONDocument
    from pymongo.cursor import Cursor, RawBatchCursor
    from pymongo.database import Database

    from change_history.reconstruct.lineage import Incarnation
    from change_history.stored.order import HistoryPosition
    from change_history.stored.rejected import Concern

    Fields = dict[bytes, raw.Value]


NEVER_WHOLE = Unknown("no entry tells the whole document, so what it was when watching began is not recorded")


class Reconstructed(NamedTuple):
    """A document, reconstructed from history.

    Attributes:
        document: its bytes; None: it did not exist; `Unknown`: entries that are needed are missing.
        base: `_id` of the entry that last held it whole, 16 bytes; empty: none does.
        last: `_id` of its last entry, 16 bytes.
        entries: how many entries were folded.
    """

    document: bytes | Unknown | None
    base: bytes
    last: bytes
    entries: int

    @property
    def base_time(self) -> ClusterTime | None:
        """Cluster time of the entry that last held it whole; None: none does."""
        return ClusterTime.from_id(self.base) if self.base else None


def reconstruct_many(
    database: Database[Any],
    incarnations: Iterable[Incarnation],
    ids: Sequence[raw.Value],
    moment: ClusterTime | None = None,
) -> dict[Hashable, Reconstructed]:
    """Reconstruct many documents, reading forwards. Holds no more in memory than the documents themselves.

    Args:
        incarnations: where their entries are, newest first (`change_history.reconstruct.lineage.lineage_of`).
        moment: cluster time up to which a missing event matters; None: the end of the newest incarnation.

    Returns:
        The documents, keyed by `change_history.bson.equality.key_of` the `_id`; those without an entry are absent.
    """
    found: dict[Hashable, Reconstructed] = {}
    newest_first = list(incarnations)
    rejected = trust.rejected(database, [incarnation.namespace for incarnation in newest_first])
    for incarnation in reversed(newest_first):
        for document_id, entries in timelines(database, incarnation, ids):
            key = key_of(document_id)
            found[key] = follow(entries, found.get(key))
    moment = newest_first[0].until.cluster_time if moment is None else moment
    return {key: unless_rejected(rejected, key, moment, reconstructed) for key, reconstructed in found.items()}


def timelines(
    database: Database[Any], incarnation: Incarnation, ids: Sequence[raw.Value] | None = None
) -> Iterator[tuple[raw.Value, Iterator[Fields]]]:
    """The entries of every document within an incarnation, document by document, each oldest first.

    Args:
        ids: only these documents; None: all.

    Yields:
        The `_id` as in the first entry, and the entries, which must be read before the next document is requested.
    """
    wanted = in_ids(ids) if ids is not None else {"$exists": True}
    with find(database, incarnation, wanted).sort(DOCUMENT_TIMELINE) as cursor:
        for _, stored in groupby(fields_of(database, cursor), key=lambda entry: key_of(entry[b"document_id"])):
            entries = ordered(stored, incarnation.until)
            first = next(entries, None)
            if first is not None:
                yield first[b"document_id"], _chained(first, entries)


def follow(entries: Iterable[Fields], known: Reconstructed | None = None) -> Reconstructed:
    """Fold the entries of one document, oldest first, onto its state before them.

    Raises:
        ValueError: there is neither an entry nor a state before.
    """
    following = Following(known)
    for fields in entries:
        following.add(fields)
    if not following.last:
        raise ValueError("no entry to follow")
    return following.reconstructed()


def steps(entries: Iterable[Fields], known: Reconstructed | None = None) -> Iterator[Reconstructed]:
    """Yield a document after each of its entries, oldest first, given its state before them."""
    following = Following(known)
    for fields in entries:
        following.add(fields)
        yield following.reconstructed()


class Following:
    """The state of a document while its entries are folded one by one."""

    def __init__(self, known: Reconstructed | None) -> None:
        document, self._base, self.last, self._count = known if known is not None else (NEVER_WHOLE, b"", b"", 0)
        self._state = document if isinstance(document, Unknown) else fold.Folding(document)

    def add(self, fields: Fields) -> None:
        """Fold one more entry."""
        self.last, self._count = identity(fields), self._count + 1
        if (document := fold.whole(fields)) is not None:
            self._base, self._state = relied_on(fields, self.last), fold.Folding(document)
            return
        entry = fold.read_fields(fields)
        if fold.tells_all(entry):
            self._base, self._state = relied_on(fields, self.last), fold.Folding(None)
        if isinstance(self._state, Unknown):
            return
        try:
            self._state.apply(entry)
        except fold.DoesNotApplyError as error:
            self._state = Unknown(str(error))

    def reconstructed(self) -> Reconstructed:
        """The document after the entries so far."""
        document = self._state if isinstance(self._state, Unknown) else self._state.document()
        return Reconstructed(document, self._base, self.last, self._count)


def find(
    database: Database[Any], incarnation: Incarnation, document_id: Any, before: bytes | None = None
) -> Cursor[RawBSONDocument]:
    """Open a cursor over the entries of an incarnation.

    Args:
        before: only those with a lesser `_id`.
    """
    query = _within(incarnation, document_id)
    if before is not None:
        query["_id"] |= {"$lt": Binary(before)}
    return database.get_collection(HISTORY, codec_options=RAW).find(query, hint=DOCUMENT_TIMELINE)


def newest_batches(
    database: Database[Any], incarnation: Incarnation, document_id: Any, ids: dict[str, Any]
) -> RawBatchCursor[Any]:
    """Read the entries of an incarnation by descending `_id`, in batches of concatenated BSON documents.

    Without a projection, which costs the server more than sending the whole entries.

    Args:
        incarnation: where to read.
        document_id: the condition on `document_id`.
        ids: the condition on the `_id` of the entries.
    """
    return database[HISTORY].find_raw_batches(
        {**_within(incarnation, document_id), "_id": ids},
        hint=DOCUMENT_TIMELINE,
        sort=[(key, -1) for key, _ in DOCUMENT_TIMELINE],
        batch_size=_BATCH,
    )


_BATCH = 1000


def _within(incarnation: Incarnation, document_id: Any) -> dict[str, Any]:
    return {"namespace": incarnation.namespace, "document_id": document_id, "_id": incarnation.ids()}


def fields_of(database: Database[Any], cursor: Iterable[RawBSONDocument]) -> Iterator[Fields]:
    """The top-level fields of stored history documents; those in chunks are put together."""
    for stored in cursor:
        fields = raw.fields(bytes(stored.raw))
        yield fields if b"parts" not in fields else raw.fields(bytes(whole(database, stored).raw))


def ordered(stored: Iterable[Fields], until: HistoryPosition, *, newest_first: bool = False) -> Iterator[Fields]:
    """Put entries, sorted by `_id`, into order within each cluster time, up to a position."""
    return (fields for position, fields in fields_in_order(stored, newest_first=newest_first) if position < until)


def _chained(first: Fields, rest: Iterator[Fields]) -> Iterator[Fields]:
    yield first
    yield from rest


def unless_rejected(
    rejected: trust.RejectedConcerns, document: Hashable, moment: ClusterTime, reconstructed: Reconstructed
) -> Reconstructed:
    """The document as reconstructed up to a cluster time, or `Unknown` if an event since its base was rejected."""
    since = reconstructed.base_time or BEGINNING_OF_TIME
    concern = rejected.concerning(document, since, moment)
    return reconstructed if concern is None else reconstructed._replace(document=missing(concern))


def only_rejected(
    rejected: trust.RejectedConcerns, document: Hashable, since: ClusterTime, moment: ClusterTime
) -> Reconstructed | None:
    """A document without an entry between two cluster times, as `Unknown`; None: no event of it was rejected."""
    concern = rejected.concerning(document, since, moment)
    if concern is None or concern.document_id is None:
        return None
    return Reconstructed(missing(concern), b"", concern.id, 0)


def missing(concern: Concern) -> Unknown:
    """Why a document is unknown: the rejected event, and the command that resolves it."""
    identity = concern.id.hex()
    if concern.is_vague:
        return Unknown(
            f"event {identity} was rejected and cannot be read, so it may have been of this document: "
            f"`watcher rejected retry {identity}` tries it again; `watcher checkpoint set --now` has every document "
            "compared anew, and from then on it does not matter"
        )
    whose = "it" if concern.document_id is not None else "its collection"
    return Unknown(
        f"an event of {whose} was rejected: `watcher rejected retry {identity}` brings it in once the cause is gone, "
        "which `watcher rejected list` shows"
    )
