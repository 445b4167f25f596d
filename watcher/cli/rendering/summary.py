"""`watcher log --stat`: what was counted, as tables or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from bson import Int64

from change_history.bson import extended_json
from watcher.cli.rendering import tables
from watcher.cli.rendering.value_text import printable

if TYPE_CHECKING:
    from datetime import datetime

    from change_history.query.summary import Count, Summary

_MOST_ROWS = 20
_WHOLE = "(whole document)"
_NO_TIME = "(no time)"


def print_json(summary: Summary) -> None:
    """Print one count a line: the total, by field, by hour, by collection."""
    total = {"by": "total", **_both(summary.total)}
    lines: list[dict[str, Any]] = [total | ({"gaps": Int64(summary.gaps)} if summary.gaps else {})]
    lines += [{"by": "field", "field": name, "changes": Int64(count)} for name, count in summary.fields.most_common()]
    if summary.other_fields:
        lines.append({"by": "field", "changes": Int64(summary.other_fields)})
    lines += [{"by": "hour", "hour": hour, **_both(count)} for hour, count in _hours(summary)]
    lines += [
        {"by": "collection", "namespace": name, **_both(count)} for name, count in sorted(summary.collections.items())
    ]
    for line in lines:
        click.echo(extended_json.dumps(line))


def print_tables(summary: Summary, *, whole: bool) -> None:
    """Print three tables and a total.

    Args:
        summary: what was counted, at least one event.
        whole: all rows; otherwise the first of each, for a terminal.
    """
    fields = [
        tables.Row([printable(name) or _WHOLE], [tables.number(count)], count)
        for name, count in summary.fields.most_common()
    ]
    if summary.other_fields:
        fields.append(tables.Row(["(others)"], [tables.number(summary.other_fields)], summary.other_fields))
    hours = [_row(_hour_text(hour, summary), count) for hour, count in _hours(summary)]
    collections = [_row(printable(name), count) for name, count in sorted(summary.collections.items())]
    for title, columns, rows in (
        ("Changes by field", ("field", "changes"), fields),
        ("By hour", ("hour", "events", "changes"), hours),
        ("By collection", ("collection", "events", "changes"), collections),
    ):
        if rows:
            # Of fields the busiest come first, of hours the latest last.
            some = rows if whole else rows[-_MOST_ROWS:] if rows is hours else rows[:_MOST_ROWS]
            rest = (
                f"  … and {len(rows) - len(some):,} more; a pipe to `less` shows all" if len(some) < len(rows) else ""
            )
            tables.show_bars(title, columns, some, rest=rest)
    click.echo(f"{tables.words(summary.total.changes, 'change')} in {tables.words(summary.total.events, 'event')}")
    if summary.gaps:
        click.echo(f"What happened in {tables.words(summary.gaps, 'gap')} is not known: see `watcher gaps`.")


def _hours(summary: Summary) -> list[tuple[datetime | None, Count]]:
    return sorted(summary.hours.items(), key=lambda item: (item[0] is None, item[0]))


def _hour_text(hour: datetime | None, summary: Summary) -> str:
    return hour.astimezone(summary.zone).isoformat(" ", "minutes") if hour is not None else _NO_TIME


def _row(label: str, count: Count) -> tables.Row:
    return tables.Row([label], [tables.number(count.events), tables.number(count.changes)], count.changes)


def _both(count: Count) -> dict[str, Int64]:
    return {"events": Int64(count.events), "changes": Int64(count.changes)}
