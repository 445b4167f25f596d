"""Compare history with its seals: both in the order of ids, entry by entry, without decoding."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from hashlib import blake2b, sha256
from typing import TYPE_CHECKING, Any

from bson import Binary
from pymongo import ReadPreference
from pymongo.read_concern import ReadConcern

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.seals import records
from change_history.seals.amended import judged, others, rights
from change_history.seals.finding import about
from change_history.seals.records import GAP, ID, NO_SALT, NOTHING, Record, split
from change_history.stored.amendments import AmendmentKind, notes_of, read_note
from change_history.stored.names import HISTORY, PARTS
from change_history.stored.reading import documents_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pymongo.database import Database

    from change_history.seals.chain import Range
    from change_history.seals.finding import Finding, Report
    from change_history.seals.store import Store
    from change_history.stored.amendments import Note

_AT_ONCE = 2000
_PARTS = b"\x04parts\x00"
# In a record from `_until`, the number of its seal follows its id, so that the records of one entry sort as sealed.
_KIND, _COMMITMENT, _SALT = slice(20, 21), slice(21, 53), slice(53, None)
_MOVES = 100
"""Most missing and most surplus entries that are matched with each other to detect re-dated entries."""


class Comparison:
    """Compares the entries of history with their records.

    Args:
        ranges: the chunks of records.
        bound: entries before this cluster time must be sealed; later ones may be sealed soon.
        advance: called with the number of entries compared since the last call.
        on_unsealed: called with each entry that no seal covers.
    """

    def __init__(
        self,
        database: Database[Any],
        store: Store,
        ranges: Iterable[Range],
        bound: ClusterTime,
        report: Report,
        advance: Callable[[int], object],
        on_unsealed: Callable[[bytes], object],
    ) -> None:
        committed: dict[str, Any] = {
            "read_concern": ReadConcern("majority"),
            "read_preference": ReadPreference.PRIMARY,
        }
        self._history = database.get_collection(HISTORY, **committed)
        self._notes = notes_of(database, **committed)
        self._parts = database.get_collection(PARTS, **committed)
        self._rights = rights(database)
        self._store = store
        self._ranges = sorted(ranges, reverse=True)
        self._all = tuple(self._ranges)
        self._bound = bound
        self._report = report
        self._advance = advance
        self._on_unsealed = on_unsealed
        self._window: list[bytes] = []  # records in the order of ids: id, number of the seal, kind, commitment, salt
        self._doubtful: set[bytes] = set()
        self._missing: dict[bytes, list[Record]] = {}
        self._surplus: dict[bytes, bytes] = {}

    def compare(self) -> None:
        """Compare all of history once, then judge the doubtful entries again: they may have changed meanwhile."""
        with self._history.find_raw_batches({}, sort=[("_id", 1)]) as cursor:
            for batch in cursor:
                self._compare(documents_in(batch))
        self._doubtful.update(record[:16] for record in self._until(b"\xff" * 17))
        doubtful = sorted(self._doubtful)
        for start in range(0, len(doubtful), _AT_ONCE):
            self._look_again(doubtful[start : start + _AT_ONCE])
        self._moved()
        self._report.findings.sort(key=lambda found: (found.id is None, found.id or b"", found.seal or 0))

    def _compare(self, entries: list[bytes]) -> None:
        odd = [entry for entry in entries if not records.has_id(entry)]
        for entry in odd:
            self._report.findings.append(
                about("added", "no event has such an _id", b"\xff" * 16, entry)._replace(id=None)
            )
        found = [entry for entry in entries if records.has_id(entry)] if odd else entries
        if not found:
            return
        sealed = self._until(found[-1][ID] + b"\xff")
        if len(sealed) == len(found) and [entry[ID] for entry in found] == [record[:16] for record in sealed]:
            doubtful = self._doubtful
            for entry, record in zip(found, sealed, strict=True):
                if sha256(record[_SALT] + entry).digest() != record[_COMMITMENT]:
                    doubtful.add(entry[ID])
        else:
            self._compare_singly(found, sealed)
        for entry in found:
            if _PARTS in entry:
                self._check_parts(entry)
        self._report.entries += len(found)
        self._advance(len(found))

    def _compare_singly(self, entries: list[bytes], sealed: list[bytes]) -> None:
        by_id: dict[bytes, list[bytes]] = defaultdict(list)
        for record in sealed:
            by_id[record[:16]].append(record)
        for entry in entries:
            entry_id = entry[ID]
            mine = by_id.pop(entry_id, None)
            if mine is None and ClusterTime.from_id(entry_id) >= self._bound:
                self._report.not_sealed(entry_id)
                self._on_unsealed(entry)
            elif mine is None or not _is_last(mine, entry):
                self._doubtful.add(entry_id)
        self._doubtful.update(entry_id for entry_id, mine in by_id.items() if mine[-1][_COMMITMENT] != NOTHING)

    def _until(self, end: bytes) -> list[bytes]:
        """Take the records up to an id."""
        fresh = False
        while self._ranges and self._ranges[-1].first < end:
            place = self._ranges.pop()
            chunk = self._store.chunk(place.chunk)
            number = place.number.to_bytes(4, "big")
            if chunk is not None:
                self._window += [record[:16] + number + record[16:] for record in split(chunk.records)]
                fresh = True
        if fresh:
            self._window.sort()
        cut = bisect_left(self._window, end)
        found, self._window = self._window[:cut], self._window[cut:]
        return found

    def _look_again(self, ids: Sequence[bytes]) -> None:
        """Judge entries by their present bytes, and the seals and notes made meanwhile."""
        wanted = {"_id": {"$in": [Binary(each) for each in ids]}}
        entries: dict[bytes, bytes] = {}
        with self._history.find_raw_batches(wanted) as cursor:
            for batch in cursor:
                entries |= {entry[ID]: entry for entry in documents_in(batch)}
        notes = self._noted(set(ids))
        # The stored bounds of chunks are not signed: by them alone, somebody could hide records.
        checked = [place.chunk for place in self._all if place.first <= ids[-1] and place.last >= ids[0]]
        sealed = self._store.records_of(ids, checked)
        for entry_id in ids:
            known = sealed.get(entry_id, [])
            found = self._judge(entry_id, entries.get(entry_id), [record for _, record in known], notes[entry_id])
            if found is not None:
                self._report.findings.append(found._replace(seal=known[-1][0] if known else None))

    def _noted(self, ids: set[bytes]) -> dict[bytes, list[Note]]:
        found: dict[bytes, list[Note]] = defaultdict(list)
        for note in map(read_note, self._notes.find()):
            for each in ids.intersection(note.ids):
                found[each].append(note)
        return found

    def _judge(self, entry_id: bytes, entry: bytes | None, sealed: list[Record], notes: list[Note]) -> Finding | None:
        last = sealed[-1] if sealed else None
        if last is None:
            return self._unknown(entry_id, entry, notes) if entry is not None else None
        if entry is None and last.commitment == NOTHING:
            return None
        wrong = _inconsistent(entry, sealed) if entry is not None and last.is_of(entry) else None
        if wrong == "":
            return None
        if any(isinstance(judged(note, entry_id, entry, sealed, self._rights), bytes) for note in notes):
            self._report.amended += 1
            return None
        if entry is None:
            self._missing[entry_id] = sealed
            kinds = {note.kind for note in notes}
            beyond = (
                AmendmentKind.EXPIRED in kinds
                and ", and no horizon has passed it, though a note says that it has expired"
            )
            return about("removed", f"it was sealed, and is not there any more{beyond or ''}", entry_id, None)
        return about("changed", wrong or _difference(entry, last), entry_id, entry)

    def _unknown(self, entry_id: bytes, entry: bytes, notes: list[Note]) -> Finding | None:
        """Judge an entry that no seal covers; None: that is legitimate."""
        kinds = {note.kind for note in notes}
        noted = AmendmentKind.LATE in kinds or (AmendmentKind.GAP in kinds and records.is_gap(entry))
        if noted or ClusterTime.from_id(entry_id) >= self._bound:
            self._report.not_sealed(entry_id)
            self._on_unsealed(entry)
            return None
        self._surplus[entry_id] = entry
        said = _made_up(entry) or "it was not there when the events of its time were sealed"
        return about("added", said, entry_id, entry)

    def _moved(self) -> None:
        """Detect re-dated entries: match missing entries with surplus ones that have the same content."""
        for gone, sealed in list(self._missing.items())[:_MOVES]:
            for there, entry in list(self._surplus.items())[:_MOVES]:
                if any(record.is_of(former) for former in _under(entry, gone) for record in sealed):
                    said = f"its time was changed: it was sealed as event {gone.hex()}, at {ClusterTime.from_id(gone)}"
                    self._report.findings = [
                        found._replace(what="moved", said=said) if found.id == there else found
                        for found in self._report.findings
                        if found.id != gone
                    ]

    def _check_parts(self, head: bytes) -> None:
        """Check the chunks of a large entry: its head names them by their content."""
        parts = raw.readable(head).get(b"parts")
        if parts is None or parts[0] != raw.ARRAY:
            return
        for number, (_, payload) in enumerate(raw.items(parts[1])):
            chunk_id = payload[5:]
            stored = self._parts.find_one({"_id": Binary(chunk_id)})
            data = stored.get("data") if stored is not None else None
            if not isinstance(data, bytes) or _chunk_digest(number, data) != chunk_id[16:]:
                said = (
                    "one of the chunks that it consists of is not what it was"
                    if stored
                    else "one of its chunks is gone"
                )
                self._report.findings.append(about("changed", said, records.id_of(head), head))


def _is_last(sealed: list[bytes], entry: bytes) -> bool:
    """Whether an entry matches its last record, and the salts of all earlier records are removed."""
    last = sealed[-1]
    same = sha256(last[_SALT] + entry).digest() == last[_COMMITMENT]
    return same and last[_KIND] != GAP and all(record[_SALT] == NO_SALT for record in sealed[:-1])


def _chunk_digest(number: int, data: bytes) -> bytes:
    digest = blake2b(number.to_bytes(4, "big"), digest_size=16)
    digest.update(data)
    return digest.digest()


def _inconsistent(entry: bytes, sealed: Sequence[Record]) -> str:
    """What is inconsistent between the records of an entry that matches the last of them; empty: nothing."""
    last = sealed[-1]
    if last.kind == GAP and (not records.is_gap(entry) or any(record.kind != GAP for record in sealed)):
        return "it is called a gap, and was something else"
    if others(entry, sealed):
        return "it was sealed twice, and not as the same"
    return ""


def _difference(entry: bytes, last: Record) -> str:
    """Why an entry differs from what was sealed, as far as that is known."""
    if last.commitment == NOTHING:
        return f"it was sealed as gone ({records.NAMES.get(last.kind, '?')}), and is there again"
    return _made_up(entry) or "it is not what was sealed"


def _made_up(entry: bytes) -> str:
    """Why an entry cannot come from an event; empty: it can."""
    fields = raw.readable(entry)
    entry_id = records.id_of(entry)
    time, token = fields.get(b"cluster_time"), fields.get(b"resume_token")
    if time is not None and time[1] != ClusterTime.from_id(entry_id).payload:
        return "its cluster time is not that of its _id: the time was changed, or it is a copy"
    if token is not None and blake2b(token[1][5:], digest_size=8).digest() != entry_id[8:]:
        return "its resume token is not that of its _id: the position was changed, or it is a copy"
    return ""


def _under(entry: bytes, entry_id: bytes) -> Iterable[bytes]:
    """An entry under another `_id`, without and with the cluster time of that `_id`."""
    moved = records.with_id(entry, entry_id)
    yield moved
    time = b"\x11cluster_time\x00"
    at = moved.find(time)
    if at >= 0:
        at += len(time)
        yield moved[:at] + ClusterTime.from_id(entry_id).payload + moved[at + 8 :]
