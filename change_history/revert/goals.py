"""What documents that are to be put back should be now by history, and what they are to become.

One document goes back to a point in time (`to_moment`), to the version before its deletion (`before_deletion`), or the
documents of a transaction to what they were before it (`of_transaction`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME, ClusterTime
from change_history.bson.equality import key_of
from change_history.bson.redacted import MAGIC
from change_history.bson.values import ABSENT, CODEC, to_python, to_raw
from change_history.query.selection import Selection
from change_history.reconstruct import point_in_time
from change_history.reconstruct.document import reconstruct_one
from change_history.reconstruct.lineage import Lineage, last_boundary
from change_history.reconstruct.point_in_time import Resolved, Versions
from change_history.reconstruct.state import Reconstruction, UnknownStateError
from change_history.reconstruct.trust import Unknown, parts_before
from change_history.revert.errors import (
    CollectionEndedError,
    NoSuchFieldError,
    NotAllRecordedError,
    NothingRecordedError,
)
from change_history.revert.merge import InsideArrayError, paths_of
from change_history.revert.withheld import changed_between, changed_by
from change_history.stored.names import DOCUMENT_TIMELINE, HISTORY
from change_history.stored.order import position_at, position_of
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    from bson import Timestamp
    from pymongo.database import Database

    from change_history.bson.paths import Path
    from change_history.reconstruct.point_in_time import PointInTime
    from change_history.stored.event import Event, Transaction
    from change_history.stored.order import HistoryPosition


class Goal(NamedTuple):
    """The expected state and the target state of one document.

    Attributes:
        expected: its BSON now, according to history; None: it should not exist.
        target: its BSON after the revert; None: it is to be deleted.
        only: paths of the fields to revert; None: all.
        undo: whether fields that are equal in `expected` and `target` are left alone, whatever their present value.
        refused: why it must not be reverted; None: it may.
        gaps: gaps because of which its state may have differed from `target`.
        changed: the paths that changed between the two, if values are withheld; None: any may have.
    """

    namespace: str
    raw_id: raw.Value
    expected: bytes | None
    target: bytes | None
    only: frozenset[Path] | None = None
    undo: bool = False
    refused: str | None = None
    gaps: tuple[Event, ...] = ()
    changed: frozenset[Path] | None = None


class TimedGoal(NamedTuple):
    """A goal for a point in time.

    Attributes:
        since: the position to revert to.
        seen: cluster time of the last entry in the expected state; None: there is none.
    """

    goal: Goal
    since: HistoryPosition
    seen: Timestamp | None


class Known:
    """A document at a position in history."""

    def __init__(self, database: Database[Any], namespace: str, raw_id: raw.Value, where: Resolved) -> None:
        self._database = database
        self._namespace = namespace
        self._raw_id = raw_id
        self.position = where.position
        self._lineage = Lineage(database, namespace, where.position, where.moment, where.boundary)
        self.reconstructed = reconstruct_one(database, self._lineage, raw_id, moment=where.moment).reconstructed

    def document(self) -> bytes | Unknown | None:
        """Its BSON; None: it surely did not exist. `as_of` answers that sooner, but here something is deleted."""
        if self.reconstructed is not None:
            return self.reconstructed.document
        return self._lineage.unrecorded or self._unless_it_was_there_before()

    def gaps(self) -> tuple[Event, ...]:
        """The gaps because of which its state may have been another."""
        return tuple(self._lineage.gaps(self.reconstructed.base_time if self.reconstructed is not None else None))

    def moment(self) -> Timestamp | None:
        """The cluster time of its last entry; None: there is none."""
        since = self._lineage.newest.since
        last = ClusterTime.from_id(self.reconstructed.last) if self.reconstructed is not None else since
        return last.timestamp if last else None

    def _unless_it_was_there_before(self) -> Unknown | None:
        """Why it may have existed although nothing is recorded by then; None: it did not."""
        if last_boundary(self._database, self._namespace, self.position) is not None:
            return None  # all earlier documents had ended
        first = Versions(self._database, self._namespace, self._raw_id).first_from(self.position)
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
    """Resolve a version number counted from the newest to one counted from the oldest, which does not shift later."""
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
) -> TimedGoal:
    """The goal to revert one document to a point in time.

    Args:
        to: the point in time.
        fields: only these, as MongoDB writes them; none: all.
        seen: later events do not count for the expected state; None: all do.
        force: overwrite the document, so that neither its expected state nor gaps matter.

    Raises:
        NothingRecordedError: nothing is recorded of it.
        NoSuchFieldError: it has no such field in either state.
        UnknownStateError: the target state is unknown, or, unless forced, the expected one.
        change_history.revert.merge.InsideArrayError: a field is within an array.
        change_history.reconstruct.point_in_time.NoSuchVersionError: the document has no version of this number.
        ValueError: a datetime without a time zone.
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
    changed = None
    if _withholds(expected, target):
        changed = changed_between(database, namespace, document_id, then.position, now.position)
    goal = Goal(namespace, raw_id, expected, target, only, refused=refused, gaps=gaps, changed=_frozen(changed))
    return TimedGoal(goal, then.position, now.moment())


