"""Which events of history are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as attribute
from typing import TYPE_CHECKING, Any
from uuid import UUID

from bson import Binary

from change_history.bson.values import ABSENT
from change_history.query import conditions as asked
from change_history.query.transactions import TRANSACTIONS
from change_history.reconstruct import point_in_time
from change_history.stored import operations
from change_history.stored.names import DOCUMENT_TIMELINE, NAMESPACE_TIMELINE
from change_history.stored.reading import as_query, is_document, require_namespace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bson.raw_bson import RawBSONDocument

    from change_history.reconstruct.point_in_time import Instant
    from change_history.stored.event import Change, Event, Transaction

SAID_OF_ACTOR = {"request": "actor.request", "reason": "actor.reason", "actor": "actor.id"}
"""Selectable attributes of the actor, and their stored fields, each with an index; the rarest first."""

EVERYTHING = [("_id", 1)]
"""Key of the index that answers about all that is recorded."""


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection of events. All conditions must hold.

    Attributes:
        namespace: `database.collection`; None: all namespaces.
        document_id: `_id` of one document, any BSON type; `ABSENT`: the whole collection, including its own events.
        field: a field in MongoDB's notation, with everything below it (see `change_history.query.conditions`).
        since: first moment, included (see `change_history.reconstruct.point_in_time`).
        until: last moment, included.
        operations: only events with these; empty: all.
        transaction: only its events (see `change_history.query.transactions`).
        changed_from: only events with a change from this value, in the field if one is given (see
            `change_history.query.conditions`); `ABSENT`: any value.
        changed_to: the same for the new value. If both are given, one change must have both.
        setters: by `_id`, events of the document that set the field without naming it, each with the changes that did;
            None: not searched for yet (see `change_history.query.setters`).
        actor: only events known to be by this actor, exact to the BSON type. Likewise `reason` and `request`. Events
            with an unknown actor never match.
        former_names: namespaces under which the document's collection has such events.

    Raises:
        ValueError: a malformed namespace, an unknown operation, a datetime without a time zone, or a document without a
            namespace.
    """

    namespace: str | None
    document_id: Any = ABSENT
    field: str | None = None
    since: Instant | None = None
    until: Instant | None = None
    operations: tuple[str, ...] = ()
    transaction: Transaction | None = None
    changed_from: Any = ABSENT
    changed_to: Any = ABSENT
    setters: Mapping[bytes, tuple[Change, ...]] | None = attribute(default=None, compare=False)
    former_names: tuple[str, ...] = ()
    actor: Any = None
    reason: str | None = None
    request: Any = None

    def __post_init__(self) -> None:
        require_namespace(self.namespace)
        point_in_time.require_aware(self.since)
        point_in_time.require_aware(self.until)
        if self.namespace is None and self.document_id is not ABSENT:
            raise ValueError("a document's id means something only within a namespace")
        for name in self.operations:
            if name not in operations.ALL:
                raise ValueError(f"{name!r} is no operation; there are: {', '.join(operations.ALL)}")

    @property
    def index(self) -> list[tuple[str, int]]:
        """Key of the index for this selection, in the order of history, so that the planner need not choose."""
        if self.transaction is not None:
            return TRANSACTIONS
        if self.document_id is not ABSENT:
            return DOCUMENT_TIMELINE
        if asked := self.asked_of_actor:
            return [(next(iter(asked)), 1), ("_id", 1)]
        return EVERYTHING if self.namespace is None else NAMESPACE_TIMELINE

    @property
    def asked_of_actor(self) -> dict[str, Any]:
        """The conditions on the actor, by stored field. An actor may become known later than its event."""
        asked = {stored: getattr(self, name) for name, stored in SAID_OF_ACTOR.items()}
        return {
            stored: Binary.from_uuid(wanted) if isinstance(wanted, UUID) else wanted
            for stored, wanted in asked.items()
            if wanted is not None
        }

    @property
    def by_value(self) -> bool:
        """Whether the selection is by values: then it may be unknown whether an event belongs to it."""
        return self.changed_from is not ABSENT or self.changed_to is not ABSENT

    @property
    def narrows(self) -> bool:
        """Whether the selection depends on single changes, so that `verdict` has to check the server's results."""
        return self.field is not None or self.by_value

    def query(self, below: str = "") -> RawBSONDocument:
        """The conditions for the server.

        Args:
            below: path of the history document, with a closing dot, where it is inside another one.
        """
        conditions: dict[str, Any] = {}
        if self.namespace is not None:
            conditions["namespace"] = {"$eq": self.namespace}
        if self.document_id is not ABSENT:
            conditions["document_id"] = is_document(self.document_id)
        conditions |= point_in_time.bounds(self.since, self.until)
        if self.operations:
            conditions["operation"] = {"$in": list(self.operations)}
        elif self.namespace is None:
            conditions["operation"] = {"$ne": operations.GAP}  # it has no namespace, and is no event
        if self.transaction is not None:
            conditions["transaction"] = {"$exists": True}  # as the index says it
            conditions["transaction.session"] = {"$eq": self.transaction.session}
            conditions["transaction.number"] = {"$eq": self.transaction.number}
        conditions |= {name: {"$eq": wanted} for name, wanted in self.asked_of_actor.items()}
        conditions = {below + name: condition for name, condition in conditions.items()}
        of_changes = asked.of_values(self.changed_from, self.changed_to)
        if self.field is not None:
            concerned = asked.of_field(self.field, below, of_changes)
            if self.former_names:
                concerned[below + "namespace"] = {"$eq": self.namespace}
                conditions[below + "namespace"] = {"$in": [self.namespace, *self.former_names]}
            if self.setters:
                ids = [Binary(event_id) for event_id in self.setters]
                concerned = {"$or": [concerned, {f"{below}_id": {"$in": ids}}]}
            conditions |= concerned
        elif of_changes:
            parts = {f"{below}parts": {"$exists": True}}  # its values are elsewhere
            conditions["$or"] = [{f"{below}changes": {"$elemMatch": of_changes}}, parts]
        return as_query(conditions)

    def changes_of(self, event: Event) -> list[Change]:
        """The changes of an event that are selected: of the field, with the values."""
        concerned = self._concerned(event)
        if not self.by_value:
            return list(concerned)
        return [change for change in concerned if self._verdict(change)]

    def verdict(self, event: Event) -> bool | None:
        """Decide what the server cannot: whether an event that it returned is selected; None: unknown."""
        if not self.narrows:
            return True
        concerned = self._concerned(event)
        return asked.of_any(map(self._verdict, concerned))

    def _concerned(self, event: Event) -> Sequence[Change]:
        if self.field is None:
            return event.changes
        found = asked.changes_of(event, self.field)
        return [*found, *self.setters.get(bytes(event.id), ())] if self.setters else found

    def _verdict(self, change: Change) -> bool | None:
        return asked.verdict(change, self.changed_from, self.changed_to)


@dataclass(frozen=True, slots=True)
class StatsQuestion:
    """The events to count; the conditions are those of `Selection`.

    Raises:
        ValueError: a datetime without a time zone.
    """

    namespace: str | None = None
    since: Instant | None = None
    until: Instant | None = None

    def __post_init__(self) -> None:
        require_namespace(self.namespace)
        point_in_time.require_aware(self.since)
        point_in_time.require_aware(self.until)

    @property
    def index(self) -> list[tuple[str, int]]:
        """Key of the index for this query."""
        return EVERYTHING if self.namespace is None else NAMESPACE_TIMELINE

    def match(self) -> dict[str, Any]:
        """The conditions for the server. A gap is no event."""
        named = {"operation": {"$ne": operations.GAP}} if self.namespace is None else {"namespace": self.namespace}
        return named | point_in_time.bounds(self.since, self.until)
