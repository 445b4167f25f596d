"""`watcher blame`: when, and by which event, each field of a document got its value."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from watcher.cli import exit_codes
from watcher.cli.parsing.at import AT_HELP, At
from watcher.cli.parsing.command import Command, argument, option
from watcher.cli.parsing.parse import DocumentId, Namespace
from watcher.cli.parsing.time_options import utc_option
from watcher.cli.rendering import output

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from change_history.blame.recorded import Leaf
    from change_history.reconstruct.point_in_time import PointInTime as Moment
    from watcher.cli.main import Context

_COLUMNS = ("field", "value", "when", "operation", "event", "transaction")
_VALUE_WIDTH = 40


@click.command(
    cls=Command,
    epilog="Exit status: 0 shown, 2 wrong usage, 3 not there then or nothing recorded, 4 the deployment does not "
    "answer, 10 history cannot tell.",
    help=f"""Show when, and by which event, each field of a document got its value.

    Every leaf is listed: the fields of sub-documents and the elements of arrays too. What an event states once more
    without changing it keeps its older event, and so does an element that others push to another place in its array.
    A `baseline` is what there was when watching began. `watcher log --transaction` shows an event's transaction; it
    takes the name of the event, too.

    NS is database.collection. ID is Extended JSON, or bare as in `watcher log`.

    {AT_HELP}
    """,
)
@argument("namespace", metavar="NS", type=Namespace())
@argument("document_id", metavar="ID", type=DocumentId())
@option("--at", metavar="MOMENT", type=At(), help="When. [default: now, the last that is recorded]")
@option("--json", "as_json", is_flag=True, help="One leaf a line, in canonical Extended JSON.")
@utc_option
@click.pass_obj
def blame(context: Context, *, namespace: str, document_id: Any, at: Moment | None, as_json: bool, utc: bool) -> None:
    """Show when, and by which event, each field of a document got its value."""
    from watcher.cli import past
    from watcher.cli.connection import CommandError
    from watcher.cli.parsing import moments
    from watcher.cli.rendering import state_text

    zone = moments.zone_of(utc=utc)
    with past.asked(context.settings()) as history:
        state = past.state(history, namespace, document_id, at, zone)
        if state.data is None:
            raise CommandError(state_text.absent(history, state, at, zone), exit_codes.NOT_FOUND)
        leaves = history.blame_leaves(namespace, document_id, at)
        past.say(f"{state_text.named(namespace, document_id)}: {state_text.stands(state, zone)}")
        past.say_gaps(state.gaps, zone)
        if as_json:
            output.speak_utf8()
            for leaf in leaves:
                click.echo(_json_line(leaf))
        else:
            output.survive_any_character()
            _print(leaves, zone)


def _print(leaves: Sequence[Leaf], zone: tzinfo | None) -> None:
    from change_history.query.transactions import event_name
    from watcher.cli.parsing import moments
    from watcher.cli.rendering import blame_text, heading, tables
    from watcher.cli.rendering.render import PipedConsole
    from watcher.cli.rendering.value_text import printable, text_of

    console = PipedConsole()
    if console.is_terminal and console.width < heading.WIDE:
        for line in blame_text.lines(leaves, zone, console.width):
            console.print(line, soft_wrap=True, highlight=False)
        return
    width = _VALUE_WIDTH if sys.stdout.isatty() else None
    tables.show(
        _COLUMNS,
        [
            (
                printable(leaf.field),
                text_of(leaf.value, width),
                moments.of_event(leaf.event, zone),
                printable(leaf.event.operation),
                event_name(leaf.event.id),
                heading.transaction(leaf.event),
            )
            for leaf in leaves
        ],
    )


def _json_line(leaf: Leaf) -> str:
    from change_history.bson import extended_json

    event = leaf.event
    about: dict[str, Any] = {
        "_id": event.id,
        "namespace": event.namespace,
        "operation": event.operation,
        "timestamp": event.timestamp,
        "cluster_time": event.cluster_time,
    }
    if event.transaction is not None:
        about["transaction"] = {"session": event.transaction.session, "number": event.transaction.number}
    return extended_json.dumps({"field": leaf.field, "path": list(leaf.path), "value": leaf.value, "event": about})
