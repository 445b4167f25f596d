"""`watcher gaps`: what was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from watcher.cli import session
from watcher.cli.parsing.options import utc_option

if TYPE_CHECKING:
    from datetime import tzinfo

    from bson.raw_bson import RawBSONDocument

    from watcher.cli.session import Context

_COLUMNS = ("from", "to", "how long", "stream", "watched", "cause")


@click.command(epilog="Exit status: 0 also where there are none, 2 wrong usage, 4 the deployment does not answer.")
@click.option("--json", "as_json", is_flag=True, help="One history document a line, in canonical Extended JSON.")
@utc_option
@click.pass_obj
def gaps(context: Context, *, as_json: bool, zone: tzinfo | None) -> None:
    """List what was lost: intervals of which nothing is known, oldest first.

    Changes of what was watched that were made in such an interval are not in the history. `watcher log` shows each of
    them in its place.
    """
    from watcher.cli.rendering import event_words

    with context.history() as history:
        found = list(history.stored_gaps())
    if as_json:
        session.speak_utf8()
        for stored in found:
            event_words.json_line(stored)
    elif found:
        session.survive_any_character()
        _show(found, zone)
    else:
        click.echo("no gaps")


def _show(found: list[RawBSONDocument], zone: tzinfo | None) -> None:
    from change_history.query.gaps import view
    from change_history.stored.event import to_event
    from watcher.cli.rendering import event_words, terminal
    from watcher.words import times
    from watcher.words.value_text import printable

    terminal.show_table(
        _COLUMNS,
        [
            (
                times.clock(gap.since, zone),
                times.clock(gap.until, zone),
                event_words.gap_length(gap),
                printable(gap.stream),
                event_words.gap_watched(gap),
                printable(gap.cause),
            )
            for gap in map(view, map(to_event, found))
        ],
    )
