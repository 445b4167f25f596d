"""Writes a whole run into the page about performance, in place of the run that it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.figures import shown
from benchmarks.throughput import DEBEZIUM, EARLIER, PART, READER, SECOND, WATCHER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from benchmarks.figures import Figure

_HEADING = "## A run\n"
_COMMAND = "make bench ARGS=--publish"
_SHORT = {
    WATCHER: "watcher",
    SECOND: "second `mongod`",
    EARLIER: "earlier build",
    DEBEZIUM: "Debezium, bulk",
    "Debezium, JSON thrown away": "Debezium, thrown away",
    "plain pymongo loop": "pymongo loop",
    "mongoengine, save() per event": "mongoengine, `save()`",
}


def publish(page: Path, figures: list[Figure], about: dict[str, Any]) -> None:
    """Put a run in place of the one that a page shows: its section `A run`, up to the next heading."""
    text = page.read_text()
    start = text.index(_HEADING)
    end = text.find("\n## ", start)
    rest = text[end:] if end >= 0 else ""
    page.write_text(text[:start] + "\n".join(_section(figures, about)) + "\n" + rest)


def _section(figures: list[Figure], about: dict[str, Any]) -> Iterator[str]:
    machine, versions = about["machine"], about["versions"]
    others = f", Debezium {versions['debezium']}" if "debezium" in versions else ""
    yield _HEADING
    yield f"`{_COMMAND}`, begun at {about['begun_at']}, with a load average of {about['load_before']:.1f}:"
    yield f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gb']} GB; mongod {versions['mongod']},"
    yield f"Python {versions['python']}, pymongo {versions['pymongo']}{others}; commit `{versions['commit']}`."
    yield f"It took {about['took_s'] / 60:.0f} minutes. All figures, with those of each repetition:"
    yield "[performance.json](performance.json)."
    if about["failed"]:
        yield f"\nThese parts failed: {', '.join(about['failed'])}."
    yield "\n![events a second, by kind of writes](performance.svg)\n"
    yield "Events a second:\n"
    yield from _throughput([figure for figure in figures if figure.part == PART])
    yield "\nThe rest:\n"
    yield from _others([figure for figure in figures if figure.part != PART])


def _throughput(figures: list[Figure]) -> Iterator[str]:
    peers = list(dict.fromkeys(figure.peer for figure in figures))
    by_work: dict[str, dict[str, Figure]] = {}
    for figure in figures:
        by_work.setdefault(figure.work, {})[figure.peer] = figure
    columns = [_SHORT.get(peer, peer) for peer in peers]
    ratios = ["watcher : reader", "second `mongod` : reader", "watcher : Debezium, bulk", "watcher : earlier build"]
    yield _row(["", *columns, *ratios, "daemon CPU, µs"])
    yield _row(["---", *["---:"] * (len(columns) + len(ratios) + 1)])
    for work, found in by_work.items():
        pairs = ((WATCHER, READER), (SECOND, READER), (WATCHER, DEBEZIUM), (WATCHER, EARLIER))
        notes = [part for part in found[WATCHER].note.split("; ") if "seed" in part] if WATCHER in found else []
        cpu = (
            next((part.split()[0] for part in found[WATCHER].note.split("; ") if "CPU" in part), "")
            if WATCHER in found
            else ""
        )
        named = f"{work} ({notes[0]})" if notes else work
        yield _row(
            [
                named,
                *(shown(found[peer].value) if peer in found else "" for peer in peers),
                *(_ratio(found, *pair) for pair in pairs),
                cpu,
            ]
        )


def _ratio(found: dict[str, Figure], one: str, other: str) -> str:
    return f"{found[one].value / found[other].value:.2f}" if one in found and other in found else ""


def _others(figures: list[Figure]) -> Iterator[str]:
    yield _row(["", "", "who", "figure", "as a ratio"])
    yield _row(["---", "---", "---", "---:", "---"])
    for figure in figures:
        ratios = ", ".join(f"{ratio:.2f} of {name}" for name, ratio in figure.ratios.items())
        note = f" ({figure.note})" if figure.note else ""
        yield _row([figure.part, figure.work, figure.peer, f"{shown(figure.value)} {figure.unit}{note}", ratios])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
