"""Tables, of words or of numbers with bars: fitted to the terminal, and with whole lines elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from rich import box
from rich.bar import Bar
from rich.console import Console, Group
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import RenderableType


_NO_TERMINAL = 100_000
"""Width where there is no terminal to fit: `grep` and `less` cut lines themselves."""


def show(columns: Sequence[str], rows: Iterable[Sequence[str]], styles: Mapping[str, str] | None = None) -> None:
    """Print a table on standard output. Nothing in a cell is taken for markup.

    Args:
        columns: their headings.
        rows: their cells.
        styles: of rich, for cells that say just this.
    """
    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")  # a narrow terminal hides nothing
    for row in rows:
        table.add_row(*(Text(cell, (styles or {}).get(cell, "")) for cell in row))
    Console(width=None if sys.stdout.isatty() else _NO_TERMINAL, highlight=False).print(table)


_BAR_CELLS = 24


class Row(NamedTuple):
    """One row.

    Attributes:
        labels: what is counted.
        numbers: as they are shown.
        length: what the bar shows.
    """

    labels: Sequence[str]
    numbers: Sequence[str]
    length: int


def number(count: int) -> str:
    """A number with its thousands apart: `12,345`."""
    return f"{count:,}"


def words(count: int, noun: str) -> str:
    """A number and what it counts: `1 event`, `2,000 events`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size(count: int) -> str:
    """A number of bytes: `12.3 kB`."""
    return decimal(count)


def show_bars(title: str, columns: Sequence[str], rows: Sequence[Row], *, rest: str = "") -> None:
    """Print a table on standard output. Nothing in a cell is taken for markup.

    Args:
        title: stands above it.
        columns: of the labels, then of the numbers.
        rows: at least one.
        rest: what is not in it, if anything.
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
