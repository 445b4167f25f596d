"""History as people read it. The only module that prints it.

An event is one line that says when and what, and a line for each field below it:

2024-05-01 14:03:22.123+02:00  update
    email: "anna@old.example" → "anna@new.example"
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from cli import extended_json, gap_text, value_text
from history import gaps
from history.elements import element_changes
from history.fields import changes_of, same
from history.paths import path_of
from models.values import ABSENT, UNKNOWN, Missing

if TYPE_CHECKING:
    from bson.raw_bson import RawBSONDocument

    from models import ChangeModel, HistoryModel

_ARROW = " → "
_INDENT = "    "
_MOST_ELEMENTS = 20
_CONTEXT = 8
_COMPARED = 65_536
_FIELD_SHARE = 3
_STYLES = {"insert": "green", "update": "yellow", "replace": "yellow", "delete": "red", "gap": "bold red"}
_ADDED, _REMOVED = "+ ", "- "
_MARKS = {"insert": (_ADDED, "green"), "delete": (_REMOVED, "red")}


class PipedConsole(Console):
    """A console that lets its user decide what a closed pipe means."""

    def on_broken_pipe(self) -> None:
        """Say it, instead of ending the program with an error.

        Raises:
            BrokenPipeError: always.
        """
        raise BrokenPipeError


def json_line(stored: RawBSONDocument) -> None:
    """Print a history document as it is stored, as one line of canonical Extended JSON."""
    click.echo(extended_json.dumps_document(bytes(stored.raw)))


class Renderer:
    """Prints events.

    Args:
        console: where to. Lines are shortened to its width on a terminal, and whole elsewhere.
        utc: times in UTC instead of the local zone.
        with_ids: name the document of each event.
        field: print only what concerns this field.
    """

    def __init__(
        self, console: Console, *, utc: bool = False, with_ids: bool = False, field: str | None = None
    ) -> None:
        self._console = console
        self._zone = UTC if utc else None
        self._with_ids = with_ids
        self._field = field
        self._width = console.width if console.is_terminal else None

    def event(self, event: HistoryModel) -> None:
        """Print one event."""
        if event.operation == gaps.OPERATION:
            self._print(gap_text.line(event, self._zone))
            return
        self._print(self._heading(event))
        changes = event.changes if self._field is None else changes_of(event, self._field)
        for change in changes:
            self._change(event.operation, change)

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True, highlight=False)

    def _heading(self, event: HistoryModel) -> Text:
        when = event.timestamp
        if isinstance(when, datetime):
            shown = when.astimezone(self._zone).isoformat(" ", "milliseconds")
        else:
            shown = f"{event.cluster_time.time}:{event.cluster_time.inc}"
        operation = value_text.printable(event.operation)
        line = Text.assemble((shown, "cyan"), "  ", (operation, f"bold {_STYLES.get(operation, 'magenta')}"))
        if self._with_ids and event.document_id is not ABSENT:
            line.append("  ").append(value_text.text_of(event.document_id, self._room(line.cell_len + 2)))
        if event.document_id is ABSENT:
            line.append("  ").append(self._fit(_in_words(event), line.cell_len + 2))
        if event.transaction is not None:
            line.append(f"  transaction {int(event.transaction.number)}", "dim")
        return line

    def _change(self, operation: str, change: ChangeModel) -> None:
        if not path_of(change) and change.new_value is UNKNOWN:
            self._print(Text(_INDENT + "what it did is unknown: so large an event could not be delivered", "italic"))
            return
        if not path_of(change) and change.old_value is UNKNOWN:
            self._print(Text(_INDENT + "what it held is unknown: there was no pre-image", "italic"))
            return
        name = value_text.printable(change.field) or '""'
        if self._width is not None:
            name = value_text.shorten(name, self._width // _FIELD_SHARE)
        self._values(_INDENT, name, change, _MARKS.get(operation))
        elements = element_changes(change)
        shown = elements if self._width is None else elements[:_MOST_ELEMENTS]
        for element in shown:
            mark = None
            if element.old_value is ABSENT or element.new_value is ABSENT:
                mark = (_ADDED, "green") if element.old_value is ABSENT else (_REMOVED, "red")
            self._values(_INDENT * 2, _place(element, len(path_of(change))), element, mark)
        if len(elements) > len(shown):
            self._print(Text(f"{_INDENT * 2}… and {len(elements) - len(shown)} more; --json shows all", "dim"))

    def _values(self, indent: str, name: str, change: ChangeModel, mark: tuple[str, str] | None) -> None:
        old, new = change.old_value, change.new_value
        sign, style = mark or ("", "")
        line = Text(indent).append(sign, style).append(f"{name}: ", style or "bold")
        room = self._room(line.cell_len)
        if mark and (old is ABSENT or new is ABSENT):
            _append(line, new if old is ABSENT else old, room, style)
        elif change.truncated_to is not None and new is UNKNOWN:
            line.append(f"cut to {change.truncated_to} elements; what was cut off is unknown", "italic")
        elif not isinstance(old, Missing) and same(old, new):
            line.append("moved to the end" if change.at_end else "moved, unchanged", "italic")
        else:
            old_text, new_text = _side_by_side(old, new, room)
            _append(line, old, room, "red", old_text)
            line.append(_ARROW, "dim")
            _append(line, new, room, "green", new_text)
        self._print(line)

    def _room(self, taken: int) -> int | None:
        return None if self._width is None else max(self._width - taken, _CONTEXT)

    def _fit(self, text: str, taken: int) -> str:
        room = self._room(taken)
        return text if room is None else value_text.shorten(text, room)


def _append(line: Text, value: Any, room: int | None, style: str, text: str | None = None) -> None:
    line.append(text or value_text.text_of(value, room), "italic dim" if isinstance(value, Missing) else style)


def _side_by_side(old: Any, new: Any, room: int | None) -> tuple[str, str]:
    """Two values in the room of one line; what a short one leaves, the long one gets."""
    old_text, new_text = value_text.text_of(old, room), value_text.text_of(new, room)
    if room is None:
        return old_text, new_text
    room -= len(_ARROW)
    half = room // 2
    old_room = max(half, room - cell_len(new_text))
    new_room = max(room - half, room - cell_len(old_text))
    shortened = value_text.shorten(old_text, old_room), value_text.shorten(new_text, new_room)
    if shortened[0] != shortened[1]:
        return shortened
    # They differ further on: begin a little before that.
    old_text, new_text = value_text.text_of(old, _COMPARED), value_text.text_of(new, _COMPARED)
    pairs = enumerate(zip(old_text, new_text, strict=False))
    start = max(next((at for at, (a, b) in pairs if a != b), 0) - _CONTEXT, 0)
    tails = (value_text.ELLIPSIS + text[start:] if start else text for text in (old_text, new_text))
    return value_text.shorten(next(tails), half), value_text.shorten(next(tails), half)


def _place(element: ChangeModel, depth: int) -> str:
    """Where in its array an element is: `[3].city`."""
    first, *rest = path_of(element)[depth:]
    return f"[{first}]" + "".join(
        f"[{key}]" if isinstance(key, int) else "." + value_text.key_text(key) for key in rest
    )


def _in_words(event: HistoryModel) -> str:
    """What an event about a collection says."""
    said: dict[str, Any] = event.description if isinstance(event.description, dict) else {}
    namespace = value_text.printable(event.namespace)
    target = said.get("to")
    if event.operation == "rename" and isinstance(target, dict):
        return value_text.printable(f"{event.namespace}{_ARROW}{target.get('db')}.{target.get('coll')}")
    indexes = said.get("indexes")
    if isinstance(indexes, list) and all(isinstance(index, dict) for index in indexes):
        named = (f"{value_text.printable(str(i.get('name')))} {value_text.text_of(i.get('key'))}" for i in indexes)
        return f"{namespace}: {', '.join(named)}"
    return f"{namespace}: {value_text.text_of(said)}" if said else namespace
