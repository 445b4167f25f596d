"""Counts as tables with bars or as JSON: of `watcher stats`, and of `watcher log --stat`."""

from __future__ import annotations

import sys
from datetime import timedelta
from functools import reduce
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click
from bson import Int64

from change_history.bson import extended_json
from change_history.query.stats import Numbers
from watcher.cli.rendering import actors, terminal
from watcher.words.value_text import number, printable, text_of, words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date, datetime, tzinfo

    from change_history.query.actors import Authors
    from change_history.query.stats import Everything
    from change_history.query.summary import Count, Summary


MOST_DAYS = 31
"""Number of recent days that are shown on a terminal."""

_MOST_ROWS = 20
_LONGEST_PAUSE = timedelta(days=31)
_CELLS = 60
_NUMBERS = ("documents", "events", "changes", "bytes")
_NOTHING = Numbers(0, 0, 0, 0)


def stats_json(found: Everything) -> None:
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


def stats_tables(found: Everything, zone: tzinfo | None, *, with_namespaces: bool) -> None:
    """Print four tables and a total, of at least one event."""
    whole = not sys.stdout.isatty()
    collections = sorted(found.collections, key=lambda item: -item[1].events)
    by_collection = [_row([printable(name)], numbers) for name, numbers in collections]
    _show("By collection", ["collection"], by_collection, whole=whole)
    days = list(_days(found, zone))
    shown = days if whole else days[-MOST_DAYS:]
    rest = (
        f"  the last {len(shown)} of {len(days):,} days; a pipe to `less` shows all" if len(shown) < len(days) else ""
    )
    terminal.show_bars("By day", ["day", *_NUMBERS], shown, rest=rest)
    about = ["collection"] if with_namespaces else []

    def labels(namespace: str, *more: str) -> list[str]:
        return [*([printable(namespace)] if with_namespaces else []), *more]

    documents = [_row(labels(name, text_of(key, _CELLS)), numbers) for name, key, numbers in found.documents]
    if documents:
        columns = [*about, "document", *_NUMBERS[1:]]
        terminal.show_bars("Busiest documents", columns, [row._replace(numbers=row.numbers[1:]) for row in documents])
    fields = [
        terminal.BarRow(labels(name, printable(field) or "(whole document)"), [number(changes)], changes)
        for name, field, changes in found.fields
    ]
    if fields:
        terminal.show_bars("Busiest fields", [*about, "field", "changes"], fields)
    total = _total(found)
    said = (words(total.documents, "document"), words(total.events, "event"))
    click.echo(f"{', '.join(said)}, {words(total.changes, 'change')}, {terminal.size(total.bytes)}")


def _show(title: str, labels: list[str], rows: list[terminal.BarRow], *, whole: bool) -> None:
    shown = rows if whole else rows[:_MOST_ROWS]
    rest = f"  … and {len(rows) - len(shown):,} more; a pipe to `less` shows all" if len(shown) < len(rows) else ""
    terminal.show_bars(title, [*labels, *_NUMBERS], shown, rest=rest)


def _days(found: Everything, zone: tzinfo | None) -> Iterator[terminal.BarRow]:
    """A row for each day, also without events, so that the bars keep their places; long pauses are left out."""
    last: date | None = None
    for start, of_day in groupby(found.days, key=lambda item: item[0]):
        # Noon exists once on each day; clock changes may skip or repeat midnight.
        day = (start + timedelta(hours=12)).astimezone(zone).date()
        if last is not None and day - last > _LONGEST_PAUSE:
            yield terminal.BarRow(["…"], [""] * len(_NUMBERS), 0)
        elif last is not None:
            for number in range(1, (day - last).days):
                yield _row([(last + timedelta(days=number)).isoformat()], _NOTHING)
        yield _row([day.isoformat()], reduce(Numbers.plus, (numbers for _, _, numbers in of_day)))
        last = day


def _row(labels: list[str], numbers: Numbers) -> terminal.BarRow:
    *small, size = numbers
    return terminal.BarRow(labels, [*map(number, small), terminal.size(size)], numbers.events)


def _total(found: Everything) -> Numbers:
    return reduce(Numbers.plus, (numbers for _, numbers in found.collections), _NOTHING)


def _named(numbers: Numbers) -> dict[str, Int64]:
    return {name: Int64(value) for name, value in numbers._asdict().items()}


def actors_json(found: Authors) -> None:
    """Print one count a line: the total, each actor by provenance, what is unknown by collection and operation."""
    lines: list[dict[str, Any]] = [
        {"by": "total", "events": Int64(found.events), "unknown": Int64(found.unknown)},
        *(
            {"by": "actor", "actor": one.actor, "provenance": one.provenance, "events": Int64(one.events)}
            for one in found.actors
        ),
        *(
            {"by": actors.UNKNOWN, "namespace": one.namespace, "operation": one.operation, "events": Int64(one.events)}
            for one in found.unknown_by
        ),
    ]
    for line in lines:
        click.echo(extended_json.dumps(line))


