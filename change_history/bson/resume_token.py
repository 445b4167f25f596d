"""Resume tokens: the key string in them, by which a stream is ordered, and the cluster time it begins with."""

from __future__ import annotations

import re
from binascii import unhexlify

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime

_TIME_BYTES = 8
_TIMESTAMP_KEY = 0x82
_DATA = b"\x02_data\x00"
_BESIDE = 16
"""Bytes of a resume token with nothing but `_data` beside those of that string."""


class UnreadableTokenError(ValueError):
    """The document is no resume token."""


def token_bytes(token: bytes) -> bytes:
    """The key string inside a resume token document (`{_data: <hexadecimal string>}`).

    Raises:
        UnreadableTokenError: there is none.
        ValueError: it is damaged.
    """
    if token.startswith(_DATA, 4) and len(token) == _BESIDE + int.from_bytes(token[11:15], "little"):
        return unhexlify(token[15:-2])
    elements = raw.elements(token)
    if elements:
        key, kind, payload = elements[0]
        if key == b"_data" and kind == raw.STRING:
            return unhexlify(payload[4:-1])
        if key == b"_data" and kind == raw.BINARY:
            return payload[5:]
    raise UnreadableTokenError("the resume token has no _data")


def token_time(token: bytes) -> ClusterTime | None:
    """The cluster time in a resume token document.

    A token is a key string that begins with its cluster time (src/mongo/db/pipeline/resume_token.h).

    Returns:
        None if the token is damaged, or of a form that no known server gives.
    """
    try:
        key = token_bytes(token)
    except (ValueError, IndexError):
        return None
    return ClusterTime.from_id(key[1:]) if len(key) > _TIME_BYTES and key[0] == _TIMESTAMP_KEY else None


_OF_AN_END = re.compile(rb"\x82.{8}(?:\x2b.|\x2c..|\x29){3}\x6f", re.DOTALL)
"""Time, then version, type and number within a transaction as key strings of small integers, then a `true`."""


def ends_stream(token: bytes) -> bool:
    """Whether a resume token document is that of an `invalidate` event, with which the stream of a collection ends."""
    try:
        return _OF_AN_END.match(token_bytes(token)) is not None
    except (ValueError, IndexError):
        return False
