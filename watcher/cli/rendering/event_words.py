"""The parts of an event's or a gap's line: time, subject, transaction; and events as JSON."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from change_history.bson import extended_json, raw
from change_history.bson.values import ABSENT
from change_history.query import gaps, transactions
from watcher.words import times
from watcher.words.value_text import printable, shorten, text_of

if TYPE_CHECKING:
    from datetime import tzinfo

    from bson.raw_bson import RawBSONDocument

    from change_history.stored.event import Event

ARROW = " → "
STYLES = {"insert": "green", "update": "yellow", "replace": "yellow", "delete": "red", "gap": "bold red"}
OTHER_STYLE = "magenta"
ACTOR_STYLE = "blue"

WIDE = 120
"""Cells; narrower terminals get short times, so that ids and fields are not cut."""
_NARROW = 100
"""Cells; narrower terminals get short event ids too."""
_CLUSTER_TIME_DIGITS = 16


def transaction_name(event: Event) -> str:
    """The name of an event's transaction as a user types it; empty: it has none."""
    return "" if event.transaction is None else transactions.name_of(event.transaction)


def is_narrow(width: int | None) -> bool:
    """Whether lines are so short that event ids are shortened."""
    return width is not None and width < _NARROW


def brief_name(event: Event, width: int | None) -> str:
    """The name of an event; on a narrow terminal only its beginning, which is its cluster time."""
    name = transactions.event_name(event.id)
    return name[:_CLUSTER_TIME_DIGITS] if is_narrow(width) else name


def brief_time(event: Event, zone: tzinfo | None, width: int | None) -> str:
    """The time of an event; to the second and without the zone, except on wide terminals."""
    when = event.timestamp
    if width is None or width >= WIDE or not isinstance(when, datetime):
        return times.of_event(event, zone)
    return f"{when.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def subject(event: Event, width: int | None, *, with_ids: bool, with_namespaces: bool, bare: bool = False) -> str:
    """What an event is about: its document, as far as the query does not determine it, or its collection.

    Args:
        event: any event but a gap.
        width: maximum number of terminal cells.
        with_ids: the query covers several documents.
        with_namespaces: the query covers several collections.
        bare: write an ObjectId as its digits only, as a user types it.
    """
    if event.document_id is ABSENT:
        text = _collection_event(event)
        return text if width is None else shorten(text, width)
    namespace = printable(event.namespace) if with_namespaces else ""
    if not with_ids:
        return namespace
    room = width if width is None or not namespace else max(width - len(namespace) - 1, 1)
    if bare and isinstance(event.document_id, ObjectId):
        identity = str(event.document_id) if room is None else shorten(str(event.document_id), room)
    else:
        identity = text_of(event.document_id, room)
    return f"{namespace} {identity}" if namespace else identity


def _collection_event(event: Event) -> str:
    """The namespace of an event about a collection, with its description."""
    said: dict[str, Any] = event.description if isinstance(event.description, dict) else {}
    namespace = printable(event.namespace or "everything")
    target = said.get("to")
    if event.operation == "rename" and isinstance(target, dict):
        return printable(f"{event.namespace}{ARROW}{target.get('db')}.{target.get('coll')}")
    indexes = said.get("indexes")
    if isinstance(indexes, list) and all(isinstance(index, dict) for index in indexes):
        named = (f"{printable(str(i.get('name')))} {text_of(i.get('key'))}" for i in indexes)
        return f"{namespace}: {', '.join(named)}"
    return f"{namespace}: {text_of(said)}" if said else namespace


def gap_interval(gap: Event, zone: tzinfo | None) -> str:
    """The interval of a gap and its length: `2024-05-01 14:00:00+02:00 to 2024-05-01 15:00:00+02:00 (1 h)`."""
    found = gaps.view(gap)
    return f"{times.clock(found.since, zone)} to {times.clock(found.until, zone)} ({gap_length(found)})"


def gap_length(gap: gaps.View) -> str:
    """The length of a gap."""
    return times.span(gap.until.time - gap.since.time)


def gap_watched(gap: gaps.View) -> str:
    """The watched namespaces, as in the settings."""
    return printable(",".join(gap.include) + "".join(f" but not {glob}" for glob in gap.exclude))


def json_line(stored: RawBSONDocument, revert: bytes | None = None) -> None:
    """Print a history document as it is stored, in canonical Extended JSON; its revert, if any, comes last."""
    more = [raw.element(b"revert", (raw.DOCUMENT, revert))] if revert is not None else []
    data = bytes(stored.raw)
    sys.stdout.write(f"{extended_json.dumps_document(raw.document([data[4:-1], *more]) if more else data)}\n")
