"""Cursors: where the next page begins. They are opaque to clients, and checked when they are returned. Pure.

A cursor contains nothing that the client has not received, and grants no access: rights are checked on each page.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import blake2b
from typing import TYPE_CHECKING

from change_history.stored.order import position_at
from watcher.web import problems

if TYPE_CHECKING:
    from change_history.stored.event import Event
    from watcher.web.visible import Rank

_ID_BYTES = 16
_CHECK_BYTES = 8


def check_of(path: str, said: list[tuple[str, str]]) -> bytes:
    """A check value that binds a cursor to its query, so that it can only continue the same list."""
    parts = [path, *(f"{name}={text}" for name, text in sorted(said) if name not in {"cursor", "limit"})]
    return blake2b("\0".join(parts).encode("utf-8", "surrogateescape"), digest_size=_CHECK_BYTES).digest()


def after(event: Event, check: bytes) -> str:
    """The cursor that continues after an event."""
    return _written(check, bytes(event.id) + bytes(event.resume_token or b""))


def rank(cursor: str, check: bytes) -> Rank:
    """The rank of the event after which a cursor continues.

    Raises:
        watcher.web.problems.Problem: it is not a cursor, or another query's.
    """
    data = _read(cursor, check)
    if len(data) < _ID_BYTES:
        raise _wrong()
    identity, token = data[:_ID_BYTES], data[_ID_BYTES:]
    return position_at(identity, token or None), identity


def after_key(key: bytes, check: bytes) -> str:
    """The cursor that continues after an item of a list that is always read from its beginning."""
    return _written(check, key)


def key(cursor: str, check: bytes) -> bytes:
    """The key of the item after which a cursor continues; raises as `rank` does."""
    return _read(cursor, check)


def _written(check: bytes, data: bytes) -> str:
    return base64.urlsafe_b64encode(_mark(check, data) + data).decode().rstrip("=")


def _read(cursor: str, check: bytes) -> bytes:
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)[_CHECK_BYTES:]
    except (binascii.Error, ValueError) as error:
        raise _wrong() from error
    if _written(check, data) != cursor:
        raise _wrong()
    return data


def _mark(check: bytes, data: bytes) -> bytes:
    return blake2b(data, digest_size=_CHECK_BYTES, key=check).digest()


def _wrong() -> problems.Problem:
    return problems.wrong_request("cursor: it is not what a page of this very question calls next")
