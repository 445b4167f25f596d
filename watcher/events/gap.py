"""The history documents of our own making about what was lost: gaps."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from change_history.bson import raw

_DIGEST_BYTES = 8


class Gap(NamedTuple):
    """An interval of which events were lost for good.

    Attributes:
        stream: name of the stream.
        token: the last good resume token, as the server gave it; it may be damaged.
        since: cluster time up to which history is whole, payload of a BSON timestamp.
        until: cluster time from which on it is whole again, payload of a BSON timestamp.
        cause: what made it.
        include, exclude: what the stream watched.
    """

    stream: str
    token: bytes
    since: bytes
    until: bytes
    cause: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]


def gap_id(gap: Gap) -> bytes:
    """The `_id` of the gap's history document: the same however often, and to whenever, the position is lost."""
    digest = blake2b(b"gap\x00" + gap.stream.encode() + b"\x00" + gap.token, digest_size=_DIGEST_BYTES).digest()
    return gap.since[::-1] + digest


def document(gap: Gap, found_at: bytes) -> bytes:
    """The history document of a gap. It stands in history where the gap begins.

    Args:
        gap: what was lost.
        found_at: payload of a BSON date, when it was found.
    """
    described = [
        (b"stream", _text(gap.stream)),
        (b"from", (raw.TIMESTAMP, gap.since)),
        (b"to", (raw.TIMESTAMP, gap.until)),
        (b"cause", _text(gap.cause)),
        (b"include", (raw.ARRAY, raw.from_items(_text(glob) for glob in gap.include))),
        (b"exclude", (raw.ARRAY, raw.from_items(_text(glob) for glob in gap.exclude))),
    ]
    return raw.from_fields(
        [
            (b"_id", (raw.BINARY, raw.int32(16) + b"\x00" + gap_id(gap))),
            (b"operation", _text("gap")),
            (b"timestamp", (raw.DATE, found_at)),
            (b"cluster_time", (raw.TIMESTAMP, gap.since)),
            (b"changes", (raw.ARRAY, raw.EMPTY_DOCUMENT)),
            (b"description", (raw.DOCUMENT, raw.from_fields(described))),
        ]
    )


def _text(text: str) -> raw.Value:
    return raw.STRING, raw.string(text.encode())
