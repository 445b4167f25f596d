"""Asking for documents by raw `_id`s: the server's equality, every type exact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bson.raw_bson import RawBSONDocument

from change_history.bson import raw

if TYPE_CHECKING:
    from collections.abc import Sequence


def is_id(document_id: raw.Value) -> RawBSONDocument:
    """The condition on `document_id` that means one document; a null id is told from entries without an id."""
    condition = [(b"$eq", document_id)]
    if document_id[0] in {raw.NULL, raw.UNDEFINED}:
        condition.append((b"$exists", (raw.BOOLEAN, b"\x01")))
    return RawBSONDocument(raw.from_fields(condition))


def in_ids(ids: Sequence[raw.Value]) -> RawBSONDocument:
    """The condition on `document_id` that means any of these documents."""
    condition = [(b"$in", (raw.ARRAY, raw.from_items(ids))), (b"$exists", (raw.BOOLEAN, b"\x01"))]
    return RawBSONDocument(raw.from_fields(condition))
