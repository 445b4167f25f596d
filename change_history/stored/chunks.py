"""History documents above the size limit: stored in chunks, and read as if they were whole.

A server stores documents of 16 MB at most. A larger history document (two values of 9 MB) is stored, byte for byte, in
`history_parts`, cut into chunks; `history` holds a small head in its place, with everything that is queried and no
values, and the ids of the chunks in `parts`. A chunk's id is made from its event and its content, so a head can only
refer to the exact bytes it was written for. The chunks are written first, so a head implies them.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary
from bson.raw_bson import RawBSONDocument

from change_history.bson import raw
from change_history.bson.values import CODEC
from change_history.errors import HistoryError
from change_history.stored import actor
from change_history.stored.names import PARTS
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymongo.database import Database

LARGEST_DOCUMENT = 16 * 1024 * 1024
"""Bytes of the largest document a server stores (https://www.mongodb.com/docs/manual/reference/limits/)."""

CHUNK_BYTES = 15 * 1024 * 1024
"""Bytes of a chunk; its document is a little larger."""

MOST_NAMES = 4 * 1024 * 1024
"""Bytes of the names of changed fields in a head. Above, the head has one change of the whole document."""

_PARTS = b"\x04parts\x00"
_DIGEST_BYTES = 16
_SHORTEST_NAME = 20
_VALUES = frozenset({b"old_value", b"new_value"})
_BODY = frozenset({b"changes", b"key_order", b"description"})
_WHOLE_DOCUMENT = raw.from_items(
    [
        (
            raw.DOCUMENT,
            raw.from_fields([(b"field", (raw.STRING, raw.string(b""))), (b"path", (raw.ARRAY, raw.from_items([])))]),
        )
    ]
)


class Chunk(NamedTuple):
    """One chunk of a large document.

    Attributes:
        id: the event's 16 bytes, so that an event's chunks lie together and in the order of time, then 16 bytes of
            BLAKE2b of its number and content.
        data: its bytes.
    """

    id: bytes
    data: bytes


def cut(event_id: bytes, data: bytes) -> list[Chunk]:
    """Cut bytes into chunks. The same event and bytes give the same chunks; joined in order, they are the bytes."""
    chunks = []
    for number, start in enumerate(range(0, len(data), CHUNK_BYTES)):
        piece = data[start : start + CHUNK_BYTES]
        digest = blake2b(number.to_bytes(4, "big"), digest_size=_DIGEST_BYTES)
        digest.update(piece)
        chunks.append(Chunk(event_id + digest.digest(), piece))
    return chunks


def head(document: bytes, chunks: list[Chunk]) -> bytes:
    """The head of a document in chunks, as stored in `history`: all that is queried, without values.

    `changes` keeps the fields' names; if these are too many, one change of the whole document stands for them, so
    that a search for any field finds the head. `change_count` is the number of changes, `parts` names the chunks.

    Args:
        document: the history document, without an actor: it may come later, and chunks are never changed.
    """
    found = raw.fields(document)
    changes = raw.items(found[b"changes"][1])
    kept = [(name, value) for name, value in found.items() if name not in _BODY]
    kept += [
        (b"changes", (raw.ARRAY, _names(changes) or _WHOLE_DOCUMENT)),
        (b"change_count", (raw.INT32, raw.int32(len(changes)))),
        (b"parts", (raw.ARRAY, raw.from_items(raw.binary(chunk.id) for chunk in chunks))),
    ]
    return raw.from_fields(kept)


def _names(changes: list[raw.Value]) -> bytes | None:
    if len(changes) * _SHORTEST_NAME > MOST_NAMES:
        return None
    names = raw.from_items((raw.DOCUMENT, _without_values(change)) for _, change in changes)
    return names if len(names) <= MOST_NAMES else None


def _without_values(change: bytes) -> bytes:
    return raw.from_fields((name, value) for name, value in raw.fields(change).items() if name not in _VALUES)


class MissingChunkError(HistoryError, LookupError):
    """A chunk of a document is missing: somebody removed it."""


def whole(database: Database[Any], stored: RawBSONDocument) -> RawBSONDocument:
    """A stored history document as it was recorded: itself, or joined from its chunks. The actor is in the head.

    Raises:
        MissingChunkError: a chunk is missing.
    """
    parts = stored.get("parts") if _PARTS in bytes(stored.raw) else None  # a look-up decodes the document
    if parts is None:
        return stored
    data, (_, who) = read(database, parts), actor.split(bytes(stored.raw))
    return RawBSONDocument(data if who is None else actor.added(data, who), RAW)


def read(database: Database[Any], chunks: Iterable[bytes]) -> bytes:
    """Put chunks together again.

    Args:
        chunks: their ids, in order, from the field `parts` of a history document or a rejected event.

    Raises:
        MissingChunkError: a chunk is missing.
    """
    collection = database.get_collection(PARTS, codec_options=CODEC)
    pieces = []
    for chunk in chunks:
        found = collection.find_one({"_id": Binary(chunk)})
        if found is None:
            raise MissingChunkError(f"chunk {chunk.hex()} is not in {collection.full_name}")
        pieces.append(found["data"])
    return b"".join(pieces)
