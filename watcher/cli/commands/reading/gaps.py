"""`watcher gaps`: what was lost."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

import click

from watcher.cli.rendering import output

if TYPE_CHECKING:
    from watcher.cli.main import Context

_COLUMNS = ("from", "to", "how long", "stream", "watched", "cause")


@click.command(epilog="Exit status: 0 also where there are none, 2 wrong usage, 4 the deployment does not answer.")
@click.option("--json", "as_json", is_flag=True, help="One history document a line, in canonical Extended JSON.")
@click.option("--utc", is_flag=True, help="Show times in UTC instead of the local zone.")
@click.pass_obj
def gaps(context: Context, *, as_json: bool, utc: bool) -> None:
    """List what was lost: intervals of which nothing is known, oldest first.

    Changes of what was watched that were made in such an interval are not in the history. `watcher log` shows each of
    them in its place.
    """
    from change_history.query.gaps import view
    from change_history.stored.event import to_event
    from watcher.cli.connection import open_history
    from watcher.cli.parsing import moments
    from watcher.cli.rendering import gap_text, render, tables
    from watcher.cli.rendering.value_text import printable

    zone = UTC if utc else None
    with open_history(context.settings()) as history:
        found = list(history.stored_gaps())
    if as_json:
        output.speak_utf8()
        for stored in found:
            render.json_line(stored)
        return
    if not found:
        click.echo("no gaps")
        return
    output.survive_any_character()
    read = [view(to_event(stored)) for stored in found]
    rows = [
        (
            moments.clock(gap.since, zone),
            moments.clock(gap.until, zone),
            gap_text.length(gap),
            printable(gap.stream),
            gap_text.watched(gap),
            printable(gap.cause),
        )
        for gap in read
    ]
    tables.show(_COLUMNS, rows)
