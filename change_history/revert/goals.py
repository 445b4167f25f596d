"""What history says of a document that is to be put back: what it should be now, and what it is to become."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import to_raw
from change_history.reconstruct import point_in_time
from change_history.reconstruct.document import reconstruct_one
from change_history.reconstruct.lineage import Lineage, last_boundary
from change_history.reconstruct.point_in_time import Versions
from change_history.reconstruct.state import UnknownStateError
from change_history.reconstruct.states import Reconstructed, Unknown
from change_history.revert.errors import NoSuchFieldError, NothingRecordedError
from change_history.revert.merge import InsideArrayError, paths_of
from change_history.stored.order import position_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bson import Timestamp
    from pymongo.database import Database

    from change_history.bson.paths import Path
    from change_history.reconstruct.point_in_time import PointInTime, Resolved
    from change_history.stored.event import Event
    from change_history.stored.order import HistoryPosition


class Goal(NamedTuple):
    """One document.

    Attributes:
        namespace: `db.coll`.
        raw_id: its `_id`.
        expected: its BSON as history knows it; None: it should not be there.
        target: its BSON as it is to be; None: it is not to be there.
        only: paths of the fields that are to be put back; None: all.
        undo: what is the same in `expected` and `target` is left alone whatever it is by now.
        refused: why nothing may be done to it; None: nothing is in the way.
        gaps: intervals of which events were lost, so that it may have been something else than `target`.
    """

    namespace: str
    raw_id: raw.Value
    expected: bytes | None
    target: bytes | None
    only: frozenset[Path] | None = None
    undo: bool = False
    refused: str | None = None
    gaps: tuple[Event, ...] = ()


class Wanted(NamedTuple):
    """What is asked for.

    Attributes:
        goal: what is to become of the document.
        since: the place that it goes back to.
        seen: cluster time of the last entry that is expected; None: there is none.
    """

    goal: Goal
    since: HistoryPosition
    seen: Timestamp | None


class Known:
    """A document at a place of history.

    Args:
        database: the history database.
        namespace: `db.coll`.
        raw_id: its `_id`.
        where: the place.
    """

    def __init__(self, database: Database[Any], namespace: str, raw_id: raw.Value, where: Resolved) -> None:
        self._database = database
        self._namespace = namespace
        self._raw_id = raw_id
        self.place = where.place
        self._lineage = Lineage(database, namespace, where.place, where.moment, where.boundary)
        self.reconstructed: Reconstructed | None = reconstruct_one(database, self._lineage, raw_id, moment=where.moment)

    def document(self) -> bytes | Unknown | None:
        """Its BSON; None: it was not there, and that is sure: `as_of` says so sooner, but here something is deleted."""
        if self.reconstructed is not None:
            return self.reconstructed.document
        return self._lineage.unrecorded or self._unless_it_was_there_before()

    def gaps(self) -> tuple[Event, ...]:
        """The intervals of which events were lost, so that it may have been something else."""
        return tuple(self._lineage.gaps(self.reconstructed.base_time if self.reconstructed is not None else None))

    def moment(self) -> Timestamp | None:
        """The cluster time of what was recorded last of it; None: nothing was."""
        since = self._lineage.newest.since
        last = ClusterTime.from_id(self.reconstructed.last) if self.reconstructed is not None else since
        return last.timestamp if last else None

    def _unless_it_was_there_before(self) -> Unknown | None:
        """Why it may have been there although nothing is recorded of it by then; None: it was not."""
        if last_boundary(self._database, self._namespace, self.place) is not None:
            return None  # whatever there was had ended
        first = Versions(self._database, self._namespace, self._raw_id).first_from(self.place)
        if first is None:
            return Unknown("nothing is recorded of it up to then")
        operation = first["operation"]
        brought = last_boundary(self._database, self._namespace, position_of(raw.fields(bytes(first.raw))))
        if operation == "insert" and brought is None:
            return None
        return Unknown(
            f"nothing is recorded of it up to then, and it may have been there: its first entry is {operation}"
        )


def counted(database: Database[Any], namespace: str, document_id: Any, to: PointInTime) -> PointInTime:
    """A moment that means the same later: the number of a version is counted from the oldest, and others stay."""
    if not isinstance(to, int) or to >= 0:
        return to
    number = Versions(database, namespace, to_raw(document_id)).count() + 1 + to
    return number if number > 0 else to


def to_moment(
    database: Database[Any],
    namespace: str,
    document_id: Any,
    to: PointInTime,
    *,
    fields: Sequence[str] = (),
    seen: PointInTime | None = None,
    force: bool = False,
) -> Wanted:
    """One document as it was.

    Args:
        database: the history database.
        namespace: `db.coll`.
        document_id: its `_id`, any BSON type.
        to: when.
        fields: only these, as MongoDB writes them; none: all.
        seen: what was recorded later does not count as expected; None: all that is recorded counts.
        force: overwrite what is there, so that what history knows of it does not matter, nor do gaps.

    Raises:
        NothingRecordedError: nothing is recorded of it at all.
        NoSuchFieldError: it has no such field in either state.
        UnknownStateError: history cannot tell what it was, or, unless forced, what it is.
        change_history.revert.merge.InsideArrayError: a field is within an array.
        change_history.reconstruct.point_in_time.NoSuchVersionError: the document has no version of this number.
        ValueError: a time without a zone.
    """
    raw_id = to_raw(document_id)
    then, now = (
        Known(database, namespace, raw_id, point_in_time.of_document(database, namespace, raw_id, at))
        for at in (to, seen)
    )
    if then.reconstructed is None and now.reconstructed is None and not Versions(database, namespace, raw_id).count():
        raise NothingRecordedError(f"nothing is recorded of the document in {namespace}")
    target, expected = then.document(), now.document()
    if isinstance(target, Unknown):
        raise UnknownStateError(namespace, target.reason, document_id)
    if isinstance(expected, Unknown):
        if not force:
            raise UnknownStateError(namespace, f"what it is now: {expected.reason}", document_id)
        expected = None
    gaps = then.gaps()
    if fields and (target is None or expected is None):
        when = "then" if target is None else "now"
        raise NoSuchFieldError(f"the document is not there {when}, so no single field of it can be put back")
    found = {path for field in fields for path in _paths(field, expected, target)}
    only = frozenset(found) if fields else None
    refused = "events were lost before, so it may have been something else" if gaps and not force else None
    goal = Goal(namespace, raw_id, expected, target, only, refused=refused, gaps=gaps)
    return Wanted(goal, then.place, now.moment())


def _paths(field: str, expected: bytes | None, target: bytes | None) -> set[Path]:
    try:
        found = paths_of(field.encode("utf-8", "surrogateescape"), (expected, target))
    except InsideArrayError as error:
        raise InsideArrayError(f"{field} is within an array; arrays are put back as wholes") from error
    if not found:
        raise NoSuchFieldError(f"the document has no field {field}, neither now nor then")
    return found
