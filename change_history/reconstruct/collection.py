"""Reconstruct a whole collection at one or several positions, one document after the other, in bounded memory."""

from __future__ import annotations

from itertools import chain, groupby, islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME, END_OF_TIME, ClusterTime
from change_history.bson.equality import key_of
from change_history.bson.values import document_to_python, to_python
from change_history.reconstruct import point_in_time, skim, trust
from change_history.reconstruct.entries import Following, Reconstructed, fields_of, only_rejected, unless_rejected
from change_history.reconstruct.filters import Filter
from change_history.reconstruct.horizon import horizon
from change_history.reconstruct.lineage import Lineage
from change_history.reconstruct.reads import in_ids
from change_history.reconstruct.trust import Unknown
from change_history.stored.names import DOCUMENT_TIMELINE, HISTORY
from change_history.stored.order import HistoryPosition, before, fields_in_order
from change_history.stored.reading import RAW, require_namespace

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    from bson.raw_bson import RawBSONDocument
    from pymongo.cursor import Cursor
    from pymongo.database import Database

    from change_history.bson.raw import Value
    from change_history.reconstruct.lineage import Incarnation
    from change_history.reconstruct.point_in_time import Instant
    from change_history.stored.event import Event
    from change_history.stored.order import Fields


class CollectionDocument(NamedTuple):
    """A document of a collection at one moment.

    Attributes:
        data: its BSON; None: it cannot be reconstructed.
        unknown: why it cannot be reconstructed; None: it can.
    """

    namespace: str
    raw_id: Value
    data: bytes | None
    unknown: str | None

    @property
    def document_id(self) -> Any:
        """Its `_id`, exact (see `change_history.bson.values.to_python`)."""
        return to_python(self.raw_id)

    @property
    def document(self) -> dict[str, Any] | None:
        """The document, its values exact; None: it cannot be reconstructed."""
        return document_to_python(self.data) if self.data is not None else None


class CollectionState:
    """A collection at one moment.

    Args:
        at: when; None: as last recorded.

    Raises:
        TypeError: `at` is neither a datetime nor a `bson.Timestamp`.
        ValueError: `at` is a datetime without a time zone.
    """

    def __init__(self, database: Database[Any], namespace: str, at: Instant | None = None) -> None:
        require_namespace(namespace)
        self._database = database
        self.namespace = namespace
        where = point_in_time.of_collection(database, namespace, at)
        hidden = horizon(database, namespace) if at is not None else None
        self._expired = hidden.unknown if hidden is not None and hidden.hides(at) else None
        self.position = where.position
        self.moment = where.moment
        self.lineage = Lineage(database, namespace, where.position, where.moment, where.boundary)

    @property
    def unknown(self) -> str | None:
        """Why the set of documents cannot be reconstructed; None: it can."""
        unknown = self._expired or self.lineage.unrecorded or self.lineage.not_yet
        return unknown.reason if unknown is not None else None

    @property
    def gaps(self) -> list[Event]:
        """The gaps since the collection's beginning that are not reconciled."""
        return self.lineage.gaps(None)

    def documents(self, query: dict[str, Any] | None = None) -> Iterator[CollectionDocument]:
        """The documents that existed, and those that cannot be reconstructed, in the server's order of `_id`s.

        Documents with only rejected events come last.

        Args:
            query: a MongoDB filter (see `reconstruct.filters`). Documents that cannot be reconstructed may match,
                so they are always included.

        Raises:
            change_history.reconstruct.filters.FilterError: the server refuses the filter.
        """
        if not query:
            return self._all()
        return Filter(self._database, query).select(self._all(), lambda told: told.data)

    def _all(self) -> Iterator[CollectionDocument]:
        for document_id, (reconstructed,) in reconstruct_all(self._database, [list(self.lineage)], [self.moment]):
            if reconstructed is None or reconstructed.document is None:
                continue
            if isinstance(reconstructed.document, Unknown):
                yield CollectionDocument(self.namespace, document_id, None, reconstructed.document.reason)
            else:
                yield CollectionDocument(self.namespace, document_id, reconstructed.document, None)


