"""Where no seal covers it: history compared with itself, and with the documents.

Each old value must be what the entry before has left, and the last entry must leave what the collection has. What is
not known is not held against anybody: across a gap, a rejected event, a beginning of watching, a drop or a rename, a
document is followed anew from the next entry that tells it whole.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.equality import key_of
from change_history.bson.image import Image, RepeatedKeyError
from change_history.bson.paths import dotted
from change_history.bson.redacted import MAGIC
from change_history.reconstruct import fold, trust
from change_history.reconstruct.document import reconstruct_one
from change_history.reconstruct.entries import timelines
from change_history.reconstruct.lineage import incarnations_of, lineage_of
from change_history.seals.finding import Finding
from change_history.stored.changes import UNKNOWN
from change_history.stored.names import CHECKPOINTS
from change_history.stored.order import END, identity
from change_history.stored.reading import recorded_collections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pymongo.database import Database

    from change_history.reconstruct.fold import Entry
    from change_history.reconstruct.trust import RejectedConcerns
    from change_history.seals.finding import Report

    Fields = dict[bytes, raw.Value]
    Live = Callable[[str, raw.Value], bytes | None]

_TRIES = 5
_BETWEEN_S = 1.0


class _Unknown:
    """In place of a document that is unknown at the moment."""


_UNKNOWN = _Unknown()
_State = bytes | _Unknown | None


class Values:
    """Compares the entries of documents with each other.

    Args:
        live: returns a document as it is now; None: the entries are only compared with each other.
        advance: called with the number of documents compared since the last call.
    """

    def __init__(
        self,
        database: Database[Any],
        report: Report,
        live: Live | None = None,
        advance: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._database = database
        self._report = report
        self._live = live
        self._advance = advance
        self._begun = sorted(
            ClusterTime.of(found["begun"])
            for found in database[CHECKPOINTS].find({"begun": {"$type": "timestamp"}}, {"begun": 1})
        )

    def namespaces(self) -> list[str]:
        """Every namespace with recorded events, sorted."""
        return recorded_collections(self._database)

    def compare(self, namespace: str, ids: Sequence[raw.Value] | None = None) -> None:
        """Compare the entries of a namespace's documents, or of some of them."""
        breaks = _Breaks(self._database, namespace, self._begun)
        incarnations = incarnations_of(self._database, namespace)
        for incarnation in incarnations:
            for document_id, entries in timelines(self._database, incarnation, ids):
                wrong, state = _followed(document_id, entries, breaks)
                if wrong is not None:
                    self._report.findings.append(wrong._replace(namespace=namespace, document_id=document_id))
                elif incarnation is incarnations[-1] and self._live is not None and _is_known(state):
                    self._compare_with_live(namespace, document_id, state, self._live)
                self._report.documents += 1
                self._advance(1)

    def _compare_with_live(self, namespace: str, document_id: raw.Value, state: _State, live: Live) -> None:
        """Compare a document with the end of its history; retry while events may not be recorded yet."""
        for attempt in range(_TRIES):
            now = live(namespace, document_id)
            if _same(now, state):
                return
            if attempt:
                time.sleep(_BETWEEN_S)
            lineage = lineage_of(self._database, namespace, END)
            told = reconstruct_one(self._database, lineage, document_id, from_snapshots=False).reconstructed
            known = told.document if told is not None else None
            if not isinstance(known, bytes | None):
                return
            state = known
        self._report.findings.append(
            Finding(
                "document",
                "its history ends in something else than the collection has",
                None,
                None,
                namespace,
                document_id,
            )
        )


class _Breaks:
    """The intervals in which the history of a namespace may be incomplete."""

    def __init__(self, database: Database[Any], namespace: str, begun: Sequence[ClusterTime]) -> None:
        self._gaps = trust.gaps(database, namespace)
        self._rejected: RejectedConcerns = trust.rejected(database, [namespace])
        self._begun = begun

    def between(self, key: Any, since: ClusterTime, until: ClusterTime) -> bool:
        """Whether an event of a document may be missing between two entries."""
        return (
            any(gap.since <= until and since <= gap.until for gap in self._gaps)
            or any(since <= begun <= until for begun in self._begun)
            or self._rejected.concerning(key, since, until) is not None
        )


def _followed(document_id: raw.Value, entries: Iterator[Fields], breaks: _Breaks) -> tuple[Finding | None, _State]:
    """Follow a document: the first entry that does not fit the state before it, and the state at the end."""
    state: _State = _UNKNOWN
    key = key_of(document_id)
    last: ClusterTime | None = None
    for fields in entries:
        entry_id = identity(fields)
        now = ClusterTime.from_id(entry_id)
        if last is not None and breaks.between(key, last, now):
            state = _UNKNOWN
        entry = fold.read_fields(fields)
        said = _wrong(entry, state) if not isinstance(state, _Unknown) else None
        if said is not None:
            return Finding("value", said, entry_id), state
        state, last = _after(entry, state), now
    return None, state


def _wrong(entry: Entry, before: bytes | None) -> str | None:
    """What an entry wrongly says of the document before it; None: nothing."""
    if entry.operation not in {b"update", b"replace", b"delete"} or not any(change.path for change in entry.changes):
        return None
    if before is None:
        return f"{entry.operation.decode()} of a document that was not there"
    image = Image(before)
    for change in entry.changes:
        if change.old_from == UNKNOWN or not change.path:
            continue
        try:
            old = image.get(change.path)
        except RepeatedKeyError:
            continue
        if old != change.old and not _withheld(old) and not _withheld(change.old):
            name = dotted(change.path).decode("utf-8", "replace")
            return f"the old value of {name} is not what the entry before it left"
    try:
        fold.apply(before, entry)
    except fold.DoesNotApplyError as error:
        return f"it does not fit the document: {error}"
    return None


def _after(entry: Entry, state: _State) -> _State:
    if not fold.tells_all(entry) and isinstance(state, _Unknown):
        return _UNKNOWN
    try:
        return fold.apply(state if not isinstance(state, _Unknown) else None, entry)
    except fold.DoesNotApplyError:
        return _UNKNOWN


def _withheld(value: raw.Value | None) -> bool:
    return value is not None and MAGIC in value[1]


def _is_known(state: _State) -> bool:
    return state is None or (isinstance(state, bytes) and MAGIC not in state)


def _same(now: bytes | None, state: _State) -> bool:
    """Whether two documents are the same. Older servers do not report where a field was put."""
    if now is None or not isinstance(state, bytes):
        return now is state
    return now == state or _in_order(now) == _in_order(state)


def _in_order(document: bytes) -> bytes:
    return raw.from_fields(
        sorted(
            (name, (kind, _in_order(payload) if kind in {raw.DOCUMENT, raw.ARRAY} else payload))
            for name, kind, payload in raw.elements(document)
        )
    )


def documents_of(entries: Iterable[bytes]) -> Mapping[str, list[raw.Value]]:
    """The ids of the documents that entries are about, by namespace, each once."""
    found: dict[str, dict[Any, raw.Value]] = {}
    for entry in entries:
        fields = raw.readable(entry)
        if b"document_id" in fields and fields.get(b"namespace", (0, b""))[0] == raw.STRING:
            name = raw.text_of(fields[b"namespace"]).decode("utf-8", "replace")
            found.setdefault(name, {})[key_of(fields[b"document_id"])] = fields[b"document_id"]
    return {name: list(ids.values()) for name, ids in found.items()}