def _withholds(*documents: bytes | None) -> bool:
    return any(document is not None and MAGIC in document for document in documents)


def _frozen(paths: set[Path] | None) -> frozenset[Path] | None:
    return frozenset(paths) if paths is not None else None


def _paths(field: str, expected: bytes | None, target: bytes | None) -> set[Path]:
    try:
        found = paths_of(field.encode("utf-8", "surrogateescape"), (expected, target))
    except InsideArrayError as error:
        raise InsideArrayError(f"{field} is within an array; arrays are put back as wholes") from error
    if not found:
        raise NoSuchFieldError(f"the document has no field {field}, neither now nor then")
    return found


class Deleted(NamedTuple):
    """A document whose last recorded event is its deletion.

    Attributes:
        version: the number of the version before the deletion.
        at: cluster time of the deletion. Later events are not expected, so a document inserted since is a conflict.
    """

    version: int
    at: Timestamp


class Living(NamedTuple):
    """A document that exists, by history; so nothing is to be done.

    Attributes:
        version: the number of its version; None: it has none under this name.
        goal: its present state.
    """

    version: int | None
    goal: Goal


def before_deletion(
    database: Database[Any], namespace: str, document_id: Any, seen: PointInTime | None
) -> Deleted | Living:
    """Whether a document is deleted, and which version it had before.

    Args:
        seen: only events recorded up to then count; None: all.

    Raises:
        CollectionEndedError: it ended with its collection.
        NothingRecordedError: nothing is recorded of it.
        UnknownStateError: whether it exists is unknown, or nothing is recorded before its deletion.
        change_history.reconstruct.point_in_time.NoSuchVersionError: the document has no version of this number.
    """
    state = Reconstruction(database, namespace, document_id, seen).state()
    if state.unknown is not None:
        raise UnknownStateError(namespace, state.unknown, document_id)
    if state.data is not None:
        return Living(state.version, Goal(namespace, state.raw_id, state.data, state.data))
    ended = state.ended_by
    if ended is None:
        raise NothingRecordedError(f"nothing is recorded of the document in {namespace}")
    if ended.document_id is ABSENT or ended.namespace != namespace:
        raise CollectionEndedError(ended)
    before = Versions(database, namespace, state.raw_id).number(position_at(ended.id, ended.resume_token)) - 1
    if not before:
        raise UnknownStateError(namespace, "nothing is recorded of it before its deletion", document_id)
    return Deleted(before, ended.cluster_time)


_WHERE = {"namespace": 1, "document_id": 1, "resume_token": 1}


class Touched(NamedTuple):
    """A document that a transaction wrote to, with the positions of its first and last event on it."""

    namespace: str
    raw_id: raw.Value
    first: HistoryPosition
    last: HistoryPosition


