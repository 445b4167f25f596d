"""The notes of amendments: read, turned into records, and thrown away once these are sealed.

Several daemons may seal one history. Each takes the notes that nobody else has taken in the last minutes.
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
"""Ids that are judged at once."""
_FIRST = (AmendmentKind.ERASED, AmendmentKind.EXPIRED)
"""What has become of an entry that was erased too is not to be judged by its other notes."""


def forget_unasked(database: Database[Any]) -> int:
    """Throw away old notes where nothing was ever sealed; how many.

    The first seals cover history as they find it, so they ask for no note of what was done before; and whoever begins
    to seal meanwhile would throw notes of that age away, too.
    """
    if any(database[name].find_one({}, {"_id": 1}) is not None for name in (SEALS, SEAL_LEAVES)):
        return 0
    old = dt.datetime.now(dt.UTC) - _IN_VAIN_AFTER
    return notes_of(database, write_concern=WriteConcern("majority")).delete_many({"at": {"$lt": old}}).deleted_count


class Amended(NamedTuple):
    """What is to be sealed of notes.

    Attributes:
        records: to be sealed.
        settled: by the `_id` of a note the ids that remain in it.
        forgotten: ids of entries whose earlier records lose their salts, with the number of the first seal that is
            not meant.
    """

    records: list[bytes]
    settled: dict[Any, list[bytes]]
    forgotten: dict[bytes, int]


class Notes:
    """The notes that one sealer settles.

    Args:
        owner: who seals; a sealer that was ended leaves its notes to the next one of the name.
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
        """Judge the notes that are there, and nobody else's. Changes nothing but whose they are."""
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
        """Throw away what is sealed now."""
        for note_id, remaining in amended.settled.items():
            if remaining:
                self._notes.update_one({"_id": note_id}, {"$set": {"ids": Binary(b"".join(remaining))}})
        done = [note_id for note_id, remaining in amended.settled.items() if not remaining]
        if done:
            self._notes.delete_many({"_id": {"$in": done}})

    def entries(self, ids: Iterable[bytes], *, whole: bool = True) -> dict[bytes, bytes]:
        """History documents by `_id`, those that are there; only their ids if not `whole`."""
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
        """Judge some of the entries of a note; those that it remains open for."""
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
                    remaining.append(entry_id)  # only what was sealed before needs it: the note's own time may come yet
                handled.add(entry_id)
                found.records.append(outcome)
                if outcome[16:17] in {ERASED, EXPIRED}:
                    found.forgotten[entry_id] = records[-1][0] + 1
        return remaining
