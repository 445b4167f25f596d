"""What a whole collection was: its documents one after the other, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.bson.values import document_to_python, to_python
from change_history.reconstruct import cut
from change_history.reconstruct.collection import recall_all
from change_history.reconstruct.filters import Filter
from change_history.reconstruct.lineage import Lineage
from change_history.reconstruct.states import Unknown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from change_history.bson.raw import Value
    from change_history.reconstruct.window import Moment
    from models import HistoryModel


class Told(NamedTuple):
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
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """

    def __init__(self, database: Database[Any], namespace: str, at: Moment | None = None) -> None:
        self._database = database
        self.namespace = namespace
        where = cut.of_collection(database, namespace, at)
        self.place = where.place
        self.moment = where.moment
        self.lineage = Lineage(database, namespace, where)

    @property
    def unknown(self) -> str | None:
        """Why nobody can tell which documents there were; None: it can be told."""
        unknown = self.lineage.unrecorded or self.lineage.not_yet
        return unknown.reason if unknown is not None else None

    @property
    def gaps(self) -> list[HistoryModel]:
        """The intervals since the collection's beginning of which events were lost, and that are not level yet."""
        return self.lineage.gaps(None)

    def documents(self, query: dict[str, Any] | None = None) -> Iterator[Told]:
        """The documents that there were, and those that history cannot tell, in the server's order of `_id`s.

        Args:
            query: a MongoDB filter (see `reconstruct.filters`). It is not asked about what history cannot
                tell: that may match, so it comes in any case.

        Raises:
            change_history.reconstruct.filters.FilterError: the server refuses the filter.
            pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
        """
        if not query:
            return self._all()
        return Filter(self._database, query).select(self._all(), lambda told: told.data)

    def _all(self) -> Iterator[Told]:
        for document_id, (recalled,) in recall_all(self._database, [list(self.lineage)], [self.moment]):
            if recalled is None or recalled.document is None:
                continue
            if isinstance(recalled.document, Unknown):
                yield Told(self.namespace, document_id, None, recalled.document.reason)
            else:
                yield Told(self.namespace, document_id, recalled.document, None)
