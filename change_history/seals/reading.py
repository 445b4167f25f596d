"""Stored documents as the server sends them, many at a time."""

from __future__ import annotations

import struct

_size_at = struct.Struct("<i").unpack_from


def documents_in(batch: bytes) -> list[bytes]:
    """Take a batch of documents apart, as `find_raw_batches` gives it."""
    found: list[bytes] = []
    append = found.append
    start, end = 0, len(batch)
    while start < end:
        stop = start + _size_at(batch, start)[0]
        append(batch[start:stop])
        start = stop
    return found
