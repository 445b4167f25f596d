"""How far an export is, on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bson.raw_bson import RawBSONDocument

    from change_history import History, Selection

_EVERY = 200
"""So many events pass between two looks at the clock."""


def of_events(events: Iterable[RawBSONDocument], history: History, selection: Selection) -> Iterator[RawBSONDocument]:
    """Show how far events are, by their time: counting them first would take as long as a good part of the export.

    Args:
        events: in order.
        history: where they are.
        selection: which they are.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from events
        return
    newest = next(history.stored(selection, limit=1), None)
    end = _second(newest) if newest is not None else 0
    columns = (TextColumn("exporting"), BarColumn(), TextColumn("{task.fields[count]:,}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None, count=0)
        begin = end
        for count, stored in enumerate(events, start=1):
            if count == 1:
                begin = _second(stored)
                progress.update(task, total=max(end - begin, 1))
            if count % _EVERY == 0:
                progress.update(task, count=count, completed=max(_second(stored) - begin, 0))
            yield stored


def _second(stored: RawBSONDocument) -> int:
    return int(stored["cluster_time"].time)
