"""Output for terminals: tables of text, tables of numbers with bars, and the progress of long operations.

Tables are fitted to the terminal; elsewhere, lines are not shortened.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from rich import box
from rich.bar import Bar
from rich.cells import cell_len
from rich.console import Console, Group
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rich.console import RenderableType
    from rich.progress import Progress, ProgressColumn


_NO_TERMINAL = 100_000
"""Cells of a line without a terminal: `grep` and `less` cut lines themselves."""


_BETWEEN = 3
"""Cells between two columns; the table's edges have one fewer."""
_LONGEST_WORD = 30
"""Terminal cells of the longest word that is not broken, if the terminal is wide enough."""


class PipedConsole(Console):
    """A console that leaves the handling of a closed pipe to its caller."""

    def on_broken_pipe(self) -> None:
        """Raise BrokenPipeError, instead of ending the program with an error."""
        raise BrokenPipeError


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]], styles: Mapping[str, str] | None = None) -> None:
    """Print a table on standard output; `styles` gives cells with some text a style. Cells are not parsed as markup."""
    console = Console(width=None if sys.stdout.isatty() else _NO_TERMINAL, highlight=False)
    table = Table(box=box.SIMPLE_HEAD)
    cells = [tuple(row) for row in rows]
    for column, width in zip(columns, _widths([tuple(columns), *cells], console.width), strict=True):
        table.add_column(column, overflow="fold", width=width)  # a narrow terminal hides nothing
    for row in cells:
        table.add_row(*(Text(cell, (styles or {}).get(cell, "")) for cell in row))
    console.print(table)


def _widths(rows: Sequence[Sequence[str]], room: int) -> Sequence[int | None]:
    """The width of each column: the widest shrink first, and words are broken last. None: the library decides."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    room -= len(columns) * _BETWEEN + 1
    if sum(widths) <= room:
        return [None] * len(columns)
    words = [max(map(cell_len, " ".join(column).split()), default=1) for column in columns]
    least = [min(word, _LONGEST_WORD) for word in words]
    if sum(least) > room:
        return [None] * len(columns)
    while sum(widths) > room:
        widest = max(range(len(widths)), key=lambda place: (widths[place] > least[place], widths[place]))
        widths[widest] = max(least[widest], widths[widest] - max(1, (sum(widths) - room) // len(widths)))
    return widths


_BAR_CELLS = 24


class BarRow(NamedTuple):
    """One row: its labels, its formatted numbers, and the length of its bar."""

    labels: Sequence[str]
    numbers: Sequence[str]
    length: int


def size(count: int) -> str:
    """A number of bytes: `12.3 kB`."""
    return decimal(count)


def show_bars(title: str, columns: Sequence[str], rows: Sequence[BarRow], *, rest: str = "") -> None:
    """Print a table with bars on standard output, with its title above, and `rest` below.

    The columns are of the labels, then of the numbers; there is at least one row.
    """
    console = Console(width=None if sys.stdout.isatty() else _NO_TERMINAL, highlight=False)
    longest = max(*(row.length for row in rows), 1)
    with_bars = console.encoding.startswith("utf")
    table = Table(box=box.SIMPLE_HEAD, title=Text(title, "bold"), title_justify="left")
    labels = len(rows[0].labels)
    for position, column in enumerate(columns):
        table.add_column(column, overflow="fold", justify="left" if position < labels else "right")
    if with_bars:
        table.add_column("")
    for row in rows:
        cells: list[RenderableType] = [*map(Text, row.labels), *map(Text, row.numbers)]
        if with_bars:
            cells.append(Bar(longest, 0, row.length, width=_BAR_CELLS, color="blue"))
        table.add_row(*cells)
    console.print(Group(table, Text(rest, "dim")) if rest else table)


Item = TypeVar("Item")

_EVERY = 200
"""Number of items between two updates of the counter."""


def counted(items: Iterable[Item], doing: str) -> Iterator[Item]:
    """Pass items on, and show their number so far."""
    with _shown(doing) as progress:
        for count, item in enumerate(items, start=1):
            if count % _EVERY == 0:
                progress.update(progress.task_ids[0], count=f"{count:,}")
            yield item


@contextmanager
def working(doing: str) -> Iterator[None]:
    """Show that an operation is running."""
    with _shown(doing):
        yield


@contextmanager
def step_by_step() -> Iterator[Callable[[str], None]]:
    """Show which of several steps is running; the caller names each as it begins."""
    with _shown("") as progress:
        yield lambda step: progress.update(progress.task_ids[0], count=step)


@contextmanager
def bar(doing: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show the progress of an operation; the caller reports the number of further steps done of `total`."""
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    with _on_stderr(TextColumn(doing), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()) as progress:
        task = progress.add_task("", total=total)
        yield lambda steps: progress.advance(task, steps)


@contextmanager
def _shown(doing: str) -> Iterator[Progress]:
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn(doing), TextColumn("{task.fields[count]}"), TimeElapsedColumn())
    with _on_stderr(*columns) as progress:
        progress.add_task("", total=None, count="")
        yield progress


def _on_stderr(*columns: ProgressColumn) -> Progress:
    from rich.progress import Progress

    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
