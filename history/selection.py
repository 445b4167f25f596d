"""Which events of history are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from history import fields, window
from models.reading import as_query, is_document
from models.values import ABSENT

if TYPE_CHECKING:
    from bson.raw_bson import RawBSONDocument

    from history.window import Moment
    from models import HistoryModel

DOCUMENT_TIMELINE = [("namespace", 1), ("document_id", 1), ("_id", 1)]
"""Key of the index that answers about one document."""

NAMESPACE_TIMELINE = [("namespace", 1), ("_id", 1)]
"""Key of the index that answers about a collection."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A question about events. All conditions must hold.

    Attributes:
        namespace: `database.collection`.
        document_id: `_id` of one document, any BSON type; `ABSENT`: the whole collection with its own events.
        field: a field as MongoDB writes it, with everything below it (see `history.fields`).
        since: first moment, included (see `history.window`).
        until: last moment, included.

    Raises:
        ValueError: a time without a zone.
    """

    namespace: str
    document_id: Any = ABSENT
    field: str | None = None
    since: Moment | None = None
    until: Moment | None = None

    def __post_init__(self) -> None:
        window.require_aware(self.since)
        window.require_aware(self.until)

    @property
    def index(self) -> list[tuple[str, int]]:
        """Key of the index that answers this, in the order of history. The planner need not guess."""
        return NAMESPACE_TIMELINE if self.document_id is ABSENT else DOCUMENT_TIMELINE

    def query(self, below: str = "") -> RawBSONDocument:
        """The conditions for the server.

        Args:
            below: path of the history document, with a closing dot, where it lies within another one.
        """
        conditions: dict[str, Any] = {"namespace": {"$eq": self.namespace}}
        if self.document_id is not ABSENT:
            conditions["document_id"] = is_document(self.document_id)
        conditions |= window.bounds(self.since, self.until)
        conditions = {below + name: condition for name, condition in conditions.items()}
        if self.field is not None:
            conditions |= fields.condition(self.field, below)
        return as_query(conditions)

    def admits(self, event: HistoryModel) -> bool:
        """Decide what the server cannot: whether an event that it let through concerns the field."""
        return self.field is None or bool(fields.changes_of(event, self.field))
