"""Reads the notes of amendments, turns them into records, and deletes them once these are sealed.

Several daemons may seal one history. Each claims the notes that no other sealer has claimed in the last minutes.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from bson import Binary
from pymongo import ReadPreference, WriteConcern
from pymongo.read_concern import ReadConcern

from change_history.seals.amended import NoteOutcome, judged, rights
from change_history.seals.records import ERASED, EXPIRED, ID
from change_history.stored.amendments import AmendmentKind, notes_of, read_note
from change_history.stored.names import HISTORY, SEAL_LEAVES, SEALS
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pymongo.database import Database

    from change_history.seals.amended import Rights
    from change_history.seals.store import Store
    from change_history.stored.amendments import Note

log = structlog.get_logger(__name__)

_CLAIMED_FOR = dt.timedelta(minutes=5)
_IN_VAIN_AFTER = dt.timedelta(days=1)
_AT_ONCE = 2000
_AT_MOST = 500_000
"""Most ids that are processed at once."""
_FIRST = (AmendmentKind.ERASED, AmendmentKind.EXPIRED)
"""Processed first: an entry that was also erased or expired must not be judged by its other notes."""


def forget_unasked(database: Database[Any]) -> int:
    """Delete old notes if nothing was ever sealed. Returns how many.

    The first seals cover history as it is then, so they need no notes of earlier amendments. A sealer that starts at
    the same time would delete notes of that age, too.
    """
    if any(database[name].find_one({}, {"_id": 1}) is not None for name in (SEALS, SEAL_LEAVES)):
        return 0
    old = dt.datetime.now(dt.UTC) - _IN_VAIN_AFTER
    return notes_of(database, write_concern=WriteConcern("majority")).delete_many({"at": {"$lt": old}}).deleted_count


class Amended(NamedTuple):
    """The result of reading the notes.

    Attributes:
        records: the records to seal.
        settled: `_id` of a note to the entry ids that remain in it.
        forgotten: ids of entries whose records lose their salts, with the number of the first seal that keeps them.
    """

    records: list[bytes]
    settled: dict[Any, list[bytes]]
    forgotten: dict[bytes, int]


class Notes:
    """The notes that one sealer processes.

    Args:
        owner: name of the sealer; after a restart, a sealer of the same name takes over its notes.
    """

    def __init__(self, database: Database[Any], store: Store, owner: str) -> None:
        committed: dict[str, Any] = {
            "read_concern": ReadConcern("majority"),
            "read_preference": ReadPreference.PRIMARY,
        }
        self._notes = notes_of(database, write_concern=WriteConcern("majority"), **committed)
        self._history = database.get_collection(HISTORY, codec_options=RAW, **committed)
        self._database = database
        self._store = store
        self._owner = owner

    def read(self) -> Amended:
        """Process the notes that no other sealer has claimed. Changes nothing but their owner."""
        found = Amended([], {}, {})
        handled: set[bytes] = set()
        allowed = rights(self._database)
        oldest = dt.datetime.now(dt.UTC) - _IN_VAIN_AFTER
        for note in sorted(self._claimed(), key=lambda note: note.kind not in _FIRST):
            remaining = []
            for start in range(0, len(note.ids) if note.kind else 0, _AT_ONCE):
                remaining += self._judge(note, note.ids[start : start + _AT_ONCE], allowed, handled, found)
            found.settled[note.id] = remaining if note.at > oldest else []
        return found

    def settle(self, amended: Amended) -> None:
        """Delete the notes that are sealed now, or the sealed ids in them."""
        for note_id, remaining in amended.settled.items():
            if remaining:
                self._notes.update_one({"_id": note_id}, {"$set": {"ids": Binary(b"".join(remaining))}})
        done = [note_id for note_id, remaining in amended.settled.items() if not remaining]
        if done:
            self._notes.delete_many({"_id": {"$in": done}})

    def entries(self, ids: Iterable[bytes], *, whole: bool = True) -> dict[bytes, bytes]:
        """The existing history documents by `_id`; reduced to their `_id` if not `whole`."""
        wanted = {"_id": {"$in": [Binary(each) for each in ids]}}
        with self._history.find(wanted, None if whole else {"_id": 1}) as cursor:
            stored = [bytes(found.raw) for found in cursor]
        return {entry[ID]: entry for entry in stored}

    def _claimed(self) -> list[Note]:
        now = dt.datetime.now(dt.UTC)
        free = {
            "$or": [
                {"claimed_at": {"$exists": False}},
                {"claimed_at": {"$lt": now - _CLAIMED_FOR}},
                {"claim": self._owner},
            ]
        }
        self._notes.update_many(free, {"$set": {"claim": self._owner, "claimed_at": now}})
        found, size = [], 0
        for note in map(read_note, self._notes.find({"claim": self._owner}, sort=[("_id", 1)])):
            found.append(note)
            size += len(note.ids)
            if size >= _AT_MOST:
                break
        return found

    def _judge(
        self, note: Note, ids: Sequence[bytes], allowed: Rights, handled: set[bytes], found: Amended
    ) -> list[bytes]:
        """Process some of a note's entries. Returns those that must remain in the note."""
        entries = self.entries(ids, whole=note.kind is not AmendmentKind.EXPIRED)
        sealed = self._store.records_of(ids)
        remaining = []
        for entry_id in ids:
            if entry_id in handled:
                remaining.append(entry_id)
                continue
            records = sealed.get(entry_id, [])
            outcome = judged(note, entry_id, entries.get(entry_id), [record for _, record in records], allowed)
            if outcome is NoteOutcome.WAIT:
                remaining.append(entry_id)
            elif outcome is NoteOutcome.REFUSED:
                log.error("an entry of history is not what was sealed, nor what a note says", id=entry_id.hex())
            elif isinstance(outcome, bytes):
                if entry_id in entries and records and records[-1][1].is_of(entries[entry_id]):
                    remaining.append(entry_id)  # the write that the note announces may still come
                handled.add(entry_id)
                found.records.append(outcome)
                if outcome[16:17] in {ERASED, EXPIRED}:
                    found.forgotten[entry_id] = records[-1][0] + 1
        return remaining