def actors_tables(found: Authors) -> None:
    """Print the numbers of events by actor and of unknown actors, with their shares."""
    whole = not sys.stdout.isatty()
    by_actor = [
        terminal.BarRow(
            [actors.named(one.actor, _CELLS), printable(one.provenance)],
            _with_share(one.events, found.events),
            one.events,
        )
        for one in found.actors
    ]
    if found.unknown:
        by_actor.append(terminal.BarRow([actors.UNKNOWN, ""], _with_share(found.unknown, found.events), found.unknown))
    _show_shares("By actor", ["actor", "provenance"], by_actor, whole=whole)
    of_nobody = [
        terminal.BarRow(
            [printable(one.namespace), printable(one.operation)], _with_share(one.events, found.unknown), one.events
        )
        for one in found.unknown_by
    ]
    if of_nobody:
        _show_shares("Unknown, by collection and operation", ["collection", "operation"], of_nobody, whole=whole)
    known = found.events - found.unknown
    click.echo(
        f"{words(found.events, 'event')}: who did it is known of {number(known)} ({_share(known, found.events)}), "
        f"unknown of {number(found.unknown)} ({_share(found.unknown, found.events)})"
    )


def _show_shares(title: str, labels: list[str], rows: list[terminal.BarRow], *, whole: bool) -> None:
    shown = rows if whole else rows[:_MOST_ROWS]
    rest = f"  … and {len(rows) - len(shown):,} more; a pipe to `less` shows all" if len(shown) < len(rows) else ""
    terminal.show_bars(title, [*labels, "events", "share"], shown, rest=rest)


def _with_share(events: int, of: int) -> list[str]:
    return [number(events), _share(events, of)]


def _share(events: int, of: int) -> str:
    """A share in percent that is rounded neither to 0 nor to 100."""
    percent = 100 * events / of if of else 0.0
    if 0 < percent < 0.1:  # noqa: PLR2004 - the smallest share that one decimal shows
        return "< 0.1 %"
    if 99.9 < percent < 100:  # noqa: PLR2004 - likewise
        return "> 99.9 %"
    return f"{percent:.1f} %"


_WHOLE = "(whole document)"
_NO_TIME = "(no time)"


def summary_json(summary: Summary) -> None:
    """Print one count a line: the total, by field, by hour, by collection; by actor where one is known."""
    total = {"by": "total", **_both(summary.total)}
    lines: list[dict[str, Any]] = [total | ({"gaps": Int64(summary.gaps)} if summary.gaps else {})]
    lines += [{"by": "field", "field": name, "changes": Int64(count)} for name, count in summary.fields.most_common()]
    if summary.other_fields:
        lines.append({"by": "field", "changes": Int64(summary.other_fields)})
    lines += [{"by": "hour", "hour": hour, **_both(count)} for hour, count in _hours(summary)]
    lines += [
        {"by": "collection", "namespace": name, **_both(count)} for name, count in sorted(summary.collections.items())
    ]
    lines += [
        {"by": "actor", **({"actor": actor} if actor is not None else {}), "events": Int64(count)}
        for actor, count in _actors(summary)
    ]
    for line in lines:
        click.echo(extended_json.dumps(line))


def summary_tables(summary: Summary, *, whole: bool) -> None:
    """Print a few tables and a total, of at least one event; all rows if `whole`, else as many as fit a terminal."""
    fields = [
        terminal.BarRow([printable(name) or _WHOLE], [number(count)], count)
        for name, count in summary.fields.most_common()
    ]
    if summary.other_fields:
        fields.append(terminal.BarRow(["(others)"], [number(summary.other_fields)], summary.other_fields))
    hours = [_summary_row(_hour_text(hour, summary), count) for hour, count in _hours(summary)]
    collections = [_summary_row(printable(name), count) for name, count in sorted(summary.collections.items())]
    by_actor = [
        terminal.BarRow([actors.named(actor, _CELLS) if actor is not None else actors.UNKNOWN], [number(count)], count)
        for actor, count in _actors(summary)
    ]
    for title, columns, rows in (
        ("Changes by field", ("field", "changes"), fields),
        ("By hour", ("hour", "events", "changes"), hours),
        ("By collection", ("collection", "events", "changes"), collections),
        ("By actor", ("actor", "events"), by_actor),
    ):
        if rows:
            # Fields are sorted by count, the highest first; hours by time, the latest last.
            some = rows if whole else rows[-_MOST_ROWS:] if rows is hours else rows[:_MOST_ROWS]
            rest = (
                f"  … and {len(rows) - len(some):,} more; a pipe to `less` shows all" if len(some) < len(rows) else ""
            )
            terminal.show_bars(title, columns, some, rest=rest)
    click.echo(f"{words(summary.total.changes, 'change')} in {words(summary.total.events, 'event')}")
    if summary.gaps:
        click.echo(f"What happened in {words(summary.gaps, 'gap')} is not known: see `watcher gaps`.")


def _actors(summary: Summary) -> list[tuple[Any, int]]:
    """The numbers of events by actor; empty if no actor is known."""
    return summary.actors.most_common() if summary.actors.keys() - {None} else []


def _hours(summary: Summary) -> list[tuple[datetime | None, Count]]:
    return sorted(summary.hours.items(), key=lambda item: (item[0] is None, item[0]))


def _hour_text(hour: datetime | None, summary: Summary) -> str:
    return hour.astimezone(summary.zone).isoformat(" ", "minutes") if hour is not None else _NO_TIME


def _summary_row(label: str, count: Count) -> terminal.BarRow:
    return terminal.BarRow([label], [number(count.events), number(count.changes)], count.changes)


def _both(count: Count) -> dict[str, Int64]:
    return {"events": Int64(count.events), "changes": Int64(count.changes)}
