"""What a note of an amendment allows: one rule for sealing and verifying.

A note says what somebody was about to do. That an entry is not what was sealed is explained only if it is no more than
that: an actor was added, and nothing else; it is a gap and was one; its values were erased; it is gone by age.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.bson.cluster_time import BEGINNING_OF_TIME, ClusterTime
from change_history.bson.redacted import MAGIC
from change_history.seals import records
from change_history.seals.records import ACTOR, ERASED, EXPIRED, GAP, LATE, NEW, NO_SALT, NOTHING
from change_history.stored.amendments import AmendmentKind
from change_history.stored.names import ERASURES, HORIZONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymongo.database import Database

    from change_history.seals.records import Record
    from change_history.stored.amendments import Note


_PARTS = b"\x04parts\x00"
_ERASED = tuple(MAGIC + changed + b"e" for changed in (b"\x00", b"\x01"))
"""Marks of an entry from which values were erased; the head of one in chunks has no values."""


class NoteOutcome(Enum):
    """The outcome of a note that yields no new record."""

    WAIT = "what it announces has not happened yet, as far as can be seen"
    DONE = "it is sealed already"
    REFUSED = "what has happened to the entry is not what the note says"


class Rights(NamedTuple):
    """The amendments that may have happened legitimately.

    Attributes:
        horizon: the cluster time up to which entries may have expired, in any collection.
        erasures: whether any erasure was ever requested.
    """

    horizon: ClusterTime
    erasures: bool


def rights(database: Database[Any]) -> Rights:
    """Read which amendments may have happened legitimately."""
    found = database[HORIZONS].find({"horizon": {"$type": "timestamp"}}, {"horizon": 1})
    horizon = max((ClusterTime.of(each["horizon"]) for each in found), default=BEGINNING_OF_TIME)
    return Rights(horizon, database[ERASURES].find_one({"asked_at": {"$exists": True}}, {"_id": 1}) is not None)


def judged(
    note: Note, entry_id: bytes, entry: bytes | None, sealed: Sequence[Record], allowed: Rights
) -> bytes | NoteOutcome:
    """Judge the present state of an entry by a note about it.

    Args:
        entry: as it is stored now; None: it is gone.
        sealed: its sealed records, oldest first.
        allowed: the result of `rights`.

    Returns:
        The record to seal, or why there is none.
    """
    last, kind = sealed[-1] if sealed else None, note.kind
    if kind is AmendmentKind.LATE:
        return _late(entry, last)
    if last is None and kind is not AmendmentKind.GAP:
        return NoteOutcome.WAIT  # the entry has to be sealed first, as it was or as it is
    if entry is None:
        return _gone(note, entry_id, last, allowed)
    if kind is AmendmentKind.EXPIRED or (last is not None and last.is_of(entry) and not others(entry, sealed)):
        return NoteOutcome.WAIT
    return _changed(note, entry_id, entry, sealed, allowed)


def others(entry: bytes, sealed: Sequence[Record]) -> list[Record]:
    """The records since an entry was last sealed anew that do not match its present bytes.

    There are some if two sealers have sealed it, and it was changed legitimately after the one had read it and before
    the other did.
    """
    found: list[Record] = []
    for record in reversed(sealed):
        if record.kind not in {NEW, LATE}:
            break
        if record.salt != NO_SALT and not record.is_of(entry):
            found.append(record)
    return found


def _changed(
    note: Note, entry_id: bytes, entry: bytes, sealed: Sequence[Record], allowed: Rights
) -> bytes | NoteOutcome:
    last = sealed[-1] if sealed else None
    if note.kind is AmendmentKind.ACTOR:
        before = others(entry, sealed) or list(sealed[-1:])
        return _actor(entry, before, note.actors.get(entry_id))
    if note.kind is AmendmentKind.GAP:
        return _gap(entry, last)
    if note.kind is not AmendmentKind.ERASED:
        return NoteOutcome.DONE
    erased = allowed.erasures and (_PARTS in entry or any(each in entry for each in _ERASED))
    return records.commit([entry], ERASED)[0] if erased else NoteOutcome.REFUSED


def _late(entry: bytes | None, last: Record | None) -> bytes | NoteOutcome:
    if entry is None:
        return NoteOutcome.WAIT
    if last is None:
        return records.commit([entry], GAP if records.is_gap(entry) else LATE)[0]
    return NoteOutcome.DONE if last.salt == NO_SALT or last.is_of(entry) else NoteOutcome.REFUSED


def _gone(note: Note, entry_id: bytes, last: Record | None, allowed: Rights) -> bytes | NoteOutcome:
    if last is None or last.commitment == NOTHING:
        return NoteOutcome.DONE
    if note.kind is AmendmentKind.EXPIRED:
        passed = ClusterTime.from_id(entry_id) <= allowed.horizon
        return records.gone(entry_id, EXPIRED) if passed else NoteOutcome.REFUSED
    if note.kind is not AmendmentKind.ERASED:
        return NoteOutcome.WAIT
    return records.gone(entry_id, ERASED) if allowed.erasures else NoteOutcome.REFUSED


def _gap(entry: bytes, last: Record | None) -> bytes | NoteOutcome:
    if not records.is_gap(entry) or (last is not None and last.kind != GAP):
        return NoteOutcome.REFUSED
    return records.commit([entry], GAP)[0]


def _actor(entry: bytes, before: Sequence[Record], had: bytes | None) -> bytes | NoteOutcome:
    """Judge an entry that was given an actor: without it, or with the former one, it must match what was sealed."""
    if any(record.salt == NO_SALT for record in before):
        return NoteOutcome.WAIT
    bare = records.without_actor(entry)
    former = [bare] if had is None else [bare, records.with_actor(bare, had)]
    explained = all(any(map(record.is_of, former)) for record in before)
    return records.commit([entry], ACTOR)[0] if explained else NoteOutcome.REFUSED
