"""An event on one line, as `git log --oneline` has commits: its id, when, what, about what, and the fields.

6b04bf1a00000002c6c6  2024-05-01 14:03:22.123+02:00  update  42  email, address.city

On a narrow terminal what says little gives way to what says much (`watcher.cli.rendering.heading`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from change_history.query import gaps
from watcher.cli.rendering import gap_text, heading, value_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from change_history.stored.event import Change, Event

_BETWEEN = "  "
_LEAST_ROOM = 8


def line(
    event: Event,
    changes: Sequence[Change],
    *,
    zone: tzinfo | None,
    width: int | None,
    with_ids: bool,
    with_namespaces: bool,
    remark: str = "",
) -> Text:
    """Write an event on one line.

    Args:
        event: any event, also a gap.
        changes: those of its changes that are asked for.
        zone: of the time; None: the local one.
        width: the most terminal cells; None: all of it.
        with_ids: name the document.
        with_namespaces: name its collection.
        remark: what else is said of it.
    """
    identity = (heading.brief_name(event, width), "dim yellow")
    if event.operation == gaps.OPERATION:
        return Text.assemble(identity, _BETWEEN).append(gap_text.line(event, zone))
    operation = value_text.printable(event.operation)
    style = heading.STYLES.get(operation, heading.OTHER_STYLE)
    found = Text.assemble(identity, _BETWEEN, (heading.brief_time(event, zone, width), "cyan"))
    found.append(_BETWEEN).append(operation, style)
    room = _room(found, width)
    if about := heading.subject(
        event, room, with_ids=with_ids, with_namespaces=with_namespaces, bare=heading.is_narrow(width)
    ):
        found.append(_BETWEEN).append(about)
    if name := heading.transaction(event):
        found.append(_BETWEEN).append(f"({name})", "dim")
    if remark:
        found.append(_BETWEEN).append(remark, "bold")
    if changes:
        found.append(_BETWEEN).append(_fields(changes, _room(found, width)), "bold")
    if width is not None:
        found.truncate(width, overflow="ellipsis")
    return found


def _room(written: Text, width: int | None) -> int | None:
    return None if width is None else max(width - written.cell_len - len(_BETWEEN), _LEAST_ROOM)


def _fields(changes: Sequence[Change], room: int | None) -> str:
    # Of each change its name only, and of many only as many as there is room for.
    some = changes if room is None else changes[:room]
    names = ", ".join(dict.fromkeys(value_text.printable(change.field) or '""' for change in some))
    return names if room is None else value_text.shorten(names, room)