BY_DOCUMENT = [("document_id", 1), ("_id", 1)]
"""The order of the pass. For several names, the server merges their timelines, each of them sorted by the index."""


_BATCH = 2000


def reconstruct_all(
    database: Database[Any], cuts: Sequence[Sequence[Incarnation]], moments: Sequence[ClusterTime]
) -> Iterator[tuple[raw.Value, list[Reconstructed | None]]]:
    """Reconstruct every document of a collection at several positions.

    Holds no more in memory than the states of one document, and its entries of one cluster time.

    Args:
        cuts: for each position, the incarnations that hold the documents, newest first
            (`change_history.reconstruct.lineage.lineage_of`).
        moments: for each position, the cluster time up to which a missing event matters.

    Yields:
        The `_id` as in the first entry, and the document at each position; None where history has no entry of it.
        In the server's order of `_id`s; documents with only rejected events come last.
    """
    namespaces = {incarnation.namespace for incarnations in cuts for incarnation in incarnations}
    rejected = trust.rejected(database, sorted(namespaces))
    only = {key_of(each): each for each in rejected.documents(BEGINNING_OF_TIME, END_OF_TIME)}
    for key, document_id, found in folded(database, cuts):
        only.pop(key, None)
        yield document_id, _judged(rejected, key, cuts, moments, found)
    for key, document_id in only.items():
        judged = _judged(rejected, key, cuts, moments, [None] * len(cuts))
        if any(judged):
            yield document_id, judged


def folded(
    database: Database[Any], cuts: Sequence[Sequence[Incarnation]], ids: Sequence[raw.Value] | None = None
) -> Iterator[tuple[Hashable, raw.Value, list[Reconstructed | None]]]:
    """Reconstruct the documents of a collection at several positions, without regard to rejected events.

    Args:
        cuts: as `reconstruct_all` takes them.
        ids: only these documents; None: all that have an entry in one of the cuts.

    Yields:
        The key of the `_id` (`change_history.bson.equality.key_of`), then what `reconstruct_all` yields.
    """
    stretches = [list(map(_stretch, incarnations)) for incarnations in cuts]
    with find(database, [each for incarnations in cuts for each in incarnations], ids) as cursor:
        cursor.batch_size(_BATCH)
        for key, stored in groupby(cursor, key=_Keys()):
            entries = iter(stored)
            begun = list(islice(entries, 2))
            alone = _of_one_entry(bytes(begun[0].raw), stretches) if len(begun) == 1 else None
            document_id, found = alone or _of_entries(database, chain(begun, entries), stretches)
            if any(found):
                yield key, document_id, found


class _Keys:
    """Grouping key: the key of each entry's document `_id`. The last one is cached, for runs of one document."""

    def __init__(self) -> None:
        self._last: raw.Value | None = None
        self._key: Hashable = None

    def __call__(self, stored: RawBSONDocument) -> Hashable:
        document_id = skim.document_id(bytes(stored.raw))
        if document_id != self._last:
            self._last, self._key = document_id, key_of(document_id)
        return self._key


def _of_one_entry(
    data: bytes, stretches: Sequence[Sequence[_Stretch]]
) -> tuple[raw.Value, list[Reconstructed | None]] | None:
    """Fast path for a document with a single entry that holds it whole; None: use `_of_entries`."""
    told = skim.whole(data)
    if told is None:
        return None
    time = ClusterTime.from_id(told.identity)
    only = Reconstructed(told.document, told.identity, told.identity, 1)
    found: list[Reconstructed | None] = []
    for within in stretches:
        for name, since, until in within:
            if time == until.cluster_time:
                return None  # the order within a cluster time is in the resume token
            if name == told.namespace and since.cluster_time <= time < until.cluster_time:
                found.append(only)
                break
        else:
            found.append(None)
    return told.document_id, found


