"""Who set what, on a terminal too narrow for a table: each field with its value first, then when and by which event.

status: "paid"                   2026-11-24 02:03:11  update  6b04f05f00000001
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from watcher.cli.rendering import heading, value_text
from watcher.cli.rendering.value_text import printable, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import tzinfo

    from change_history.blame.recorded import Leaf

_BETWEEN = "  "
_NAME_SHARE = 2


def lines(leaves: Sequence[Leaf], zone: tzinfo | None, width: int) -> Iterator[Text]:
    """Write leaves, a line each; a field that leaves no room beside it has the line to itself, its event the next.

    Args:
        leaves: of a document.
        zone: of the times; None: the local one.
        width: terminal cells.
    """
    told = [_told(leaf, width) for leaf in leaves]
    events = [_event(leaf, zone, width) for leaf in leaves]
    room = width - max((event.cell_len for event in events), default=0) - len(_BETWEEN)
    column = max((cell_len(text) for text in told if cell_len(text) <= room), default=min(room, 0))
    for text, event in zip(told, events, strict=True):
        if cell_len(text) > column:
            yield Text(text, "bold")
            yield Text(" " * (column + len(_BETWEEN))).append(event)
        else:
            padded = text + " " * (column - cell_len(text) + len(_BETWEEN))
            yield Text.assemble((padded, "bold"), event)


def _told(leaf: Leaf, width: int) -> str:
    name = value_text.shorten(printable(leaf.field), width // _NAME_SHARE)
    return f"{name}: {text_of(leaf.value, width - cell_len(name) - 2)}"


def _event(leaf: Leaf, zone: tzinfo | None, width: int) -> Text:
    operation = printable(leaf.event.operation)
    style = heading.STYLES.get(operation, heading.OTHER_STYLE)
    return Text.assemble(
        (heading.brief_time(leaf.event, zone, width), "cyan"),
        _BETWEEN,
        (operation, style),
        _BETWEEN,
        (heading.brief_name(leaf.event, width), "dim yellow"),
    )
