"""Events as text, with all their changes or on one line each, and the gaps between them.

An event is one line that says when and what, and a line for each field below it:

2024-05-01 14:03:22.123+02:00  update
    email: "anna@old.example" → "anna@new.example"

On one line it begins with its id, as in `git log --oneline`, and only names its fields:

6b04bf1a00000002c6c6  2024-05-01 14:03:22.123+02:00  update  42  email, address.city

If the actor is known, it follows the subject: `by alice (context), reason "ticket 7"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from change_history.bson import raw
from change_history.bson.redacted import Redacted
from change_history.bson.values import ABSENT, UNKNOWN, Missing, to_raw
from change_history.diff.compare import array_differences
from change_history.query import gaps
from change_history.query.conditions import same
from change_history.stored.event import path_of
from watcher.cli.rendering import actors
from watcher.cli.rendering.event_words import (
    ACTOR_STYLE,
    ARROW,
    OTHER_STYLE,
    STYLES,
    brief_name,
    brief_time,
    gap_length,
    is_narrow,
    subject,
    transaction_name,
)
from watcher.cli.rendering.lines import Line, Plain
from watcher.words import times, value_text
from watcher.words.operations import operation_of
from watcher.words.value_text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import tzinfo

    from bson.raw_bson import RawBSONDocument

    from change_history.bson.raw import Value
    from change_history.stored.event import Change, Event
    from watcher.cli.rendering.lines import Output


def gap_line(gap: Event, zone: tzinfo | None) -> Line:
    """The line of a gap in a log."""
    found = gaps.view(gap)
    line = Line(times.clock(found.since, zone), "cyan").append("  ").append(gaps.OPERATION, "bold red")
    line.append(f"  until {times.clock(found.until, zone)} ({gap_length(found)}): what happened in it is not known; ")
    return line.append(f"cause: {printable(found.cause)}")


_BETWEEN = "  "
_LEAST_ROOM = 8
_ACTOR_CELLS = 30


def one_line(
    event: Event,
    changes: Sequence[Change],
    *,
    zone: tzinfo | None,
    width: int | None,
    with_ids: bool,
    with_namespaces: bool,
    remark: str = "",
) -> Line:
    """An event or a gap on one line, with the names of its selected changes."""
    found = Line(brief_name(event, width), "dim yellow").append(_BETWEEN)
    if event.operation == gaps.OPERATION:
        return found.append_line(gap_line(event, zone))
    operation = operation_of(event)
    found.append(brief_time(event, zone, width), "cyan")
    found.append(_BETWEEN).append(operation, STYLES.get(operation, OTHER_STYLE))
    room = _room_beside(found, width)
    if about := subject(event, room, with_ids=with_ids, with_namespaces=with_namespaces, bare=is_narrow(width)):
        found.append(_BETWEEN).append(about)
    if name := transaction_name(event):
        found.append(_BETWEEN).append(f"({name})", "dim")
    if event.actor is not None:
        by = actors.name(event.actor, None if width is None else _ACTOR_CELLS)
        found.append(_BETWEEN).append(f"by {by}", ACTOR_STYLE)
    if remark:
        found.append(_BETWEEN).append(remark, "bold")
    if changes:
        found.append(_BETWEEN).append(_field_names(changes, _room_beside(found, width)), "bold")
    if width is not None:
        found.cut(width)
    return found


def _room_beside(written: Line, width: int | None) -> int | None:
    return None if width is None else max(width - written.cell_len - len(_BETWEEN), _LEAST_ROOM)


def _field_names(changes: Sequence[Change], room: int | None) -> str:
    # Only the names of the changes, and only as many as there is room for.
    some = changes if room is None else changes[:room]
    names = ", ".join(dict.fromkeys(printable(change.field) or '""' for change in some))
    return names if room is None else value_text.shorten(names, room)


_INDENT = "    "
_MOST_ELEMENTS = 20
_CONTEXT = 8
_COMPARED = 65_536
_FIELD_SHARE = 3
_ADDED, _REMOVED = "+ ", "- "
_MARKS = {"insert": (_ADDED, "green"), "baseline": (_ADDED, "green"), "delete": (_REMOVED, "red")}


def _all(event: Event) -> Sequence[Change]:
    return list(event.changes)


def _nothing(_: Event) -> str:
    return ""


class Renderer:
    """Prints events; lines are shortened to the width of a terminal, and unlimited elsewhere.

    Args:
        output: where events are printed.
        zone: zone of the times.
        with_ids: print the document of each event.
        with_namespaces: print its collection too.
        narrow: selects the changes of an event that are printed; by default all.
        remark: gives a remark about an event; by default none.
    """

    def __init__(
        self,
        output: Output,
        *,
        zone: tzinfo | None = None,
        with_ids: bool = False,
        with_namespaces: bool = False,
        narrow: Callable[[Event], Sequence[Change]] = _all,
        remark: Callable[[Event], str] = _nothing,
    ) -> None:
        self._output = output
        self._print = output.print
        self._plain = output.write if isinstance(output, Plain) else None
        self._zone = zone
        self._with_ids = with_ids
        self._with_namespaces = with_namespaces
        self._narrow = narrow
        self._remark = remark
        self._width = output.width

    def event(self, event: Event, stored: RawBSONDocument | None = None) -> None:
        """Print one event.

        Args:
            event: the event.
            stored: its history document, which saves encoding its values again.
        """
        if event.operation == gaps.OPERATION:
            self._print(gap_line(event, self._zone))
        else:
            self._print(self.heading(event))
            for change in self._narrow(event):
                self._change(event, change, stored)

    def oneline(self, event: Event, _: RawBSONDocument | None = None) -> None:
        """Print one event on one line. Arguments are those of `event`."""
        options = {"with_ids": self._with_ids, "with_namespaces": self._with_namespaces}
        remark = self._remark(event)
        self._print(one_line(event, self._narrow(event), zone=self._zone, width=self._width, remark=remark, **options))

    def heading(self, event: Event) -> Line:
        """The first line of an event."""
        operation = operation_of(event)
        line = Line(times.of_event(event, self._zone), "cyan").append("  ")
        line.append(operation, f"bold {STYLES.get(operation, OTHER_STYLE)}")
        room = None if self._width is None else self._room(line.cell_len + 2)
        about = subject(event, room, with_ids=self._with_ids, with_namespaces=self._with_namespaces)
        if about:
            line.append("  ").append(about)
        if event.actor is not None:
            width = None if self._width is None else max(self._width - line.cell_len, _ACTOR_CELLS)
            line.append("  ").append(actors.actor_text(event.actor, width), ACTOR_STYLE)
        if name := transaction_name(event):
            line.append(f"  transaction {name}", "dim")
        if remark := self._remark(event):
            line.append(f"  {remark}", "bold")
        return line

    def _change(self, event: Event, change: Change, stored: RawBSONDocument | None) -> None:
        if change.path is not ABSENT and not path_of(change) and (said := _of_everything(change)):
            self._print(Line(_INDENT + said, "italic"))
            return
        name = printable(change.field) or '""'
        if self._width is not None:
            name = value_text.shorten(name, self._width // _FIELD_SHARE)
        self._values(_INDENT, name, change, _MARKS.get(event.operation))
        if isinstance(change.old_value, list) and isinstance(change.new_value, list):
            self._elements(_both_values(event, change, stored))

    def _elements(self, both: tuple[Value, Value]) -> None:
        """The changed elements of an array, in the lines of `watcher diff`."""
        found = array_differences((), *both)
        if not found:
            return
        from watcher.cli.rendering import diffs

        shown = found if self._width is None else found[:_MOST_ELEMENTS]
        for line in diffs.lines(shown, width=None if self._width is None else self._room(len(_INDENT * 2))):
            self._print(Line(_INDENT * 2).append_line(line))
        if len(found) > len(shown):
            self._print(Line(f"{_INDENT * 2}… and {len(found) - len(shown)} more; --json shows all", "dim"))

    def _values(self, indent: str, name: str, change: Change, mark: tuple[str, str] | None) -> None:
        old, new = change.old_value, change.new_value
        if self._plain is not None and _is_plain_change(change, mark):
            # Nearly all changes are plain, and a file needs no styled pieces.
            self._plain(f"{indent}{name}: {value_text.text_of(old)}{ARROW}{value_text.text_of(new)}")
            return
        sign, style = mark or ("", "")
        line = Line(indent).append(sign, style).append(f"{name}: ", style or "bold")
        room = None if self._width is None else self._room(line.cell_len)
        if mark and (old is ABSENT or new is ABSENT):
            _append(line, new if old is ABSENT else old, room, style)
        elif change.truncated_to is not None and new is UNKNOWN:
            line.append(f"cut to {change.truncated_to} elements; what was cut off is unknown", "italic")
        elif not isinstance(old, Missing) and same(old, new) and not _may_differ(old):
            line.append("moved to the end" if change.at_end else "moved, unchanged", "italic")
        else:
            old_text, new_text = _side_by_side(old, new, room)
            _append(line, old, room, "red", old_text)
            line.append(ARROW, "dim")
            _append(line, new, room, "green", new_text)
        self._print(line)

    def _room(self, taken: int) -> int | None:
        return None if self._width is None else max(self._width - taken, _CONTEXT)


def _is_plain_change(change: Change, mark: tuple[str, str] | None) -> bool:
    """Whether a change only replaces one value by another."""
    return mark is None and change.truncated_to is None and not same(change.old_value, change.new_value)


def _of_everything(change: Change) -> str:
    """The text for a change of the whole document whose values are missing; empty: it has them."""
    if change.new_value is UNKNOWN:
        return "what it did is unknown: so large an event could not be delivered"
    if change.old_value is UNKNOWN:
        return "what it held is unknown: there was no pre-image"
    if isinstance(change.old_value, Redacted) or isinstance(change.new_value, Redacted):
        return "what it did was erased on request"
    return ""


def _may_differ(value: Any) -> bool:
    """Whether two values that are equal in history may have differed, because a part is redacted without a digest."""
    if isinstance(value, Redacted):
        return not value.digest
    if isinstance(value, Mapping):
        return any(map(_may_differ, value.values()))
    return isinstance(value, list) and any(map(_may_differ, value))


def _both_values(event: Event, change: Change, stored: RawBSONDocument | None) -> tuple[Value, Value]:
    """The values of a change as BSON, from the bytes of the event if it is one of its changes."""
    place = next((place for place, each in enumerate(event.changes) if each is change), None)
    if stored is None or place is None:
        return to_raw(change.old_value), to_raw(change.new_value)
    found = raw.fields(raw.items(raw.fields(bytes(stored.raw))[b"changes"][1])[place][1])
    return found[b"old_value"], found[b"new_value"]


def _append(line: Line, value: Any, room: int | None, style: str, text: str | None = None) -> None:
    line.append(text or value_text.text_of(value, room), "italic dim" if isinstance(value, Missing) else style)


def _side_by_side(old: Any, new: Any, room: int | None) -> tuple[str, str]:
    """Two values on one line; a long one gets the room that a short one leaves."""
    old_text, new_text = value_text.text_of(old, room), value_text.text_of(new, room)
    if room is None:
        return old_text, new_text
    from rich.cells import cell_len

    room -= len(ARROW)
    half = room // 2
    old_room = max(half, room - cell_len(new_text))
    new_room = max(room - half, room - cell_len(old_text))
    shortened = value_text.shorten(old_text, old_room), value_text.shorten(new_text, new_room)
    if shortened[0] != shortened[1]:
        return shortened
    # The difference is further on: begin a little before it.
    old_text, new_text = value_text.text_of(old, _COMPARED), value_text.text_of(new, _COMPARED)
    pairs = enumerate(zip(old_text, new_text, strict=False))
    start = max(next((at for at, (a, b) in pairs if a != b), 0) - _CONTEXT, 0)
    tails = (value_text.ELLIPSIS + text[start:] if start else text for text in (old_text, new_text))
    return value_text.shorten(next(tails), half), value_text.shorten(next(tails), half)
