"""What a survey writes about documents that were read: history's own words for what they are, or nothing.

A document that nothing was recorded of between the moment wanted and the reading is what it was: it is told of for the
moment wanted. Of any other it is known only what it was when it was read: then all of it is stated for that moment,
unless history says the same already. A difference would not do, since later events may not have been made of what
history knew before. The third kind changed while it was read; it has to be read again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.bson import raw
from change_history.reconstruct.places import sortable
from change_history.reconstruct.states import Unknown
from watcher.backfill import traces
from watcher.backfill.agenda import BASELINE
from watcher.backfill.recollection import Recollection
from watcher.events import baseline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bson import Timestamp
    from pymongo.database import Database

    from change_history.partition import Part
    from watcher.backfill.agenda import Plan

_MILLISECONDS = 1000
_NOTHING_KNOWN = Unknown("history has no entry of it")


class Stated(NamedTuple):
    """What is to be written about some documents.

    Attributes:
        entries: history documents.
        unsure: ids of what has to be read again.
        later: whether anything could only be compared at the reading's moment instead of the plan's.
    """

    entries: list[bytes]
    unsure: list[raw.Value]
    later: bool


class Statements:
    """Makes the entries of a plan.

    Args:
        history: the history database.
        plan: what is surveyed.
        part: only the documents of this part of the stream; None: all.
    """

    def __init__(self, history: Database[Any], plan: Plan, part: Part | None = None) -> None:
        self._part = part
        self._history = history
        self._plan = plan
        self._namespace = plan.namespaces[0]
        self._before = Recollection(history, sortable(plan.since or plan.at))

    def known_ids(self, chunk: int) -> Iterator[list[raw.Value]]:
        """The ids of all documents that history knows at the plan's moment, in chunks.

        A daemon that was killed has recorded more than its position says: documents that are new to history since then
        may be gone, too.
        """
        return Recollection(self._history, sortable(self._plan.at)).ids(self._namespace, chunk, self._part)

    def turned(self, until: Timestamp) -> bool:
        """Whether the collection that was read up to a moment is not the one that there was at the plan's.

        Raises:
            pymongo.errors.PyMongoError: the history deployment does not answer, or refuses.
        """
        return traces.turned(self._history, self._namespace, self._plan.at, until)

    def about(self, found: dict[raw.Value, bytes | None], since: Timestamp, until: Timestamp) -> Stated:
        """What to write of documents that were read.

        Args:
            found: them by `_id`, as they were at some moment from `since` to `until`; None: not there.
            since: the first moment.
            until: the last; the stream is recorded up to it, if it is not the plan's own.

        Raises:
            pymongo.errors.PyMongoError: the history deployment does not answer, or refuses.
        """
        plan, ids = self._plan, list(found)
        unsure = self._touched(ids, since, until, gaps_since=since)
        changed = self._touched(ids, plan.since or plan.at, until, gaps_since=plan.at) - unsure
        entries = self._for_the_plan({key: found[key] for key in ids if key not in changed and key not in unsure})
        restated = self._for_the_reading({key: found[key] for key in ids if key in changed}, until)
        return Stated(entries + restated, [key for key in ids if key in unsure], bool(changed) and until > plan.at)

    def _touched(
        self, ids: list[raw.Value], since: Timestamp, until: Timestamp, *, gaps_since: Timestamp
    ) -> set[raw.Value]:
        if traces.lost(self._history, self._namespace, gaps_since, until):
            return set(ids)
        return traces.touched(self._history, self._namespace, ids, since, until)

    def _for_the_plan(self, found: dict[raw.Value, bytes | None]) -> list[bytes]:
        """Entries of documents that are what they were at the plan's moment."""
        name, moment = self._namespace.encode(), _moment(self._plan.at)
        if self._plan.kind == BASELINE:
            return [baseline.baseline(name, document, moment) for document in found.values() if document is not None]
        known = self._before.recall(self._namespace, list(found)) if found else {}
        entries = []
        for key, document in found.items():
            was = known.get(key, _NOTHING_KNOWN if document is not None else None)
            if isinstance(was, Unknown) or not _same_id(was, document):
                entries.append(baseline.replaced(name, key, document, moment))
            elif (entry := baseline.reconcile(name, key, was, document, moment)) is not None:
                entries.append(entry)
        return entries

    def _for_the_reading(self, found: dict[raw.Value, bytes | None], at: Timestamp) -> list[bytes]:
        """Entries of documents that something was recorded of since, which history does not know as they are."""
        name, moment = self._namespace.encode(), _moment(at)
        known = Recollection(self._history, sortable(at)).recall(self._namespace, list(found)) if found else {}
        entries = []
        for key, document in found.items():
            if known.get(key) == document:
                continue
            if self._plan.kind == BASELINE and document is not None:
                entries.append(baseline.baseline(name, document, moment))
            else:
                entries.append(baseline.replaced(name, key, document, moment))
        return entries


def _same_id(was: bytes | None, document: bytes | None) -> bool:
    """Whether a difference can be told: 3 and 3.0 are one document to the server, but no change leads from the one."""
    if was is None or document is None:
        return True
    return raw.fields(was)[b"_id"] == raw.fields(document)[b"_id"]


def _moment(at: Timestamp) -> baseline.Snapshot:
    read_at = at.time * _MILLISECONDS
    return baseline.Snapshot(sortable(at)[::-1], read_at.to_bytes(8, "little", signed=True))
