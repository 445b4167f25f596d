"""The outcome of a revert or a dry run: the documents, the recorded events that it undoes, and the lag of history."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.bson import raw
from change_history.bson.paths import decoded
from change_history.bson.values import Missing, to_python, to_raw
from change_history.diff import images
from change_history.diff.compare import compare
from change_history.query import timeline
from change_history.query.conditions import changes_of
from change_history.query.selection import Selection
from change_history.reconstruct.point_in_time import Versions
from change_history.stored.event import to_event
from change_history.stored.order import position_of
from change_history.stored.reading import history_collection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bson import Timestamp
    from pymongo.database import Database

    from change_history.bson.paths import Path, TextPath
    from change_history.bson.raw import Value
    from change_history.diff.compare import Difference, Side
    from change_history.reconstruct.point_in_time import PointInTime
    from change_history.revert.merge import MergeConflict as RawConflict
    from change_history.stored.event import Change, Event, Transaction
    from change_history.stored.order import HistoryPosition


class Lag(NamedTuple):
    """How far history lags behind the deployment.

    Attributes:
        recorded: cluster time up to which everything is recorded; None: no stream follows the namespace.
        now: cluster time of the deployment.
    """

    recorded: Timestamp | None
    now: Timestamp

    @property
    def seconds(self) -> int | None:
        """The difference in seconds. An idle daemon saves its position every ten seconds, so less is insignificant."""
        return max(self.now.time - self.recorded.time, 0) if self.recorded is not None else None


MOST_TOLD = 10
"""Later events that are listed at most."""


@dataclass(frozen=True, slots=True)
class Later:
    """Recorded events of one document, under the name that it was asked for by.

    Attributes:
        count: the number of events.
        events: the newest of them, `MOST_TOLD` at most, oldest first; with only the changes of the requested fields, if
            any.
    """

    count: int = 0
    events: tuple[Event, ...] = ()


def between(
    database: Database[Any],
    namespace: str,
    document_id: Any,
    since: HistoryPosition,
    until: HistoryPosition,
    *,
    names: Sequence[str] = (),
) -> Later:
    """The recorded events of a document between two positions.

    Args:
        since: the first position, included.
        until: the last position, excluded.
        names: only events with changes of these fields, in MongoDB's notation; none: all. With names, all are read.
    """
    if until <= since:
        return Later()
    found = _newest_first(database, Selection(namespace, document_id), since, until)
    if names:
        count, newest = 0, []
        for event in found:
            concerned = tuple([change for name in names for change in changes_of(event, name)])
            if concerned:
                count += 1
                newest += [replace(event, changes=concerned)] if count <= MOST_TOLD else []
    else:
        newest = list(islice(found, MOST_TOLD))
        versions = Versions(database, namespace, to_raw(document_id))
        full = len(newest) == MOST_TOLD
        count = versions.number(until) - versions.number(since) if full else len(newest)
    return Later(count, tuple(reversed(newest)))


def _newest_first(
    database: Database[Any], selection: Selection, since: HistoryPosition, until: HistoryPosition
) -> Iterator[Event]:
    collection = history_collection(database)
    first, last = since.cluster_time.timestamp, until.cluster_time.timestamp
    bounded = Selection(selection.namespace, selection.document_id, since=first, until=last)
    for stored in timeline.read(collection, bounded, newest_first=True):
        if since <= position_of(raw.fields(bytes(stored.raw))) < until:
            yield to_event(stored)


@dataclass(frozen=True, slots=True)
class MergeConflict:
    """A path at which the document is neither as history has it nor as it is to become.

    Attributes:
        path: the keys, `str`; empty: the whole document.
        expected: the value according to history, exact (see `change_history.bson.values`); `ABSENT`: there is none.
        actual: the value on the server; likewise.
        target: the value to revert to; likewise.
    """

    path: TextPath
    expected: Any
    actual: Any
    target: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverted:
    """The outcome for one document.

    Attributes:
        before: its BSON when it was read; None: it did not exist.
        after: its BSON after the revert; None: it is deleted. Equal to `before` where there is nothing to do.
        raw_conflicts: the paths left alone because they are not as history expects.
        raw_overwritten: conflicts that were forced.
        refused: why this document is not reverted; None: it is.
        gaps: gaps because of which its state may have differed from the target.
        withheld: paths of values that history withholds, so that they are not reverted.
    """

    namespace: str
    raw_id: Value
    before: bytes | None
    after: bytes | None
    raw_conflicts: tuple[RawConflict, ...] = ()
    raw_overwritten: tuple[RawConflict, ...] = ()
    refused: str | None = None
    gaps: tuple[Event, ...] = ()
    withheld: tuple[Path, ...] = ()

    @property
    def document_id(self) -> Any:
        """Its `_id`, exact (see `change_history.bson.values.to_python`)."""
        return to_python(self.raw_id)

    @property
    def writes(self) -> bool:
        """Whether it is, or would be, written."""
        return self.refused is None and self.before != self.after

    @property
    def complete(self) -> bool:
        """Whether it is reverted completely."""
        return self.refused is None and not self.raw_conflicts

    @property
    def differences(self) -> list[Difference]:
        """Its differences after the revert, down to the leaves (see `change_history.diff.compare`)."""
        return compare(self.before, self.after)

    @property
    def changes(self) -> list[Change]:
        """Its changes by the revert, as one event would record them (see `History.diff`)."""
        return images.read(images.changes(self.before, self.after))

    @property
    def conflicts(self) -> list[MergeConflict]:
        """What stays as it is, because it is not as history has it."""
        return list(map(_conflict, self.raw_conflicts))

    @property
    def overwritten(self) -> list[MergeConflict]:
        """Conflicts that were forced."""
        return list(map(_conflict, self.raw_overwritten))


@dataclass(frozen=True, slots=True, kw_only=True)
class Revert:
    """A revert.

    Attributes:
        documents: every requested document, including those with nothing to do.
        transaction: the revert's transaction, as its events have it; None: nothing was written.
        to: the point in time reverted to; a version number is counted from the oldest.
        seen: cluster time up to which history was read, for the `seen` of a later call; None: that is not a single
            moment.
        lag: how far history lags, where that may be the reason for conflicts.
        undone: the recorded events of one document that the revert undoes where there is no conflict; None: not
            requested.
        unseen: those recorded after the requested `seen`, which are left alone; None: no `seen` was given.
        unsaid: why the attribution is not recorded, with a remedy; None: it is, or none was given.
    """

    documents: tuple[Reverted, ...]
    transaction: Transaction | None = None
    to: PointInTime | None = None
    seen: Timestamp | None = None
    lag: Lag | None = None
    undone: Later | None = None
    unseen: Later | None = None
    unsaid: str | None = None

    @property
    def applied(self) -> bool:
        """Whether anything was written."""
        return self.transaction is not None

    @property
    def complete(self) -> bool:
        """Whether every document is, or would be, reverted completely."""
        return all(document.complete for document in self.documents)

    @property
    def changes(self) -> list[Change]:
        """The changes of all documents, one after the other."""
        return [change for document in self.documents for change in document.changes]

    @property
    def conflicts(self) -> list[MergeConflict]:
        """What stays as it is, because it is not as history has it."""
        return [conflict for document in self.documents for conflict in document.conflicts]


def _conflict(found: RawConflict) -> MergeConflict:
    return MergeConflict(decoded(found.path), *map(_python, found[1:]))


def _python(side: Side) -> Any:
    return side if isinstance(side, Missing) else to_python(side)
