"""Notes of what changes history outside a stream's own order: written before it is done, read by whoever seals.

A seal says what history was. Whoever changes or removes an entry that is there already, or brings one in late, leaves a
note here first. An entry that is not what was sealed, and of which no note was left, is what `watcher verify` names.
A note says nothing by itself: it may have been left by a process that ended before it did what it was about to do.
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary, CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern

from change_history.stored.names import AMENDMENTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection
    from pymongo.database import Database

ID_BYTES = 16
"""Bytes of the `_id` of a history document."""

_MAJORITY = WriteConcern("majority")
_IN_ONE_NOTE = 50_000
_CODEC: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument, tz_aware=True)


class AmendmentKind(StrEnum):
    """What is about to be done to entries."""

    LATE = "late"
    """They are added, perhaps before others that are there already."""
    ACTOR = "actor"
    """They get an actor, having had none, or another one."""
    ERASED = "erased"
    """Values are removed from them."""
    EXPIRED = "expired"
    """They are removed by age."""
    GAP = "gap"
    """They are gaps, of which more, or less, is known."""


def note(
    database: Database[Any],
    kind: AmendmentKind,
    ids: Iterable[bytes],
    session: ClientSession | None = None,
    actors: Mapping[bytes, bytes] | None = None,
) -> None:
    """Note what is about to be done to entries. When it returns, a majority has the note; only then may it be done.

    Write one for every change: an entry that is changed again needs another note. Too many do no harm.

    Args:
        ids: `_id`s of history documents, 16 bytes each.
        session: of the transaction in which it is done: then the note is made with it, or not at all.

        actors: by `_id` the actors that are about to be replaced, BSON.

    Raises:
        ValueError: an id has another length.
    """
    now = dt.datetime.now(dt.UTC)
    notes: list[dict[str, Any]] = []
    every = list(ids)
    if any(len(each) != ID_BYTES for each in every):
        raise ValueError(f"the _id of a history document has {ID_BYTES} bytes")
    for start in range(0, len(every), _IN_ONE_NOTE):
        together = every[start : start + _IN_ONE_NOTE]
        notes.append({"kind": kind.value, "ids": Binary(b"".join(together)), "at": now})
        if actors:
            had = [{"id": Binary(each), "actor": RawBSONDocument(actors[each])} for each in together if each in actors]
            notes[-1]["had"] = had
    for each in notes:
        database.get_collection(AMENDMENTS, write_concern=_MAJORITY).insert_one(each, session=session)


class Note(NamedTuple):
    """A note, read.

    Attributes:
        kind: what was about to be done; None: it cannot be read, whoever wrote it.
        ids: `_id`s of the entries.
        at: when it was written.
        actors: by `_id` the actors that were about to be replaced, BSON.
    """

    id: Any
    kind: AmendmentKind | None
    ids: list[bytes]
    at: dt.datetime
    actors: dict[bytes, bytes]


def notes_of(database: Database[Any], **options: Any) -> Collection[Any]:
    """The collection of the notes, its values left as they are stored."""
    return database.get_collection(AMENDMENTS, codec_options=_CODEC, **options)


def read_note(found: RawBSONDocument) -> Note:
    """Read a stored note. Whoever wrote it: what is no note is one of no kind."""
    stored = dict(found)
    packed, at = stored.get("ids"), stored.get("at")
    whole = isinstance(packed, bytes) and not len(packed) % ID_BYTES and isinstance(at, dt.datetime)
    kind = AmendmentKind(stored["kind"]) if whole and stored.get("kind") in list(AmendmentKind) else None
    ids = [packed[start : start + ID_BYTES] for start in range(0, len(packed), ID_BYTES)] if packed and whole else []
    written = at.replace(tzinfo=at.tzinfo or dt.UTC) if isinstance(at, dt.datetime) else dt.datetime.now(dt.UTC)
    had = stored.get("had") if kind is AmendmentKind.ACTOR else None
    try:
        actors = {bytes(each["id"]): bytes(each["actor"].raw) for each in had or ()}
    except (TypeError, KeyError, AttributeError):
        actors = {}
    return Note(stored["_id"], kind, ids, written, actors)
