"""The state of a document at one moment, with the evidence for it: event, version and gaps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bson import Binary, Timestamp

from change_history.bson.values import document_to_python, to_raw
from change_history.errors import HistoryError
from change_history.reconstruct import point_in_time
from change_history.reconstruct.document import read_ahead, reconstruct_one
from change_history.reconstruct.lineage import Lineage, last_boundary, lineage_of
from change_history.reconstruct.point_in_time import Versions
from change_history.reconstruct.trust import Unknown
from change_history.stored.chunks import whole
from change_history.stored.event import to_event
from change_history.stored.names import HISTORY
from change_history.stored.order import before, position_at
from change_history.stored.reading import RAW, require_namespace

if TYPE_CHECKING:
    from bson.raw_bson import RawBSONDocument
    from pymongo.database import Database

    from change_history.bson.raw import Value
    from change_history.reconstruct.entries import Reconstructed
    from change_history.reconstruct.point_in_time import PointInTime
    from change_history.stored.event import Event
    from change_history.stored.order import HistoryPosition


class UnknownStateError(HistoryError, LookupError):
    """What was asked for cannot be reconstructed; the message says why. History never guesses."""

    def __init__(self, namespace: str, reason: str, document_id: Any = None) -> None:
        of = f"{namespace}, _id {document_id!r}" if document_id is not None else namespace
        super().__init__(f"history cannot tell {of}: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A document at one moment.

    Attributes:
        position: the position in history; entries before it count.
        data: its BSON; None: it did not exist, or is unknown.
        unknown: why it cannot be reconstructed; None: it can.
        entry: its last recorded event up to the moment; in a renamed collection, possibly under the former name. None:
            there is none.
        version: the number of that version of the document, under the name it is recorded under.
        ended_by: for a document that did not exist, the event that ended it: its own, or that of its collection.
        gaps: the gaps since an entry last held the document whole. In them it may have been changed without being
            recorded.
    """

    namespace: str
    document_id: Any
    position: HistoryPosition
    data: bytes | None = None
    unknown: str | None = None
    entry: Event | None = None
    version: int | None = None
    ended_by: Event | None = None
    gaps: tuple[Event, ...] = ()

    def __hash__(self) -> int:
        return hash((self.namespace, self.position))  # the `_id` may be a dict

    @property
    def raw_id(self) -> Value:
        """Its `_id` as bytes."""
        return to_raw(self.document_id)

    @property
    def document(self) -> dict[str, Any] | None:
        """The document, its values exact (see `change_history.bson.values.to_python`); None: it did not exist.

        Raises:
            UnknownStateError: history cannot tell.
        """
        if self.unknown is not None:
            raise UnknownStateError(self.namespace, self.unknown, self.document_id)
        return document_to_python(self.data) if self.data is not None else None


