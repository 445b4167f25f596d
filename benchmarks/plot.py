"""Draws the throughput figures as bars, into an SVG that needs nothing but a browser.

Usage: python benchmarks/plot.py RESULT.json PICTURE.svg
"""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.figures import Figure, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WIDTH, _LEFT, _RIGHT, _ROW, _HEAD, _GAP = 900, 270, 90, 20, 30, 14
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.h{font-weight:600}.b{fill:#8c959f}.w{fill:#1a7f64}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.b{fill:#6e7681}.w{fill:#3fb68b}}"
)


def main() -> None:
    """Read a result and draw it."""
    source, target = map(Path, sys.argv[1:])
    target.write_text(svg([Figure(**line) for line in json.loads(source.read_text())["figures"]]))


def svg(figures: Iterable[Figure], part: str = "throughput") -> str:
    """Draw one part's figures: a group of bars for each kind of work.

    Args:
        figures: as measured.
        part: which of them.
    """
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure.part == part:
            groups.setdefault(f"{figure.work}, {figure.unit}", []).append(figure)
    body: list[str] = []
    y = 0
    for name, lines in groups.items():
        y = _group(body, y, name, lines)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" role="img"><title>{escape(part)}</title>'
    )
    return "\n".join([head, f"<style>{_STYLE}</style>", *body, "</svg>"]) + "\n"


def _group(body: list[str], y: int, name: str, lines: Sequence[Figure]) -> int:
    body.append(f'<text class="h" x="8" y="{y + 20}">{escape(name)}</text>')
    y += _HEAD
    most = max(line.value for line in lines)
    for line in lines:
        width = (_WIDTH - _LEFT - _RIGHT) * line.value / most
        mine = "w" if line.peer.startswith("watcher") else "b"
        body.append(f'<text x="{_LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(line.peer)}</text>')
        body.append(f'<rect class="{mine}" x="{_LEFT}" y="{y + 3}" width="{width:.1f}" height="{_ROW - 6}" rx="2"/>')
        body.append(f'<text x="{_LEFT + width + 6:.1f}" y="{y + 14}">{shown(line.value)}</text>')
        y += _ROW
    return y + _GAP


if __name__ == "__main__":
    main()
