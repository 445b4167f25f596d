"""What is larger than a document may be: kept in parts, read as if it were whole.

A server stores documents of 16 MB at most. A history document that passes this (two values of 9 MB) is kept whole,
byte for byte, in `history_parts`, cut into pieces; `history` holds a small head in its place, with everything that
is asked for and no values, and the ids of the pieces in `parts`. A piece is named by its event and its content: a
head can only ever mean the very bytes it was written for. The pieces are written first, so a head implies them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import Binary
from bson.raw_bson import RawBSONDocument

from change_history.bson.values import CODEC
from change_history.stored.names import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bson.codec_options import CodecOptions
    from pymongo.database import Database

_RAW: CodecOptions[Any] = CODEC.with_options(document_class=RawBSONDocument)


class MissingPartError(LookupError):
    """A part of a document is not there: somebody removed it."""


def whole(database: Database[Any], stored: RawBSONDocument) -> RawBSONDocument:
    """A stored history document as it was recorded: itself, or what its parts make.

    Raises:
        MissingPartError: a part is missing.
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    parts = stored.get("parts")
    return stored if parts is None else RawBSONDocument(read(database, parts), _RAW)


def read(database: Database[Any], parts: Iterable[bytes]) -> bytes:
    """Put parts together again.

    Args:
        database: the history database.
        parts: their ids, in order, from the field `parts` of a history document or a rejected event.

    Raises:
        MissingPartError: a part is missing.
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    collection = database.get_collection(PARTS, codec_options=CODEC)
    pieces = []
    for part in parts:
        found = collection.find_one({"_id": Binary(part)})
        if found is None:
            raise MissingPartError(f"part {part.hex()} is not in {collection.full_name}")
        pieces.append(found["data"])
    return b"".join(pieces)
