"""Parse stored history documents partially: only what a pass over a whole collection needs of each.

Only the layout that the daemon writes is recognized; for any other the functions return None, or parse in full.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from change_history.bson import raw
from change_history.stored.changes import whole_document

_BEGINNING = re.compile(
    rb".{4}\x05_id\x00\x10\x00\x00\x00\x00(?P<id>.{16})"
    rb"\x02namespace\x00.{4}(?P<namespace>[^\x00]*)\x00(?P<kind>.)document_id\x00",
    re.DOTALL,
).match
_WHOLE = re.compile(
    rb"\x02operation\x00.{4}(?:insert|baseline)\x00\x09timestamp\x00.{8}\x11cluster_time\x00.{8}\x04changes\x00",
    re.DOTALL,
).match
_IN_CHUNKS = b"\x04parts\x00"


class Whole(NamedTuple):
    """An entry that holds a document whole.

    Attributes:
        identity: its `_id`, 16 bytes.
        namespace: `db.coll`.
    """

    identity: bytes
    namespace: bytes
    document_id: raw.Value
    document: bytes


def document_id(stored: bytes) -> raw.Value:
    """The `_id` of the document that an entry is about.

    Raises:
        KeyError: the entry has none.
    """
    found = _BEGINNING(stored)
    if found is None:
        return raw.fields(stored)[b"document_id"]
    kind, start = stored[found.start("kind")], found.end()
    return kind, stored[start : raw.end_of_value(stored, kind, start)]


def about(stored: bytes) -> tuple[bytes, raw.Value] | None:
    """The namespace and the `_id` of the document that an entry is about; None: the layout is not recognized."""
    found = _BEGINNING(stored)
    if found is None:
        return None
    kind, start = stored[found.start("kind")], found.end()
    return found["namespace"], (kind, stored[start : raw.end_of_value(stored, kind, start)])


def whole(stored: bytes) -> Whole | None:
    """The document that an insert or a baseline holds whole; None: another entry, or the layout is not recognized."""
    beginning = _BEGINNING(stored)
    if beginning is None:
        return None
    kind, start = stored[beginning.start("kind")], beginning.end()
    stop = raw.end_of_value(stored, kind, start)
    rest = _WHOLE(stored, stop)
    if rest is None:
        return None
    changes_end = raw.end_of_value(stored, raw.ARRAY, rest.end())
    if _IN_CHUNKS in stored[changes_end:]:
        return None
    document = whole_document(stored[rest.end() : changes_end])
    if document is None:
        return None
    return Whole(beginning["id"], beginning["namespace"], (kind, stored[start:stop]), document)