def _of_entries(
    database: Database[Any], stored: Iterable[RawBSONDocument], stretches: Sequence[Sequence[_Stretch]]
) -> tuple[raw.Value, list[Reconstructed | None]]:
    """Fold a document's entries, sorted by `_id`. Entries that several cuts share are folded once."""
    document_id: raw.Value | None = None
    following: list[Following | None] = [None] * len(stretches)
    cuts = range(len(stretches))
    for position, fields in fields_in_order(fields_of(database, stored)):
        document_id = document_id or fields[b"document_id"]
        namespace = raw.text_of(fields[b"namespace"])
        concerned = [number for number in cuts if _covers(stretches[number], namespace, position)]
        if concerned:
            first = following[concerned[0]]
            sharing = [number for number in cuts if following[number] is first]
            if first is not None and sharing == concerned:  # nearly always
                first.add(fields)
            else:
                _follow_apart(following, concerned, fields)
    if document_id is None:
        raise ValueError("no entry to fold")
    return document_id, [one.reconstructed() if one is not None else None for one in following]


def _covers(within: Sequence[_Stretch], namespace: bytes, position: HistoryPosition) -> bool:
    return any(name == namespace and since <= position < until for name, since, until in within)


def _follow_apart(following: list[Following | None], concerned: Sequence[int], fields: Fields) -> None:
    """Apply an entry to the cuts that it concerns only: split them off the cuts whose state they have shared so far."""
    for one in {following[number] for number in concerned}:
        sharing = {number for number, other in enumerate(following) if other is one}
        ahead = one if one is not None else Following(None)
        if one is not None and not sharing <= set(concerned):
            ahead = Following(one.reconstructed())
        for number in sharing.intersection(concerned):
            following[number] = ahead
        ahead.add(fields)


def _judged(
    rejected: trust.RejectedConcerns,
    key: Hashable,
    cuts: Sequence[Sequence[Incarnation]],
    moments: Sequence[ClusterTime],
    found: Sequence[Reconstructed | None],
) -> list[Reconstructed | None]:
    """The document at each position, `Unknown` where a rejected event may have changed it."""
    return [
        unless_rejected(rejected, key, moment, known)
        if known is not None
        else only_rejected(rejected, key, incarnations[-1].since if incarnations else moment, moment)
        for known, incarnations, moment in zip(found, cuts, moments, strict=True)
    ]


def find(
    database: Database[Any], incarnations: Iterable[Incarnation], ids: Sequence[raw.Value] | None = None
) -> Cursor[RawBSONDocument]:
    """Open a cursor over the entries of all documents, or of `ids`, in some incarnations, document by document."""
    ends: dict[tuple[str, ClusterTime], Incarnation] = {}
    for each in incarnations:
        known = ends.setdefault((each.namespace, each.since), each)
        if each.until > known.until:
            ends[each.namespace, each.since] = each
    history = database.get_collection(HISTORY, codec_options=RAW)
    namespaces = sorted({namespace for namespace, _ in ends})
    query: dict[str, Any] = {
        "namespace": {"$in": namespaces},
        "document_id": {"$exists": True} if ids is None else in_ids(ids),
        "$or": [{"namespace": each.namespace, "_id": each.ids()} for each in ends.values()],
    }
    if len(ends) == 1:
        query = {
            "namespace": namespaces[0],
            "document_id": query["document_id"],
            "_id": next(iter(ends.values())).ids(),
        }
    return history.find(query, sort=BY_DOCUMENT, hint=DOCUMENT_TIMELINE)


_Stretch: TypeAlias = tuple[bytes, HistoryPosition, HistoryPosition]


def _stretch(incarnation: Incarnation) -> _Stretch:
    return incarnation.namespace.encode("utf-8", "surrogateescape"), before(incarnation.since), incarnation.until
