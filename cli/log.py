"""`watcher log`: what changed, oldest first, as it is recorded if wanted."""

from __future__ import annotations

import sys
from threading import Event
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cli import exit_codes, output
from cli.parse import DocumentId, Namespace, Time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bson.raw_bson import RawBSONDocument

    from cli.main import Context
    from history import History, Selection

NEWEST_ON_TERMINAL = 100
"""How many events a terminal gets unless `--limit` says otherwise."""


@click.command(epilog="Exit status: 0 found, 2 wrong usage, 3 nothing recorded, 4 the deployment does not answer.")
@click.argument("namespace", metavar="NS", type=Namespace())
@click.argument("document_id", metavar="[ID]", type=DocumentId(), required=False)
@click.option("--field", metavar="PATH", help="Only this field and what is below it: address includes address.city.")
@click.option("--since", metavar="TIME", type=Time(), help="Only from this moment on, the moment included.")
@click.option("--until", metavar="TIME", type=Time(), help="Only up to this moment, the moment included.")
@click.option(
    "-n",
    "--limit",
    metavar="N",
    type=click.IntRange(min=1),
    help=f"Only the newest N events. [default: {NEWEST_ON_TERMINAL} on a terminal, else all]",
)
@click.option("--json", "as_json", is_flag=True, help="One history document a line, in canonical Extended JSON.")
@click.option(
    "-f",
    "--follow",
    is_flag=True,
    help="Go on with new events as they come, until Ctrl-C or the deployment stays away.",
)
@click.option("--utc", is_flag=True, help="Show times in UTC instead of the local zone.")
@click.pass_obj
def log(
    context: Context,
    *,
    namespace: str,
    document_id: Any,
    field: str | None,
    since: Any,
    until: Any,
    limit: int | None,
    as_json: bool,
    follow: bool,
    utc: bool,
) -> None:
    """Show what changed, newest last.

    NS is database.collection. ID is Extended JSON, or bare: 24 hexadecimal digits are an ObjectId, digits an integer,
    anything else a string ('"42"' is the string). Without it, the whole collection is shown.

    Where events were lost, a line `gap` stands in its place in time, whatever else is asked for (see `watcher gaps`).

    TIME is ISO 8601 (local time if it names no zone), words such as '2h ago' or 'yesterday 14:00', or a cluster time,
    seconds:increment. The first two are compared with an event's wall time, to the millisecond.
    """
    if follow and until is not None:
        raise click.UsageError("--follow waits for new events, --until excludes them; leave one of them out.")
    # Imported here, not above: `--help` and a mistyped option shall not wait for the driver.
    from cli.connection import CommandError, open_history
    from cli.not_found import message
    from history import Selection
    from models.values import ABSENT

    # A null is an id like any other, so None cannot stand for "no ID".
    named = click.get_current_context().get_parameter_source("document_id") is ParameterSource.COMMANDLINE
    selection = Selection(namespace, document_id if named else ABSENT, field, since, until)
    settings = context.settings()
    show = _printer(selection, as_json=as_json, utc=utc)
    with open_history(settings) as history:
        if follow:
            events = history.follow(selection, stop=Event(), limit=limit or _default_limit(as_json=as_json))
        elif limit is None and (default := _default_limit(as_json=as_json)):
            events = _newest(history, selection, default)
        elif limit is None:
            events = history.with_gaps(selection, history.stored(selection))
        else:
            found = list(history.stored(selection, limit=limit))
            events = history.with_gaps(selection, found, cut=len(found) == limit)
        if not _print_all(events, show, endless=follow) and not follow:
            raise CommandError(message(history, selection), exit_codes.NOT_FOUND)


def _default_limit(*, as_json: bool) -> int | None:
    return None if as_json or not sys.stdout.isatty() else NEWEST_ON_TERMINAL


def _newest(history: History, selection: Selection, limit: int) -> Iterator[RawBSONDocument]:
    """The newest events, and a word about the others if there are any."""
    found = list(history.stored(selection, limit=limit + 1))
    if len(found) > limit:
        click.echo(f"Showing the newest {limit} events; --limit N shows more, a pipe to `less` all.", err=True)
    return history.with_gaps(selection, found[-limit:], cut=len(found) > limit)


def _print_all(events: Iterator[RawBSONDocument], show: Callable[[RawBSONDocument], None], *, endless: bool) -> bool:
    """Print events as they come; whether there were any. A reader that closes the pipe has seen enough."""
    found = False
    try:
        for stored in events:
            found = True
            show(stored)
    except BrokenPipeError:
        output.let_go()
    except KeyboardInterrupt:
        if not endless:
            raise
    return found


def _printer(selection: Selection, *, as_json: bool, utc: bool) -> Callable[[RawBSONDocument], None]:
    from cli import render
    from models.reading import to_event
    from models.values import ABSENT

    if as_json:
        output.speak_utf8()
        return render.json_line
    output.survive_any_character()
    with_ids = selection.document_id is ABSENT
    renderer = render.Renderer(render.PipedConsole(), utc=utc, with_ids=with_ids, field=selection.field)
    return lambda stored: renderer.event(to_event(stored))
