"""What a line about an event begins with: when, what, about what, in which transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cli import value_text
from history import transactions
from models.values import ABSENT

if TYPE_CHECKING:
    from models import HistoryModel

ARROW = " → "
STYLES = {"insert": "green", "update": "yellow", "replace": "yellow", "delete": "red", "gap": "bold red"}
OTHER_STYLE = "magenta"


def transaction(event: HistoryModel) -> str:
    """The name of an event's transaction, as it can be typed; empty without one."""
    return "" if event.transaction is None else transactions.name_of(event.transaction)


def subject(event: HistoryModel, width: int | None, *, with_ids: bool, with_namespaces: bool) -> str:
    """What an event is about: its document, as far as that is not plain from the question, or its collection.

    Args:
        event: any event but a gap.
        width: the most terminal cells; None: all of it.
        with_ids: several documents are asked for.
        with_namespaces: several collections are asked for.
    """
    if event.document_id is ABSENT:
        text = _in_words(event)
        return text if width is None else value_text.shorten(text, width)
    namespace = value_text.printable(event.namespace) if with_namespaces else ""
    if not with_ids:
        return namespace
    if not namespace:
        return value_text.text_of(event.document_id, width)
    room = None if width is None else max(width - len(namespace) - 1, 1)
    return f"{namespace} {value_text.text_of(event.document_id, room)}"


def _in_words(event: HistoryModel) -> str:
    """What an event about a collection says."""
    said: dict[str, Any] = event.description if isinstance(event.description, dict) else {}
    namespace = value_text.printable(event.namespace or "everything")
    target = said.get("to")
    if event.operation == "rename" and isinstance(target, dict):
        return value_text.printable(f"{event.namespace}{ARROW}{target.get('db')}.{target.get('coll')}")
    indexes = said.get("indexes")
    if isinstance(indexes, list) and all(isinstance(index, dict) for index in indexes):
        named = (f"{value_text.printable(str(i.get('name')))} {value_text.text_of(i.get('key'))}" for i in indexes)
        return f"{namespace}: {', '.join(named)}"
    return f"{namespace}: {value_text.text_of(said)}" if said else namespace
