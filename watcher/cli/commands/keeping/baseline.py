"""`watcher baseline`: has the daemon record anew how documents are, where history does not tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from watcher.cli import exit_codes, session
from watcher.cli.parsing.arguments import DocumentId, Namespace
from watcher.cli.parsing.options import is_given
from watcher.cli.session import CommandError

if TYPE_CHECKING:
    from watcher.backfill.requests import Request, Requests
    from watcher.cli.session import Context

_LOOK_EVERY_S = 0.2
_PATIENCE_S = 5.0


@click.command(
    epilog="Exit status: 0 done, or left to the daemon that starts next; 2 wrong usage, 3 no stream covers NS, 4 the "
    "deployment does not answer.",
)
@click.argument("namespace", metavar="NS", type=Namespace())
@click.argument("document_id", metavar="[ID]", type=DocumentId(), required=False)
@click.option("--no-wait", is_flag=True, help="Only ask for it.")
@click.pass_obj
def baseline(context: Context, *, namespace: str, document_id: Any, no_wait: bool) -> None:
    """Have the daemon read every document of NS, or only ID, and record how it is where history does not tell.

    NS is database.collection. ID is Extended JSON, or bare as in `watcher log`.

    Use it where history has lost its beginning: somebody has removed entries, or watching began with
    WATCHER_BASELINE=off. Each document is compared with history, as after a gap, at one cluster time; from then on
    history tells it. What it was before stays unknown. It is done by the daemon that leads, at once if one runs, else
    when it starts. Interrupting this command leaves the daemon at it.
    """
    from change_history.bson.values import to_raw
    from change_history.reader import Reader
    from watcher.backfill.requests import Requests

    settings = context.settings()
    only = to_raw(document_id) if is_given("document_id") else None
    with session.open_client(session.history_uri(settings.connection)) as client:
        requests = Requests(client[settings.history_database])
        request = requests.ask(namespace, only)
        if request is None:
            raise CommandError(
                f"no stream covers {namespace}: nothing of it is recorded. WATCHER_INCLUDE says what is watched, and "
                "`watcher checkpoint show` which streams there are.",
                exit_codes.NOT_FOUND,
            )
        if no_wait or not _waited(requests, request):
            click.echo("Asked for. The daemon does it, as soon as it runs and has caught up; its log says when.")
        else:
            click.echo(
                f"Done: history tells {namespace} from now on."
                if Reader(client, settings.history_database).is_recorded(namespace)
                else f"Done, but nothing was found: there is no document of {namespace}, and no history. "
                "Is the name right?"
            )


def _waited(requests: Requests, request: Request) -> bool:
    """Wait until a request is carried out; whether it is, or no daemon seems to be at work on it."""
    import time

    from watcher.cli.rendering import terminal

    asked = time.monotonic()
    with terminal.working("waiting for the daemon"):
        while requests.left(request):
            if time.monotonic() - asked > _PATIENCE_S and not requests.is_begun(request):
                return False
            time.sleep(_LOOK_EVERY_S)
    return True