class Reconstruction:
    """A document at one point in time. Anything beyond the document itself is read on demand.

    Args:
        for_state: whether `state` will be called, so that what it needs is read in the same round trip.

    Raises:
        change_history.reconstruct.point_in_time.NoSuchVersionError: the document has no version of this number.
        TypeError: `at` is neither an instant nor a number.
        ValueError: `at` is a datetime without a time zone.
    """

    def __init__(
        self,
        database: Database[Any],
        namespace: str,
        document_id: Any,
        at: PointInTime | None,
        *,
        for_state: bool = False,
    ) -> None:
        require_namespace(namespace)
        self._database = database
        self._history = database.get_collection(HISTORY, codec_options=RAW)
        self.namespace = namespace
        self._given_id = document_id
        self.raw_id = to_raw(document_id)
        where = point_in_time.of_document(database, namespace, self.raw_id, at)
        self.position = where.position
        in_time = isinstance(at, (datetime, Timestamp))
        ahead = self._ahead = read_ahead(
            database, namespace, self.raw_id, where.position, where.boundary, with_horizon=in_time, with_gaps=for_state
        )
        self.expired = ahead.horizon.unknown if ahead.horizon is not None and ahead.horizon.hides(at) else None
        self.lineage = Lineage(database, namespace, where.position, where.moment, (ahead.boundary,))
        self.reconstructed: Reconstructed | None = (
            reconstruct_one(database, self.lineage, self.raw_id, moment=where.moment, ahead=ahead).reconstructed
            if self.expired is None
            else None
        )

    @property
    def data(self) -> bytes | Unknown | None:
        """The document's bytes; None: it did not exist; `Unknown`: it cannot be reconstructed."""
        if self.expired is not None:
            return self.expired
        if self.reconstructed is None:
            return self.lineage.unrecorded or self._unless_it_was_there()
        return self.reconstructed.document

    def known(self) -> bytes | None:
        """The document's bytes; None: it did not exist.

        Raises:
            UnknownStateError: history cannot tell.
        """
        data = self.data
        if isinstance(data, Unknown):
            raise UnknownStateError(self.namespace, data.reason, self._given_id)
        return data

    def state(self, version: int | None = None) -> State:
        """The document with the evidence for it.

        Args:
            version: its version number, if known; it is counted otherwise.
        """
        data = self.data
        entry = self._entry(self.reconstructed.last) if self.reconstructed is not None else None
        return State(
            namespace=self.namespace,
            document_id=self._given_id,
            position=self.position,
            data=data if isinstance(data, bytes) else None,
            unknown=data.reason if isinstance(data, Unknown) else None,
            entry=entry,
            version=version if version is not None else self._version(entry),
            ended_by=self._ended_by(entry) if data is None else None,
            gaps=tuple(
                self.lineage.gaps(
                    self.reconstructed.base_time if self.reconstructed is not None else None, self._ahead.gaps
                )
            ),
        )

    def _unless_it_was_there(self) -> Unknown | None:
        """Why it may have existed with nothing recorded by then: watching began later. None: it did not exist."""
        if self.lineage.newest.since:
            return None  # all earlier documents had ended
        first = Versions(self._database, self.namespace, self.raw_id).first_from(self.position)
        if first is None or first["operation"] == "insert":
            return None
        boundary = last_boundary(self._database, self.namespace, position_at(first["_id"], first.get("resume_token")))
        if boundary is not None:
            return None  # it was moved here with others, later
        return Unknown(
            f"nothing was recorded of it by then, and its first recorded event is no insert, but {first['operation']}"
        )

    def _entry(self, event_id: bytes) -> Event | None:
        stored = self._ahead.entry(event_id)
        return to_event(whole(self._database, stored)) if stored is not None else self._event(event_id)

    def _event(self, event_id: bytes) -> Event | None:
        stored: RawBSONDocument | None = self._history.find_one({"_id": Binary(event_id)})
        return to_event(whole(self._database, stored)) if stored is not None else None

    def _version(self, entry: Event | None) -> int | None:
        if entry is None:
            return None
        position = position_at(entry.id, entry.resume_token)
        if entry.namespace == self.namespace and (number := self._ahead.number(position)) is not None:
            return number
        return Versions(self._database, entry.namespace, self.raw_id).number(position)

    def _ended_by(self, entry: Event | None) -> Event | None:
        if entry is not None:
            return entry
        boundary = last_boundary(self._database, self.namespace, self.position)
        while boundary is not None:
            until = before(boundary.cluster_time)
            lineage = lineage_of(self._database, self.namespace, until)
            reconstructed = reconstruct_one(self._database, lineage, self.raw_id).reconstructed
            if reconstructed is not None:
                return self._event(boundary.id if reconstructed.document is not None else reconstructed.last)
            boundary = last_boundary(self._database, self.namespace, until)
        return None


def first_later(database: Database[Any], state: State) -> Event | None:
    """The first recorded event of a document after the moment of a state; without values if it is large."""
    stored = Versions(database, state.namespace, state.raw_id).first_from(state.position)
    return to_event(stored) if stored is not None else None
