"""Documents larger than a server stores: cut into parts, and a head to find them by. See `stored.parts`."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from change_history.bson import raw

LARGEST_DOCUMENT = 16 * 1024 * 1024
"""Bytes of the largest document a server stores (https://www.mongodb.com/docs/manual/reference/limits/)."""

PART_BYTES = 15 * 1024 * 1024
"""Bytes of a part; its document is a little larger."""

MOST_NAMES = 4 * 1024 * 1024
"""Bytes that the names of the changed fields may take in a head. Beyond, the head says: the whole document."""

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


class Part(NamedTuple):
    """One piece of a large document.

    Attributes:
        id: the event's 16 bytes, so that an event's parts lie together and in the order of time, then 16 bytes of
            BLAKE2b of the piece's number and content.
        data: the piece.
    """

    id: bytes
    data: bytes


def cut(event_id: bytes, data: bytes) -> list[Part]:
    """Cut bytes into parts. The same event and bytes give the same parts; joined in order, they are the bytes.

    Args:
        event_id: `_id` of the history document.
        data: what to cut.
    """
    parts = []
    for number, start in enumerate(range(0, len(data), PART_BYTES)):
        piece = data[start : start + PART_BYTES]
        digest = blake2b(number.to_bytes(4, "big"), digest_size=_DIGEST_BYTES)
        digest.update(piece)
        parts.append(Part(event_id + digest.digest(), piece))
    return parts


def head(document: bytes, parts: list[Part]) -> bytes:
    """What stands in `history` for a document in parts: all of it that is asked for, without values.

    `changes` keeps the fields' names; if these are too many, one change of the whole document stands for them, so
    that a search for any field finds the head. `change_count` is the number of changes, `parts` names the parts.
    """
    found = raw.fields(document)
    changes = raw.items(found[b"changes"][1])
    kept = [(name, value) for name, value in found.items() if name not in _BODY]
    kept += [
        (b"changes", (raw.ARRAY, _names(changes) or _WHOLE_DOCUMENT)),
        (b"change_count", (raw.INT32, raw.int32(len(changes)))),
        (b"parts", (raw.ARRAY, raw.from_items(_binary(part.id) for part in parts))),
    ]
    return raw.from_fields(kept)


def _names(changes: list[raw.Value]) -> bytes | None:
    if len(changes) * _SHORTEST_NAME > MOST_NAMES:
        return None
    names = raw.from_items((raw.DOCUMENT, _without_values(change)) for _, change in changes)
    return names if len(names) <= MOST_NAMES else None


def _without_values(change: bytes) -> bytes:
    return raw.from_fields((name, value) for name, value in raw.fields(change).items() if name not in _VALUES)


def _binary(data: bytes) -> raw.Value:
    return raw.BINARY, raw.int32(len(data)) + b"\x00" + data
