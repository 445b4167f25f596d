"""Notes of what changes history outside a stream's own order: written before it is done, read by whoever seals.

A seal says what history was. Whoever changes or removes an entry that is there already, or brings one in late, leaves a
note here first. An entry that is not what was sealed, and of which no note was left, is what `watcher verify` names.
A note says nothing by itself: it may have been left by a process that ended before it did what it was about to do.
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from bson import Binary
from pymongo import WriteConcern

from change_history.stored.names import AMENDMENTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

ID_BYTES = 16
"""Bytes of the `_id` of a history document."""

_MAJORITY = WriteConcern("majority")
_IN_ONE_NOTE = 50_000


class Kind(StrEnum):
    """What is about to be done to entries."""

    LATE = "late"
    """They are brought in, perhaps before others that are there already."""
    ACTOR = "actor"
    """They get an actor, having had none."""
    ERASED = "erased"
    """Values are removed from them."""
    EXPIRED = "expired"
    """They are removed by age."""
    GAP = "gap"
    """They are gaps, of which more, or less, is known."""


def note(database: Database[Any], kind: Kind, ids: Iterable[bytes], session: ClientSession | None = None) -> None:
    """Note what is about to be done to entries. When it returns, a majority has the note; only then may it be done.

    Write one for every change: an entry that is changed again needs another note. Too many do no harm.

    Args:
        kind: what is about to be done.
        ids: `_id`s of history documents, 16 bytes each.
        session: of the transaction in which it is done: then the note is made with it, or not at all.

    Raises:
        ValueError: an id has another length.
    """
    now = dt.datetime.now(dt.UTC)
    notes = []
    every = list(ids)
    if any(len(each) != ID_BYTES for each in every):
        raise ValueError(f"the _id of a history document has {ID_BYTES} bytes")
    for start in range(0, len(every), _IN_ONE_NOTE):
        together = every[start : start + _IN_ONE_NOTE]
        notes.append({"kind": kind.value, "ids": Binary(b"".join(together)), "at": now})
    for each in notes:
        database.get_collection(AMENDMENTS, write_concern=_MAJORITY).insert_one(each, session=session)


def unpacked(ids: bytes) -> list[bytes]:
    """The ids that a note holds."""
    return [ids[start : start + ID_BYTES] for start in range(0, len(ids), ID_BYTES)]
