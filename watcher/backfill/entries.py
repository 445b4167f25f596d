"""The entries that the backfill makes of the documents that it has read.

There are three cases. If nothing was recorded about a document between the plan's cluster time and the read, its state
was the same at both: its entry gets the plan's cluster time. Otherwise only its state at the read is known: it is
recorded whole, as of the read, unless history has the same state already. (A difference is not enough, since later
events may have changed another document than the one that history knew before.) A document that changed during the read
is read again.

The state of a document in history comes from `change_history.reconstruct`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary

from change_history.bson import raw, redacted
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.equality import key_of
from change_history.reconstruct import trust
from change_history.reconstruct.entries import reconstruct_many
from change_history.reconstruct.lineage import last_boundary, lineage_of
from change_history.reconstruct.reads import in_ids
from change_history.reconstruct.trust import Unknown
from change_history.stored.names import DOCUMENT_TIMELINE, HISTORY
from change_history.stored.order import after
from change_history.stored.reading import RAW
from watcher.backfill.queue import BASELINE
from watcher.events import baseline
from watcher.targets.partition import holds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bson import Timestamp
    from pymongo.database import Database

    from change_history.partition import Partition
    from change_history.reconstruct.lineage import Incarnation
    from watcher.backfill.queue import BackfillPlan
    from watcher.events.redaction import Redaction

MOST_BYTES = 4 * 1024 * 1024
"""Most bytes of `_id`s handled at once, except for a single `_id` that is larger."""
_MILLISECONDS = 1000
_NOTHING_KNOWN = Unknown("history has no entry of it")


class EntriesToWrite(NamedTuple):
    """The entries to write for some documents.

    Attributes:
        unsure: ids of documents that have to be read again.
        later: whether some documents could only be compared at the read's cluster time instead of the plan's.
    """

    entries: list[bytes]
    unsure: list[raw.Value]
    later: bool


class Entries:
    """Makes the entries of a plan.

    Args:
        plan: the plan that is carried out.
        partition: only the documents of this partition of the stream; None: all.
        redaction: redacts values of the documents; None: nothing is redacted.
    """

    def __init__(
        self, history: Database[Any], plan: BackfillPlan, partition: Partition | None, redaction: Redaction | None
    ) -> None:
        self._part = partition
        self._database = history
        self._history = history.get_collection(HISTORY, codec_options=RAW)
        self._plan = plan
        self._namespace = plan.namespaces[0]
        self._redactor = redaction.of(self._namespace.encode("utf-8", "surrogateescape")) if redaction else None

    def known_ids(self, chunk: int) -> Iterator[list[raw.Value]]:
        """The ids of all documents in history at the plan's cluster time, `chunk` at a time, read from the index only.

        A killed daemon may have recorded entries after its saved position. Documents that are new in these may have
        been deleted since, too.
        """
        ids: list[raw.Value] = []
        size = 0
        for incarnation in self._incarnations(self._plan.at):
            mine = {} if self._part is None else {"$expr": holds(self._part, "$document_id")}
            known = {"namespace": incarnation.namespace, "document_id": {"$exists": True}, "_id": incarnation.ids()}
            stages: list[dict[str, Any]] = [
                {"$match": known | mine},
                {"$sort": {"namespace": 1, "document_id": 1}},
                {"$group": {"_id": "$document_id"}},
            ]
            with self._history.aggregate(stages, allowDiskUse=True, hint=dict(DOCUMENT_TIMELINE)) as cursor:
                for found in cursor:
                    document_id = raw.fields(bytes(found.raw))[b"_id"]
                    if ids and (len(ids) == chunk or size + len(document_id[1]) > MOST_BYTES):
                        yield ids
                        ids, size = [], 0
                    ids.append(document_id)
                    size += len(document_id[1])
        if ids:
            yield ids

    def replaced(self, until: Timestamp) -> bool:
        """Whether the collection was dropped, renamed or replaced between the plan's cluster time and `until`."""
        return self._turned(self._plan.at, until)

    def about(self, found: dict[raw.Value, bytes | None], since: Timestamp, until: Timestamp) -> EntriesToWrite:
        """The entries to write for documents that were read.

            plan.since ──── plan.at ──── since ──── until
                            wanted         while read
                                         ├─────────┤       it changed here: unsure, to be read again
            ├────────────────────────────┤                 it changed here: recorded as of the read
            ├──────────────────────────────────────┤       it did not change: recorded as of the plan's cluster time

        Args:
            found: the documents by `_id`, as of some cluster time from `since` to `until`; None: it does not exist.
            since: the first cluster time of the read.
            until: its last; the stream is recorded up to it, unless it is the plan's own.
        """
        plan, ids = self._plan, list(found)
        found = {key: self._redacted(document) for key, document in found.items()}
        unsure = self._touched(ids, since, until, gaps_since=since)
        changed = self._touched(ids, plan.since or plan.at, until, gaps_since=plan.at) - unsure
        entries = self._as_of_plan({key: found[key] for key in ids if key not in changed and key not in unsure})
        entries += self._as_of_reading({key: found[key] for key in ids if key in changed}, until)
        return EntriesToWrite(entries, [key for key in ids if key in unsure], bool(changed) and until > plan.at)

    def _touched(
        self, ids: list[raw.Value], since: Timestamp, until: Timestamp, *, gaps_since: Timestamp
    ) -> set[raw.Value]:
        """The documents that may have changed after `since`, up to and including `until`.

        These are all of them if the collection was dropped, renamed or replaced in between, or if a gap begins after
        `gaps_since`.
        """
        first, last = ClusterTime.of(since), ClusterTime.of(until)
        if self._lost(gaps_since, until):
            return set(ids)
        if last <= first or not ids:
            return set()
        rejected = trust.rejected(self._database, [self._namespace])
        if self._turned(since, until):
            return set(ids)
        query = {
            "namespace": self._namespace,
            "document_id": in_ids(ids),
            "_id": {"$gt": Binary(first.last_id), "$lte": Binary(last.last_id)},
        }
        with self._history.find(query, {"document_id": 1, "_id": 0}, hint=DOCUMENT_TIMELINE) as cursor:
            recorded = {key_of(raw.fields(bytes(found.raw))[b"document_id"]) for found in cursor}
        return {
            key
            for key in ids
            if (same := key_of(key)) in recorded or rejected.concerning(same, first, last) is not None
        }

    def _turned(self, since: Timestamp, until: Timestamp) -> bool:
        """Whether the collection was dropped, renamed or replaced after one cluster time, and up to another one."""
        turn = last_boundary(self._database, self._namespace, after(ClusterTime.of(until)))
        return turn is not None and turn.cluster_time > ClusterTime.of(since)

    def _lost(self, since: Timestamp, until: Timestamp) -> bool:
        first, last = ClusterTime.of(since), ClusterTime.of(until)
        # A stream that resumes at a cluster time delivers the events of that time.
        return last > first and any(
            gap.since < last and first < gap.until.just_before for gap in trust.gaps(self._database, self._namespace)
        )

    def _as_of_plan(self, found: dict[raw.Value, bytes | None]) -> list[bytes]:
        """Entries of documents that have not changed since the plan's cluster time."""
        name, read_at = self._namespace.encode(), _snapshot(self._plan.at)
        if self._plan.kind == BASELINE:
            return [baseline.baseline(name, document, read_at) for document in found.values() if document is not None]
        known = self._known(list(found), self._incarnations_before)
        entries = []
        for key, read in found.items():
            was, document = self._compared(known.get(key, _NOTHING_KNOWN if read is not None else None), read)
            if isinstance(was, Unknown) or not _same_id(was, document):
                entries.append(baseline.replaced(name, key, document, read_at))
            elif (entry := baseline.reconcile(name, key, was, document, read_at)) is not None:
                entries.append(entry)
        return entries

    def _as_of_reading(self, found: dict[raw.Value, bytes | None], at: Timestamp) -> list[bytes]:
        """Entries of documents that have changed since the plan's cluster time, unless history has their state."""
        name, read_at = self._namespace.encode(), _snapshot(at)
        known = self._known(list(found), self._incarnations(at))
        entries = []
        for key, document in found.items():
            if known.get(key) == document or (key in known and _are_same(*self._compared(known[key], document))):
                continue
            if self._plan.kind == BASELINE and document is not None:
                entries.append(baseline.baseline(name, document, read_at))
            else:
                entries.append(baseline.replaced(name, key, document, read_at))
        return entries

    def _redacted(self, document: bytes | None) -> bytes | None:
        return self._redactor.document(document) if self._redactor is not None and document is not None else document

    def _compared(
        self, was: bytes | Unknown | None, found: bytes | None
    ) -> tuple[bytes | Unknown | None, bytes | None]:
        """The states in history and in the collection in comparable form: both redacted by the present rules.

        Values that history has redacted by other rules, or erased, cannot be compared, and are taken as equal.
        """
        if isinstance(was, Unknown) or was is None or found is None:
            return was, found
        told = self._redactor.document(was) if self._redactor is not None else was
        return told, redacted.adopt((raw.DOCUMENT, told), (raw.DOCUMENT, found))[1]

    def _known(self, ids: list[raw.Value], incarnations: list[Incarnation]) -> dict[raw.Value, bytes | Unknown | None]:
        """The documents' states in history; documents without an entry are missing."""
        found = reconstruct_many(self._database, incarnations, ids) if ids else {}
        return {key: found[same].document for key in ids if (same := key_of(key)) in found}

    @cached_property
    def _incarnations_before(self) -> list[Incarnation]:
        return self._incarnations(self._plan.since or self._plan.at)

    def _incarnations(self, until: Timestamp) -> list[Incarnation]:
        return list(lineage_of(self._database, self._namespace, after(ClusterTime.of(until))))


def _same_id(was: bytes | None, document: bytes | None) -> bool:
    """Whether a difference can be written as changes.

    To the server, `_id` 3 and 3.0 are the same document, but no change leads from one to the other.
    """
    if was is None or document is None:
        return True
    return raw.fields(was)[b"_id"] == raw.fields(document)[b"_id"]


def _are_same(was: bytes | Unknown | None, found: bytes | None) -> bool:
    return not isinstance(was, Unknown) and was == found


def _snapshot(at: Timestamp) -> baseline.SnapshotRead:
    read_at = at.time * _MILLISECONDS
    return baseline.SnapshotRead(ClusterTime.of(at), read_at.to_bytes(8, "little", signed=True))
