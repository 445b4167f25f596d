"""Notes of amendments, which change history outside a stream's own order: written before, read by sealers.

A seal records what history was. A process that changes or removes an existing entry, or adds one late, stores a note
here first. `watcher verify` reports entries that differ from what was sealed without a note.

A note proves nothing by itself: its process may have ended before it made the amendment.
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
    """What a process is about to do to entries."""

    LATE = "late"
    """They are added, perhaps before existing ones."""
    ACTOR = "actor"
    """They get an actor, having had none, or another one."""
    ERASED = "erased"
    """Values are removed from them."""
    EXPIRED = "expired"
    """They are removed by age."""
    GAP = "gap"
    """They are gaps whose description changes."""


def note(
    database: Database[Any],
    kind: AmendmentKind,
    ids: Iterable[bytes],
    session: ClientSession | None = None,
    actors: Mapping[bytes, bytes] | None = None,
) -> None:
    """Store a note before amending entries. On return, a majority has it; only then may the amendment be made.

    Every amendment needs its own note, also of the same entry. Superfluous notes do no harm.

    Args:
        ids: `_id`s of history documents, 16 bytes each.
        session: the session of the amendment's transaction, in which the note is stored too; None: no transaction.

        actors: the actors about to be replaced, BSON, by `_id`.

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
    """A stored note.

    Attributes:
        kind: what was about to be done; None: the note is malformed.
        ids: `_id`s of the entries.
        at: when it was written.
        actors: the actors that were about to be replaced, BSON, by `_id`.
    """

    id: Any
    kind: AmendmentKind | None
    ids: list[bytes]
    at: dt.datetime
    actors: dict[bytes, bytes]


def notes_of(database: Database[Any], **options: Any) -> Collection[Any]:
    """The collection of notes, its documents left as bytes."""
    return database.get_collection(AMENDMENTS, codec_options=_CODEC, **options)


def read_note(found: RawBSONDocument) -> Note:
    """Read a stored note. A malformed one, whoever wrote it, has no kind."""
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
