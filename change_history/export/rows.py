"""History documents, and documents as they were, as the rows of a file. Pure.

A row is a BSON document; its first field says of which event, or of which document, it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from change_history.bson import raw
from change_history.export.tables import CHANGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from change_history.bson.raw import Value

_FIRST = (b"namespace", b"document_id", b"operation", b"timestamp", b"cluster_time")
_DROPPED = {b"_id", b"changes", *_FIRST, *(name.encode() for name in CHANGES.left_out)}


def of_event(stored: bytes) -> Iterator[bytes]:
    """One row: the history document as it is stored."""
    yield stored


def of_changes(stored: bytes) -> Iterator[bytes]:
    """A row for each change of an event, with what is said of the event; an event without changes gives one too."""
    fields = raw.fields(stored)
    head = [(b"event", fields[b"_id"]), *((name, fields[name]) for name in _FIRST if name in fields)]
    tail = [(name, value) for name, value in fields.items() if name not in _DROPPED]
    changes = fields.get(b"changes")
    found = raw.items(changes[1]) if changes is not None else []
    for _, change in found:
        yield raw.from_fields([*head, *raw.fields(change).items(), *tail])
    if not found:
        yield raw.from_fields([*head, *tail])


def of_document(document_id: Value, document: bytes | None, unknown: str | None) -> bytes:
    """A row of the table of documents.

    Args:
        document_id: its `_id`.
        document: what it was; None: history cannot tell.
        unknown: why not.
    """
    row = [(b"_id", document_id)]
    if document is not None:
        row.append((b"document", (raw.DOCUMENT, document)))
    if unknown is not None:
        row.append((b"unknown", (raw.STRING, raw.string(unknown.encode()))))
    return raw.from_fields(row)
