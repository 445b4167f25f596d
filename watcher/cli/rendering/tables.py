"""Tables: fitted to the terminal, and with whole lines elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
