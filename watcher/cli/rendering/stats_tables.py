"""`watcher stats` as tables with bars, or as JSON."""

from __future__ import annotations

import sys
from datetime import timedelta
from functools import reduce
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from bson import Int64

from change_history.bson import extended_json
from change_history.query.stats import Numbers
from watcher.cli.rendering import tables
from watcher.cli.rendering.value_text import printable, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date, datetime, tzinfo

MOST_DAYS = 31
"""So many of the last days a terminal gets."""

_MOST_ROWS = 20
_LONGEST_PAUSE = timedelta(days=31)
_CELLS = 60
_NUMBERS = ("documents", "events", "changes", "bytes")
_NOTHING = Numbers(0, 0, 0, 0)


class Found(NamedTuple):
    """What was counted; see `change_history.query.stats.Stats`."""

    collections: list[tuple[str, Numbers]]
    days: list[tuple[datetime, str, Numbers]]
    documents: list[tuple[str, Any, Numbers]]
    fields: list[tuple[str, str, int]]


def print_json(found: Found) -> None:
    """Print one count a line: the total, each collection, each day of each collection, documents, fields."""
    lines: list[dict[str, Any]] = [{"by": "total", **_named(_total(found))}]
    lines += [{"by": "collection", "namespace": name, **_named(numbers)} for name, numbers in found.collections]
    lines += [{"by": "day", "day": day, "namespace": name, **_named(numbers)} for day, name, numbers in found.days]
    lines += [
        {"by": "document", "namespace": name, "document_id": document_id, **_named(numbers)}
        for name, document_id, numbers in found.documents
    ]
    lines += [
        {"by": "field", "namespace": name, "field": field, "changes": Int64(changes)}
        for name, field, changes in found.fields
    ]
    for line in lines:
        click.echo(extended_json.dumps(line))


def print_tables(found: Found, zone: tzinfo | None, *, with_namespaces: bool) -> None:
    """Print four tables and a total.

    Args:
        found: what was counted, at least one event.
        zone: of the days; None: the local one.
        with_namespaces: several collections were asked for.
    """
    whole = not sys.stdout.isatty()
    collections = sorted(found.collections, key=lambda item: -item[1].events)
    by_collection = [_row([printable(name)], numbers) for name, numbers in collections]
    _show("By collection", ["collection"], by_collection, whole=whole)
    days = list(_days(found, zone))
    shown = days if whole else days[-MOST_DAYS:]
    rest = (
        f"  the last {len(shown)} of {len(days):,} days; a pipe to `less` shows all" if len(shown) < len(days) else ""
    )
    tables.show_bars("By day", ["day", *_NUMBERS], shown, rest=rest)
    about = ["collection"] if with_namespaces else []

    def labels(namespace: str, *more: str) -> list[str]:
        return [*([printable(namespace)] if with_namespaces else []), *more]

    documents = [_row(labels(name, text_of(key, _CELLS)), numbers) for name, key, numbers in found.documents]
    if documents:
        columns = [*about, "document", *_NUMBERS[1:]]
        tables.show_bars("Busiest documents", columns, [row._replace(numbers=row.numbers[1:]) for row in documents])
    fields = [
        tables.Row(labels(name, printable(field) or "(whole document)"), [tables.number(changes)], changes)
        for name, field, changes in found.fields
    ]
    if fields:
        tables.show_bars("Busiest fields", [*about, "field", "changes"], fields)
    total = _total(found)
    said = (tables.words(total.documents, "document"), tables.words(total.events, "event"))
    click.echo(f"{', '.join(said)}, {tables.words(total.changes, 'change')}, {tables.size(total.bytes)}")


def _show(title: str, labels: list[str], rows: list[tables.Row], *, whole: bool) -> None:
    shown = rows if whole else rows[:_MOST_ROWS]
    rest = f"  … and {len(rows) - len(shown):,} more; a pipe to `less` shows all" if len(shown) < len(rows) else ""
    tables.show_bars(title, [*labels, *_NUMBERS], shown, rest=rest)


def _days(found: Found, zone: tzinfo | None) -> Iterator[tables.Row]:
    """A row for each day; days without events too, so that the bars stand in their places, but no long pauses."""
    last: date | None = None
    for start, of_day in groupby(found.days, key=lambda item: item[0]):
        # Noon is in the same day, also where midnight is skipped or comes twice.
        day = (start + timedelta(hours=12)).astimezone(zone).date()
        if last is not None and day - last > _LONGEST_PAUSE:
            yield tables.Row(["…"], [""] * len(_NUMBERS), 0)
        elif last is not None:
            for number in range(1, (day - last).days):
                yield _row([(last + timedelta(days=number)).isoformat()], _NOTHING)
        yield _row([day.isoformat()], reduce(Numbers.plus, (numbers for _, _, numbers in of_day)))
        last = day


def _row(labels: list[str], numbers: Numbers) -> tables.Row:
    *small, size = numbers
    return tables.Row(labels, [*map(tables.number, small), tables.size(size)], numbers.events)


def _total(found: Found) -> Numbers:
    return reduce(Numbers.plus, (numbers for _, numbers in found.collections), _NOTHING)


def _named(numbers: Numbers) -> dict[str, Int64]:
    return {name: Int64(value) for name, value in numbers._asdict().items()}
