"""MongoDB filters on documents as they were, evaluated by the server, so every operator means what it always means.

The documents are sent as literals (`$documents`, https://www.mongodb.com/docs/manual/reference/operator/aggregation/documents/)
and only the `_id`s of those that match come back; the results are the reconstructed bytes. Filters that need
a collection or its indexes (`$text`, `$near`, `$nearSphere`) and `$where` are refused by the server. Text is compared
byte by byte, whatever collation the collection has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure

from change_history import server_codes
from change_history.bson import raw
from change_history.bson.equality import key_of
from change_history.errors import HistoryError
from change_history.stored.reading import RAW, as_query

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from pymongo.database import Database

    T = TypeVar("T")

MOST_DOCUMENTS = 500
MOST_BYTES = 4 * 1024 * 1024
"""Limits of one batch sent to the server: documents, and bytes of them. A single document may be larger."""

_NOT_ABOUT_THE_FILTER = frozenset({server_codes.UNAUTHORIZED, 18, 8000})
"""18 is a failed authentication, 8000 Atlas' own code for both."""


class FilterError(HistoryError, ValueError):
    """The server refuses the filter; the message quotes its error."""


class Filter:
    """A MongoDB filter.

    Args:
        database: a database of the deployment that evaluates the filter; nothing in it is read.

    Raises:
        FilterError: the server refuses it.
        bson.errors.InvalidDocument: a value in it has no BSON type.
    """

    def __init__(self, database: Database[Any], query: dict[str, Any]) -> None:
        self._database = database.client.get_database(database.name, codec_options=RAW)
        self._match = as_query({"$match": query})
        self._matching([])

    def select(self, items: Iterable[T], data: Callable[[T], bytes | None]) -> Iterator[T]:
        """Yield the items whose documents match, in their order.

        Args:
            data: returns an item's document; no two have the same `_id`. Items for which it returns None pass.

        Raises:
            FilterError: the filter fails on a document.
        """
        batch: list[T] = []
        size = 0
        for item in items:
            more = len(data(item) or b"")
            if batch and (len(batch) == MOST_DOCUMENTS or size + more > MOST_BYTES):
                yield from self._selected(batch, data)
                batch, size = [], 0
            batch.append(item)
            size += more
        yield from self._selected(batch, data)

    def _selected(self, batch: Sequence[T], data: Callable[[T], bytes | None]) -> Iterator[T]:
        documents = [document for item in batch if (document := data(item)) is not None]
        matching = self._matching(documents) if documents else set()
        for item in batch:
            document = data(item)
            if document is None or _id_of(document) in matching:
                yield item

    def _matching(self, documents: Sequence[bytes]) -> set[Hashable]:
        """The ids of the documents that match, by `change_history.bson.equality.key_of`."""
        literal = raw.from_fields(
            [(b"$literal", (raw.ARRAY, raw.from_items((raw.DOCUMENT, document) for document in documents)))]
        )
        given = RawBSONDocument(raw.from_fields([(b"$documents", (raw.DOCUMENT, literal))]))
        try:
            with self._database.aggregate([given, self._match, {"$project": {"_id": 1}}]) as cursor:
                return {_id_of(bytes(found.raw)) for found in cursor}
        except OperationFailure as error:
            if error.code in _NOT_ABOUT_THE_FILTER:
                raise
            raise FilterError(_explained(error)) from error


def _id_of(document: bytes) -> Hashable:
    return key_of(raw.fields(document)[b"_id"])


def _explained(error: OperationFailure) -> str:
    said = str((error.details or {}).get("errmsg", error))
    if error.code == server_codes.UNKNOWN_STAGE and "$documents" in said:
        return "filtering documents as they were needs MongoDB 5.1 or newer where the history is kept"
    return f"the server refuses the filter: {said}"
