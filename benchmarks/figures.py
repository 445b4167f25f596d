"""The benchmark's result: one table of figures, each absolute and, where there is something to compare, as a ratio."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        part: of the benchmark.
        work: what was done.
        peer: who did it.
        value: the figure itself.
        unit: of the value.
        ratios: the value as a multiple of that of another peer in the same run, by its name.
        note: how to read it, where that needs saying.
        values: of each repetition, where there were several and the value is their median.
    """

    part: str
    work: str
    peer: str
    value: float
    unit: str
    ratios: dict[str, float]
    note: str = ""
    values: tuple[float, ...] = ()


class Figures:
    """Collects the figures; tells of each on stderr as it comes."""

    def __init__(self) -> None:
        self.lines: list[Figure] = []

    def add(
        self,
        part: str,
        work: str,
        peer: str,
        value: float,
        unit: str,
        *,
        beside: dict[str, float] | None = None,
        note: str = "",
        values: tuple[float, ...] = (),
    ) -> None:
        """Add a figure.

        Args:
            part: as of `Figure`.
            work: as of `Figure`.
            peer: as of `Figure`.
            value: as of `Figure`.
            unit: as of `Figure`.
            beside: the same figure of other peers, in the same unit.
            note: as of `Figure`.
            values: as of `Figure`.
        """
        ratios = {name: value / other for name, other in (beside or {}).items() if other > 0 and name != peer}
        figure = Figure(part, work, peer, value, unit, ratios, note, values)
        self.lines.append(figure)
        print(
            f"{part}: {work}: {peer}: {shown(value)} {unit}  {ratios_of(figure).replace(chr(10), ', ')}",
            file=sys.stderr,
            flush=True,
        )

    def table(self) -> Table:
        """All figures, for people."""
        table = Table(box=box.SIMPLE_HEAD)
        for name in ("part", "work", "peer"):
            table.add_column(name)
        table.add_column("absolute", justify="right", no_wrap=True)
        table.add_column("unit", no_wrap=True)
        table.add_column("as a ratio", no_wrap=True)
        table.add_column("note")
        before = ("", "")
        for line in self.lines:
            part = line.part if line.part != before[0] else ""
            work = line.work if (line.part, line.work) != before else ""
            table.add_row(part, work, line.peer, shown(line.value), line.unit, ratios_of(line), line.note)
            before = line.part, line.work
        return table

    def show(self) -> None:
        """Print the table; wide enough for a file, too."""
        console = Console()
        Console(width=max(console.width, 190)).print(self.table())

    def write(self, path: Path, about: dict[str, Any]) -> None:
        """Write them as JSON, under what is to be known about the run."""
        path.write_text(json.dumps({**about, "figures": [asdict(line) for line in self.lines]}, indent=2) + "\n")


def shown(value: float) -> str:
    """A number with as many decimals as mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.2f}"


def ratios_of(line: Figure) -> str:
    """The ratios of a figure in words, one a line."""
    return "\n".join(f"{ratio:.2f} of {name}" for name, ratio in line.ratios.items())