def of_transaction(
    database: Database[Any], transaction: Transaction, documents: Iterable[Touched], *, force: bool = False
) -> list[Goal]:
    """The goals to revert the documents of a transaction from their state right after it to that right before.

    Holds all documents in memory, before and after.
    """
    moved: dict[str, str | None] = {}
    goals = []
    for document in documents:
        if document.namespace not in moved:
            moved[document.namespace] = _moved_since(database, document)
        goal = _goal(database, transaction, document, force=force)
        goals.append(goal._replace(refused=goal.refused or moved[document.namespace]))
    return goals


def _moved_since(database: Database[Any], document: Touched) -> str | None:
    """The refusal if a rename has moved the documents of a collection away since a transaction; None: none has."""
    query = {
        "namespace": document.namespace,
        "document_id": {"$exists": False},
        "operation": "rename",
        "_id": {"$gt": Binary(document.last.last_id)},
    }
    history = database.get_collection(HISTORY, codec_options=CODEC)
    found = history.find_one(query, {"description.to": 1}, sort=[("_id", 1)], hint=DOCUMENT_TIMELINE)
    if found is None:
        return None
    to = found["description"]["to"]
    return (
        f"the collection was renamed to {to['db']}.{to['coll']} since, and took the documents along: put them back "
        "there, one by one (--to)"
    )


def require_all(database: Database[Any], documents: Sequence[Touched]) -> None:
    """Check that every partition of a stream that may have events of a transaction has recorded them.

    Raises:
        NotAllRecordedError: one has not.
    """
    last = max((document.last.cluster_time for document in documents), default=BEGINNING_OF_TIME)
    for namespace in {document.namespace for document in documents}:
        for behind in parts_before(database, last.timestamp, namespace):
            raise NotAllRecordedError(behind)


def touched(database: Database[Any], transaction: Transaction) -> list[Touched]:
    """Every document that a transaction is known to have written to."""
    found: dict[tuple[str, Hashable], Touched] = {}
    for fields in _events(database, transaction):
        document_id = fields.get(b"document_id")
        if document_id is None:
            continue  # it created a collection or an index
        namespace = raw.text_of(fields[b"namespace"]).decode("utf-8", "surrogateescape")
        key, position = (namespace, key_of(document_id)), position_of(fields)
        if key in found:
            known = found[key]
            found[key] = known._replace(first=min(known.first, position), last=max(known.last, position))
        else:
            found[key] = Touched(namespace, document_id, position, position)
    return sorted(found.values(), key=lambda document: document.namespace)


def _events(database: Database[Any], transaction: Transaction) -> Iterator[dict[bytes, raw.Value]]:
    selection = Selection(None, transaction=transaction)
    history = database.get_collection(HISTORY, codec_options=RAW)
    for stored in history.find(selection.query(), _WHERE, sort=[("_id", 1)], hint=selection.index):
        yield raw.fields(bytes(stored.raw))


def _goal(database: Database[Any], transaction: Transaction, document: Touched, *, force: bool) -> Goal:
    namespace, raw_id, first, last = document
    before, after = (Known(database, namespace, raw_id, Resolved(position)) for position in (first, last.following))
    target, expected, gaps = before.document(), after.document(), before.gaps()
    if isinstance(target, Unknown):
        return _untold(document, target)
    if isinstance(expected, Unknown):
        return _untold(document, expected)
    changed = None
    if _withholds(expected, target):
        changed = changed_by(database, namespace, to_python(raw_id), transaction)
    goal = Goal(namespace, raw_id, expected, target, undo=True, gaps=gaps, changed=_frozen(changed))
    if gaps and not force:
        return goal._replace(refused="events were lost before the transaction, so it may have been something else")
    return goal


def _untold(document: Touched, unknown: Unknown) -> Goal:
    refused = f"history cannot tell it: {unknown.reason}"
    return Goal(document.namespace, document.raw_id, None, None, undo=True, refused=refused)
