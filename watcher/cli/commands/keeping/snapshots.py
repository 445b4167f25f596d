"""`watcher snapshots`: whole states that keep as-of queries fast, made anew from history and verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from watcher.cli.parsing.arguments import DocumentId, Namespace
from watcher.cli.parsing.options import is_given

if TYPE_CHECKING:
    from watcher.cli.session import Context


@click.group()
def snapshots() -> None:
    """Make snapshots of long-lived documents anew, or verify them.

    A snapshot is the whole state of a document after one of its events. Asking what a document was folds its history
    from the last snapshot before. It says nothing that history does not, so it can be thrown away at any time. The
    daemon takes them beside the stream, unless WATCHER_SNAPSHOTS is off.
    """


@snapshots.command(
    short_help="Make snapshots anew from history.",
    epilog="Exit status: 0 done, 2 wrong usage, 3 nothing is recorded of what was named, 4 the deployment does not "
    "answer.",
)
@click.argument("namespace", metavar="[NS]", type=Namespace(), required=False)
@click.argument("document_id", metavar="[ID]", type=DocumentId(), required=False)
@click.option("--continue", "keep", is_flag=True, help="Keep what is there and make only what is missing.")
@click.option("--json", "as_json", is_flag=True, help="One document a line, in canonical Extended JSON.")
@click.pass_obj
def rebuild(context: Context, *, namespace: str | None, document_id: Any, keep: bool, as_json: bool) -> None:
    """Throw the snapshots away and make them anew from history: all of them, those of NS, or those of one document.

    NS is database.collection. ID is Extended JSON, or bare as in `watcher log`. May be done while the daemon runs. May
    be interrupted, and gone on with by --continue; until it is done, asking what was is slower, and no less
    right.
    """
    from watcher.cli.commands.keeping import snapshots_job

    named = is_given("document_id")
    snapshots_job.rebuild(context.settings(), namespace, [document_id] if named else [], keep=keep, as_json=as_json)


@snapshots.command(
    short_help="Compare every snapshot with history.",
    epilog="Exit status: 0 all of them are right, or were repaired, 2 wrong usage, 3 nothing is "
    "recorded of NS, 4 the deployment does not answer, 11 some are wrong.",
)
@click.argument("namespace", metavar="[NS]", type=Namespace(), required=False)
@click.option("--repair", is_flag=True, help="Throw away those that are wrong, and make them anew.")
@click.option("--json", "as_json", is_flag=True, help="One difference a line, in canonical Extended JSON.")
@click.pass_obj
def verify(context: Context, *, namespace: str | None, repair: bool, as_json: bool) -> None:
    """Compare every snapshot, byte for byte, with the folding of the document's whole history; list those that differ.

    NS is database.collection; without it, all of them. May be done while the daemon runs.
    """
    from watcher.cli.commands.keeping import snapshots_job

    snapshots_job.verify(context.settings(), namespace, repair=repair, as_json=as_json)
