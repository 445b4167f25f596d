"""Addresses of pages and their parameters: a namespace, a document's `_id`, a point in time, a path.

An `_id` of any BSON type is written as a user types it; if that is too long, the address names an event of the
document instead.
"""

from __future__ import annotations

import json
from contextvars import ContextVar
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from bson.errors import BSONError

from change_history.bson import extended_json
from change_history.bson.values import ABSENT, to_raw
from change_history.query.briefs import LeftOut
from change_history.query.transactions import event_name, name_of
from watcher.words import literals, times

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from change_history.bson.paths import TextPath
    from change_history.reconstruct.point_in_time import PointInTime
    from change_history.stored.event import Event, Transaction

LONGEST_ID = 1500
"""Characters of an `_id` in an address; a longer one is not written."""

LONGEST_NAME = 400
"""Characters of a path; a longer one is named by its digest."""

LONGEST_PATH = 4000
"""Characters of a path in an address; a longer one is not written."""

_MOST_VERSION_DIGITS = 9


ROOT: ContextVar[str] = ContextVar("ROOT", default="")
"""The path under which the application is served, while a page is rendered."""


def address(page: str, **asked: Any) -> str:
    """The address of a page with its parameters, without those that are None."""
    asked_for = query(**asked)
    return f"{ROOT.get()}/{page}" + (f"?{asked_for}" if asked_for else "")


def query(**asked: Any) -> str:
    """Parameters as a URL's query, without those that are None."""
    given = {name: str(said) for name, said in asked.items() if said is not None}
    return urlencode(given, errors="surrogatepass")


def id_text(document_id: Any) -> str | None:
    """The text that a user types for an `_id`; None: it is too long, or no text is read as exactly this value."""
    if document_id is ABSENT or isinstance(document_id, LeftOut):
        return None
    bare = str(document_id)
    if len(bare) > LONGEST_ID:
        return None
    try:
        if bare and bare.isprintable() and to_raw(literals.document_id(bare)) == to_raw(document_id):
            return bare
    except (ValueError, BSONError, OverflowError):
        pass
    written = extended_json.dumps(document_id)
    try:
        same = to_raw(literals.document_id(written)) == to_raw(document_id)
    except (ValueError, BSONError, OverflowError):
        return None
    return written if same and len(written) <= LONGEST_ID else None


def of_document(namespace: str, document_id: Any, event: Event | None = None) -> dict[str, str | None]:
    """The parameters that name a document; by an event if its `_id` cannot be written."""
    written = id_text(document_id)
    if written is None and event is not None:
        return {"of": bytes(event.id).hex()}
    return {"ns": namespace, "id": written}


def document(event: Event, number: int = 0) -> str:
    """The address of an event's document, at this event."""
    where = of_document(event.namespace, event.document_id, event)
    return address("document", **where, at=number or None, event=None if number else event_name(event.id))


def permalink(event: Event) -> str:
    """The address of an event's document at this event; later recording does not change what it shows."""
    return address("document", **of_document(event.namespace, event.document_id, event), event=event_name(event.id))


def of_event(event: Event) -> str:
    """The address of one event."""
    return address("event", id=bytes(event.id).hex())


def of_transaction(transaction: Transaction) -> str:
    """The address of a transaction."""
    return address("transaction", name=name_of(transaction, 32))


def point(text: str) -> PointInTime:
    """Read a point in time: a version's number, or a time, in UTC unless it has a zone.

    Raises:
        ValueError: it is neither.
        OverflowError: the time is beyond the calendar.
    """
    from datetime import UTC

    stripped = text.strip()
    if stripped.lstrip("-").isdecimal() and len(stripped) <= _MOST_VERSION_DIGITS:
        return int(stripped)
    return times.parse(stripped, UTC)


def path_text(path: tuple[str | int, ...]) -> str:
    """An exact path as text."""
    return json.dumps(list(path), ensure_ascii=True, separators=(",", ":"))


def path_name(path: tuple[str | int, ...]) -> str:
    """An exact path as text, or the digest of a long one."""
    text = path_text(path)
    return text if len(text) <= LONGEST_NAME else blake2b(text.encode(), digest_size=12).hexdigest()


def path(text: str) -> tuple[str | int, ...]:
    """Read an exact path.

    Raises:
        ValueError: the text is no path.
    """
    found = json.loads(text)
    if not isinstance(found, list) or not all(type(part) in {str, int} for part in found):
        raise ValueError("a path is a list of keys and indexes")
    return tuple(found)


def of_values(where: Mapping[str, Any], number: int) -> Callable[[TextPath], str | None]:
    """A function that gives the address of each value of a version; None: its path is too long."""

    def of_value(path: TextPath) -> str | None:
        text = path_text(path)
        return address("value", **where, at=number or None, path=text) if len(text) <= LONGEST_PATH else None

    return of_value
