"""`watcher blame`: when, and by which event, each field of a document got its value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from watcher.cli import exit_codes
from watcher.cli.parsing.arguments import AT_HELP, At, DocumentId, Namespace
from watcher.cli.parsing.options import Command, argument, option, utc_option
from watcher.cli.session import CommandError, say

if TYPE_CHECKING:
    from datetime import tzinfo

    from change_history.reconstruct.point_in_time import PointInTime
    from watcher.cli.session import Context


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
@option("--at", metavar="POINT", type=At(), help="When. [default: now, the last that is recorded]")
@option("--json", "as_json", is_flag=True, help="One leaf a line, in canonical Extended JSON.")
@utc_option
@click.pass_obj
def blame(
    context: Context, *, namespace: str, document_id: Any, at: PointInTime | None, as_json: bool, zone: tzinfo | None
) -> None:
    """Show when, and by which event, each field of a document got its value."""
    from watcher.cli.rendering import blame as rendering
    from watcher.cli.rendering import states

    with states.open_history(context) as history:
        state = states.state(history, namespace, document_id, at, zone)
        if state.data is None:
            raise CommandError(states.why_absent(history, state, at, zone), exit_codes.NOT_FOUND)
        found = history.blame_leaves(namespace, document_id, at)
        say(f"{states.named(namespace, document_id)}: {states.version_text(state, zone)}")
        states.say_gaps(state.gaps, zone)
        if as_json:
            rendering.show_json(found)
        else:
            rendering.show(found, zone)
