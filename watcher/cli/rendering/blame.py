"""The answer of `watcher blame`: the leaves of a document, each with the event that set it; a table, lines, or JSON.

Lines are for terminals too narrow for a table: each field with its value first, then when and by which event.

status: "paid"                   2026-11-24 02:03:11  update  6b04f05f00000001
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from change_history.bson import extended_json
from change_history.query.transactions import event_name
from watcher.cli import session
from watcher.cli.rendering import actors, event_words
from watcher.words import times
from watcher.words.operations import stands_at_horizon
from watcher.words.value_text import printable, shorten, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import tzinfo

    from rich.text import Text

    from change_history.blame.recorded import Leaf

_COLUMNS = ("field", "value", "when", "operation", "event", "transaction")
_BY = "by"
_VALUE_WIDTH = 40
_BETWEEN = "  "
_NAME_SHARE = 2
_ACTOR_CELLS = 20


def show(leaves: Sequence[Leaf], zone: tzinfo | None) -> None:
    """Print leaves as text."""
    from watcher.cli.rendering import terminal

    session.survive_any_character()
    console = terminal.PipedConsole()
    if console.is_terminal and console.width < event_words.WIDE:
        for line in lines(leaves, zone, console.width):
            console.print(line, soft_wrap=True, highlight=False)
        return
    width = _VALUE_WIDTH if sys.stdout.isatty() else None
    with_actors = any(leaf.event.actor is not None for leaf in leaves)
    terminal.show_table(
        (*_COLUMNS, _BY) if with_actors else _COLUMNS,
        [
            (
                printable(leaf.field),
                text_of(leaf.value, width),
                times.of_event(leaf.event, zone),
                _operation(leaf),
                event_name(leaf.event.id),
                event_words.transaction_name(leaf.event),
                *([_by(leaf)] if with_actors else []),
            )
            for leaf in leaves
        ],
    )


def _by(leaf: Leaf) -> str:
    who = leaf.event.actor
    return f"{actors.name(who)} ({printable(who.provenance)})" if who is not None else actors.UNKNOWN


def lines(leaves: Sequence[Leaf], zone: tzinfo | None, width: int) -> Iterator[Text]:
    """Leaves as lines, one each; if a field leaves no room for its event, the event is on the next line."""
    from rich.cells import cell_len
    from rich.text import Text

    told = [_leaf_text(leaf, width) for leaf in leaves]
    events = [_event_text(leaf, zone, width) for leaf in leaves]
    room = width - max((event.cell_len for event in events), default=0) - len(_BETWEEN)
    column = max((cell_len(text) for text in told if cell_len(text) <= room), default=min(room, 0))
    for text, event in zip(told, events, strict=True):
        if cell_len(text) > column:
            yield Text(text, "bold")
            yield Text(" " * (column + len(_BETWEEN))).append(event)
        else:
            padded = text + " " * (column - cell_len(text) + len(_BETWEEN))
            yield Text.assemble((padded, "bold"), event)


def _operation(leaf: Leaf) -> str:
    stands = stands_at_horizon(leaf.event)
    return "before the horizon" if stands else printable(leaf.event.operation)


def _leaf_text(leaf: Leaf, width: int) -> str:
    from rich.cells import cell_len

    name = shorten(printable(leaf.field), width // _NAME_SHARE)
    return f"{name}: {text_of(leaf.value, width - cell_len(name) - 2)}"


def _event_text(leaf: Leaf, zone: tzinfo | None, width: int) -> Text:
    from rich.text import Text

    operation = _operation(leaf)
    style = event_words.STYLES.get(operation, event_words.OTHER_STYLE)
    return Text.assemble(
        (event_words.brief_time(leaf.event, zone, width), "cyan"),
        _BETWEEN,
        (operation, style),
        _BETWEEN,
        (event_words.brief_name(leaf.event, width), "dim yellow"),
        (f"{_BETWEEN}by {actors.name(who, _ACTOR_CELLS)}" if (who := leaf.event.actor) is not None else "", "blue"),
    )


def show_json(leaves: Sequence[Leaf]) -> None:
    """Print one leaf per line, in canonical Extended JSON."""
    session.speak_utf8()
    for leaf in leaves:
        click.echo(_json_line(leaf))


def _json_line(leaf: Leaf) -> str:
    event = leaf.event
    about: dict[str, Any] = {
        "_id": event.id,
        "namespace": event.namespace,
        "operation": event.operation,
        "timestamp": event.timestamp,
        "cluster_time": event.cluster_time,
    }
    if stands_at_horizon(event):
        about["before_horizon"] = True
    if event.transaction is not None:
        about["transaction"] = {"session": event.transaction.session, "number": event.transaction.number}
    if event.actor is not None:
        about["actor"] = event.actor.told()
    return extended_json.dumps({"field": leaf.field, "path": list(leaf.path), "value": leaf.value, "event": about})
