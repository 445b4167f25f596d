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
    """One document.

    Attributes:
        expected: its BSON as history knows it; None: it should not be there.
        target: its BSON as it is to be; None: it is not to be there.
        only: paths of the fields that are to be put back; None: all.
        undo: what is the same in `expected` and `target` is left alone whatever it is by now.
        refused: why nothing may be done to it; None: nothing is in the way.
        gaps: intervals of which events were lost, so that it may have been something else than `target`.
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
    """What is asked for.

    Attributes:
        since: the position that it goes back to.
        seen: cluster time of the last entry that is expected; None: there is none.
    """

    goal: Goal
    since: HistoryPosition
    seen: Timestamp | None


class Known:
    """A document at a position of history."""

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
        """The intervals of which events were lost, so that it may have been something else."""
        return tuple(self._lineage.gaps(self.reconstructed.base_time if self.reconstructed is not None else None))

    def moment(self) -> Timestamp | None:
        """The cluster time of what was recorded last of it; None: nothing was."""
        since = self._lineage.newest.since
        last = ClusterTime.from_id(self.reconstructed.last) if self.reconstructed is not None else since
        return last.timestamp if last else None

    def _unless_it_was_there_before(self) -> Unknown | None:
        """Why it may have been there although nothing is recorded of it by then; None: it was not."""
        if last_boundary(self._database, self._namespace, self.position) is not None:
            return None  # whatever there was had ended
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
) -> TimedGoal:
    """One document as it was.

    Args:
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
        version: the number of the version before.
        at: cluster time of the deletion. Only this much of history is expected, so whatever came back since conflicts.
    """

    version: int
    at: Timestamp


class Living(NamedTuple):
    """A document that exists, by history; so nothing is to be done.

    Attributes:
        version: the number of its version; None: it has none under this name.
        goal: that it be there.
    """

    version: int | None
    goal: Goal


def before_deletion(
    database: Database[Any], namespace: str, document_id: Any, seen: PointInTime | None
) -> Deleted | Living:
    """Whether a document is deleted, and what it was before.

    Args:
        seen: only what is recorded up to then counts; None: all.

    Raises:
        CollectionEndedError: it is gone with its collection.
        NothingRecordedError: nothing is recorded of it.
        UnknownStateError: history cannot tell whether it is there, or nothing of it before its deletion.
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
    """A document that a transaction wrote to, and the positions of the first and the last of its events there."""

    namespace: str
    raw_id: raw.Value
    first: HistoryPosition
    last: HistoryPosition


def of_transaction(
    database: Database[Any], transaction: Transaction, documents: Iterable[Touched], *, force: bool = False
) -> list[Goal]:
    """Documents that a transaction wrote to, from what they were right after it to what they were right before.

    In memory are all of the documents, before and after.
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
    """Where a rename has taken the documents of a collection after a transaction, so that they are no longer there."""
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
    """See to it that every part of a stream that may have events of a transaction has recorded them.

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
            continue  # it made a collection, or an index
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
