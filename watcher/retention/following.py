"""Folds a document's entries up to a horizon, for the base that replaces them and the entries to delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.bson import raw
from change_history.bson.equality import key_of
from change_history.reconstruct import horizon as horizons
from change_history.reconstruct.entries import Following, Reconstructed, unless_rejected
from change_history.reconstruct.reads import in_ids
from change_history.stored.names import DOCUMENT_TIMELINE, HISTORY
from change_history.stored.order import identity
from change_history.stored.reading import documents_in
from watcher.events import folding

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from pymongo.database import Database

    from change_history.bson.cluster_time import ClusterTime
    from change_history.reconstruct import trust
    from change_history.reconstruct.lineage import Incarnation
    from watcher.events._folding import Folded

    Fields = dict[bytes, raw.Value]


AT_ONCE = 250
"""Entries in one batch from the server: while pymongo splits a batch, it holds the interpreter, and no other thread
runs."""


class Expired(NamedTuple):
    """A document whose history up to a horizon is to be deleted.

    Attributes:
        base: the base document to write; None: none is needed, or there is one already.
        gone: `_id`s of the entries to delete.
    """

    base: bytes | None
    gone: list[bytes]


class ExpiryHorizon(NamedTuple):
    """The namespace and cluster time at which base documents are written.

    Attributes:
        namespace: the namespace of the entries to delete.
        at: the last cluster time to expire.
        rejected: the rejected events of the documents.
    """

    namespace: bytes
    at: ClusterTime
    rejected: trust.RejectedConcerns

    def expired(
        self, document_id: raw.Value, key: Hashable, reconstructed: Reconstructed, wall: int, gone: list[bytes]
    ) -> Expired:
        """The base of a document, and its entries to delete.

        Args:
            key: `change_history.bson.equality.key_of` its `_id`.
            wall: latest wall time of its entries, in milliseconds since 1970.
            gone: `_id`s of its entries.
        """
        found = unless_rejected(self.rejected, key, self.at, reconstructed)
        if found.document is None:
            return Expired(None, gone)
        wall = max(wall, horizons.wall_ms(self.at))
        base = horizons.base(self.namespace, document_id, found.document, self.at, relies_on=found.base, wall=wall)
        return Expired(base, gone)


class ExpiringDocument:
    """A document that is folded up to the horizon, entry by entry; it accepts entries of every kind."""

    def __init__(self, document_id: raw.Value) -> None:
        self._id = document_id
        self._following = Following(None)
        self._ids: list[bytes] = []
        self._wall = 0
        self._stands: bytes | None = None
        self._only_baseline: bytes | None = None

    def add(self, fields: Fields, at: ClusterTime, *, mine: bool) -> None:
        """Fold the next entry.

        Args:
            at: the horizon.
            mine: the entry belongs to the namespace itself, not to a former name of the collection.
        """
        self._following.add(fields)
        self._wall = max(self._wall, int.from_bytes(fields[b"timestamp"][1], "little", signed=True))
        entry = identity(fields)
        if mine:
            self._ids.append(entry)
            self._only_baseline = entry if _is_baseline(fields) and len(self._ids) == 1 else None
            if entry.startswith(at.prefix) and horizons.is_base(fields):
                self._stands = entry
        else:
            self._only_baseline = None

    def expired(self, horizon: ExpiryHorizon, key: Hashable) -> Expired:
        """The document's base, and its entries to delete."""
        stays = self._stands or (self._only_baseline if len(self._ids) == 1 else None)
        if stays is not None:
            return Expired(None, [each for each in self._ids if each != stays])
        return horizon.expired(self._id, key, self._following.reconstructed(), self._wall, self._ids)


def quickly(
    database: Database[Any],
    incarnation: Incarnation,
    ids: Sequence[raw.Value],
    horizon: ExpiryHorizon,
    odd: list[raw.Value],
) -> Iterator[Expired]:
    """Fold documents that have only ordinary entries with the compiled code, in about a twentieth of the time.

    Args:
        incarnation: the incarnation that holds all their entries.
        odd: receives the `_id`s of the other documents, which `ExpiringDocument` has to fold.
    """
    if folding.COMPILED is None or incarnation.until.cluster_time < horizon.at:
        odd.extend(ids)
        return
    query = {"namespace": incarnation.namespace, "document_id": in_ids(ids), "_id": incarnation.ids()}
    order: dict[str, Any] = {"sort": DOCUMENT_TIMELINE, "hint": DOCUMENT_TIMELINE, "batch_size": AT_ONCE}
    before = int.from_bytes(horizon.at.prefix, "big")
    one: _One | None = None
    with database[HISTORY].find_raw_batches(query, **order) as cursor:
        for entry in (each for batch in cursor for each in documents_in(batch)):
            if one is not None and one.folded.take(entry):
                continue
            fields = raw.fields(entry)
            key = key_of(fields[b"document_id"])
            if one is not None and key == one.key:  # the same number, as another type
                one.folded.is_odd = True
                continue
            if one is not None:
                yield from one.expired(horizon, odd)
            one = _One(folding.COMPILED.Folded(before), fields[b"document_id"], key, is_told=_is_baseline(fields))
            one.folded.take(entry)
    if one is not None:
        yield from one.expired(horizon, odd)


class _One:
    """A document that is folded by the compiled code.

    Args:
        is_told: its first entry is a baseline, which stays if it is the only entry.
    """

    def __init__(self, folded: Folded, document_id: raw.Value, key: Hashable, *, is_told: bool) -> None:
        self.folded, self.id, self.key = folded, document_id, key
        self._is_told = is_told

    def expired(self, horizon: ExpiryHorizon, odd: list[raw.Value]) -> Iterator[Expired]:
        """Its base and entries to delete; nothing if it is added to `odd`."""
        found, ids = self.folded, self.folded.ids
        if found.is_odd or (len(ids) == 1 and self._is_told):
            odd.append(self.id)
            return
        reconstructed = Reconstructed(found.document(), found.base, ids[-1], len(ids))
        yield horizon.expired(self.id, self.key, reconstructed, found.wall, ids)


def _is_baseline(fields: Fields) -> bool:
    return raw.text_of(fields[b"operation"]) == horizons.BASELINE
