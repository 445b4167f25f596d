"""What all documents of a collection were at one or several places in history, in one pass and little memory."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.equality import key_of
from change_history.reconstruct import holes
from change_history.reconstruct.places import before, identity, place_of
from change_history.reconstruct.states import Recalled, fields_of, follow, unless_rejected
from change_history.stored.names import DOCUMENT_TIMELINE, HISTORY
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bson.raw_bson import RawBSONDocument
    from pymongo.cursor import Cursor
    from pymongo.database import Database

    from change_history.reconstruct.lives import Span
    from change_history.reconstruct.places import Place

    Fields = dict[bytes, raw.Value]

BY_DOCUMENT = [("document_id", 1), ("_id", 1)]
"""The order of the pass. The server merges the timelines of several names into it, which the index has sorted."""


_BATCH = 500


def recall_all(
    database: Database[Any], cuts: Sequence[Sequence[Span]], moments: Sequence[ClusterTime]
) -> Iterator[tuple[raw.Value, list[Recalled | None]]]:
    """What every document of a collection was at several places.

    In memory are no more than one document's states, and its entries of one cluster time.

    Args:
        database: the history database.
        cuts: for each place where the documents lie in history, newest first
            (`change_history.reconstruct.lives.spans`).
        moments: for each place the cluster time up to which no event may be missing.

    Yields:
        The `_id` as the first entry has it, and what the document was at each of the places; None where history has no
        entry of it. The order is the server's of `_id`s.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    everywhere = [span for spans in cuts for span in spans]
    stretches = [list(map(_stretch, spans)) for spans in cuts]
    rejected = holes.rejected(database, sorted({span.namespace for span in everywhere}))
    with find(database, everywhere) as cursor:
        cursor.batch_size(_BATCH)
        for _, stored in groupby(fields_of(database, cursor), key=lambda entry: key_of(entry[b"document_id"])):
            document_id: raw.Value | None = None
            found: list[Recalled | None] = [None] * len(cuts)
            for fields in _ordered(stored):
                document_id = document_id or fields[b"document_id"]
                namespace, place = raw.text_of(fields[b"namespace"]), place_of(fields)
                for number, within in enumerate(stretches):
                    if any(name == namespace and since <= place < until for name, since, until in within):
                        found[number] = follow([fields], found[number])
            if document_id is not None and any(found):
                pairs = zip(moments, found, strict=True)
                yield document_id, [known and unless_rejected(rejected, moment, known) for moment, known in pairs]


def find(database: Database[Any], spans: Iterable[Span]) -> Cursor[RawBSONDocument]:
    """The cursor over the entries of all documents in some spans, document by document."""
    distinct = list(dict.fromkeys(spans))
    history = database.get_collection(HISTORY, codec_options=RAW)
    query: dict[str, Any] = {
        "namespace": {"$in": sorted({span.namespace for span in distinct})},
        "document_id": {"$exists": True},
        "$or": [{"namespace": span.namespace, "_id": span.ids()} for span in distinct],
    }
    return history.find(query, sort=BY_DOCUMENT, hint=DOCUMENT_TIMELINE)


def _ordered(stored: Iterable[Fields]) -> Iterator[Fields]:
    """Entries of one document sorted by `_id`, put in order within each cluster time."""
    for _, run in groupby(stored, key=lambda fields: ClusterTime.from_id(identity(fields))):
        yield from sorted(run, key=lambda fields: (place_of(fields), identity(fields)))


def _stretch(span: Span) -> tuple[bytes, Place, Place]:
    return span.namespace.encode("utf-8", "surrogateescape"), before(span.since), span.until
