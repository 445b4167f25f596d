"""What a whole collection was, at one or several places in history: one document after the other, in bounded memory."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME, END_OF_TIME
from change_history.bson.equality import key_of
from change_history.bson.values import document_to_python, to_python
from change_history.reconstruct import point_in_time, trust
from change_history.reconstruct.filters import Filter
from change_history.reconstruct.lineage import Lineage
from change_history.reconstruct.states import Reconstructed, fields_of, follow, only_rejected, unless_rejected
from change_history.reconstruct.trust import Unknown
from change_history.stored.names import DOCUMENT_TIMELINE, HISTORY
from change_history.stored.order import before, fields_in_order
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    from bson.raw_bson import RawBSONDocument
    from pymongo.cursor import Cursor
    from pymongo.database import Database

    from change_history.bson.cluster_time import ClusterTime
    from change_history.bson.raw import Value
    from change_history.reconstruct.lineage import Incarnation
    from change_history.reconstruct.point_in_time import Moment
    from change_history.stored.event import Event
    from change_history.stored.order import HistoryPosition

    Fields = dict[bytes, raw.Value]


class CollectionDocument(NamedTuple):
    """A document of a collection at one moment.

    Attributes:
        namespace: `database.collection`.
        raw_id: its `_id`.
        data: its BSON; None: history cannot tell it.
        unknown: why not; None: it can.
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
        """The document, its values exact; None: history cannot tell it."""
        return document_to_python(self.data) if self.data is not None else None


class CollectionState:
    """A collection at one moment.

    Args:
        database: the history database.
        namespace: `database.collection`.
        at: when; None: as last recorded.

    Raises:
        TypeError: no moment.
        ValueError: a time without a zone.
    """

    def __init__(self, database: Database[Any], namespace: str, at: Moment | None = None) -> None:
        self._database = database
        self.namespace = namespace
        where = point_in_time.of_collection(database, namespace, at)
        self.place = where.place
        self.moment = where.moment
        self.lineage = Lineage(database, namespace, where.place, where.moment, where.boundary)

    @property
    def unknown(self) -> str | None:
        """Why nobody can tell which documents there were; None: it can be told."""
        unknown = self.lineage.unrecorded or self.lineage.not_yet
        return unknown.reason if unknown is not None else None

    @property
    def gaps(self) -> list[Event]:
        """The intervals since the collection's beginning of which events were lost, and that are not reconciled."""
        return self.lineage.gaps(None)

    def documents(self, query: dict[str, Any] | None = None) -> Iterator[CollectionDocument]:
        """The documents that there were, and those that history cannot tell, in the server's order of `_id`s.

        At the end come those of which there are only rejected events.

        Args:
            query: a MongoDB filter (see `reconstruct.filters`). It is not asked about what history cannot
                tell: that may match, so it comes in any case.

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
"""The order of the pass. The server merges the timelines of several names into it, which the index has sorted."""


_BATCH = 500


def reconstruct_all(
    database: Database[Any], cuts: Sequence[Sequence[Incarnation]], moments: Sequence[ClusterTime]
) -> Iterator[tuple[raw.Value, list[Reconstructed | None]]]:
    """What every document of a collection was at several places.

    In memory are no more than one document's states, and its entries of one cluster time.

    Args:
        database: the history database.
        cuts: for each place where the documents lie in history, newest first
            (`change_history.reconstruct.lineage.lineage_of`).
        moments: for each place the cluster time up to which no event may be missing.

    Yields:
        The `_id` as the first entry has it, and what the document was at each of the places; None where history has no
        entry of it. The order is the server's of `_id`s; documents of which there are only rejected events come last.
    """
    everywhere = [incarnation for incarnations in cuts for incarnation in incarnations]
    stretches = [list(map(_stretch, incarnations)) for incarnations in cuts]
    rejected = trust.rejected(database, sorted({incarnation.namespace for incarnation in everywhere}))
    only = {key_of(each): each for each in rejected.documents(BEGINNING_OF_TIME, END_OF_TIME)}
    with find(database, everywhere) as cursor:
        cursor.batch_size(_BATCH)
        for key, stored in groupby(fields_of(database, cursor), key=lambda entry: key_of(entry[b"document_id"])):
            document_id: raw.Value | None = None
            found: list[Reconstructed | None] = [None] * len(cuts)
            for place, fields in fields_in_order(stored):
                document_id = document_id or fields[b"document_id"]
                namespace = raw.text_of(fields[b"namespace"])
                for number, within in enumerate(stretches):
                    if any(name == namespace and since <= place < until for name, since, until in within):
                        found[number] = follow([fields], found[number])
            if document_id is not None and any(found):
                only.pop(key, None)
                yield document_id, _judged(rejected, key, cuts, moments, found)
    for key, document_id in only.items():
        judged = _judged(rejected, key, cuts, moments, [None] * len(cuts))
        if any(judged):
            yield document_id, judged


def _judged(
    rejected: trust.Rejected,
    key: Hashable,
    cuts: Sequence[Sequence[Incarnation]],
    moments: Sequence[ClusterTime],
    found: Sequence[Reconstructed | None],
) -> list[Reconstructed | None]:
    """What a document was at each place, in view of what was rejected."""
    return [
        unless_rejected(rejected, key, moment, known)
        if known is not None
        else only_rejected(rejected, key, incarnations[-1].since if incarnations else moment, moment)
        for known, incarnations, moment in zip(found, cuts, moments, strict=True)
    ]


def find(database: Database[Any], incarnations: Iterable[Incarnation]) -> Cursor[RawBSONDocument]:
    """The cursor over the entries of all documents in some incarnations, document by document."""
    distinct = list(dict.fromkeys(incarnations))
    history = database.get_collection(HISTORY, codec_options=RAW)
    query: dict[str, Any] = {
        "namespace": {"$in": sorted({incarnation.namespace for incarnation in distinct})},
        "document_id": {"$exists": True},
        "$or": [{"namespace": incarnation.namespace, "_id": incarnation.ids()} for incarnation in distinct],
    }
    return history.find(query, sort=BY_DOCUMENT, hint=DOCUMENT_TIMELINE)


def _stretch(incarnation: Incarnation) -> tuple[bytes, HistoryPosition, HistoryPosition]:
    return incarnation.namespace.encode("utf-8", "surrogateescape"), before(incarnation.since), incarnation.until
