"""`watcher checkpoint`: how far the daemon has recorded, and moving that."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from watcher.cli import exit_codes, session
from watcher.cli.parsing.arguments import Time
from watcher.cli.parsing.options import utc_option

if TYPE_CHECKING:
    from datetime import tzinfo

    from watcher.cli.session import Context


@click.group()
def checkpoint() -> None:
    """Show how far the daemon has recorded, or move it."""


@checkpoint.command(
    short_help="Show the position of each stream.",
    epilog="Exit status: 0 found, 2 wrong usage, 3 there is none, 4 the deployment does not answer.",
)
@click.option("--stream", metavar="NAME", help="Only this stream. [default: all of them]")
@click.option("--json", "as_json", is_flag=True, help="One checkpoint document a line, in canonical Extended JSON.")
@utc_option
@click.pass_obj
def show(context: Context, *, stream: str | None, as_json: bool, zone: tzinfo | None) -> None:
    """Show the position of each stream: everything up to it is in the history."""
    from change_history.stored.names import CHECKPOINTS
    from change_history.stored.reading import RAW
    from watcher.cli.commands.operating import checkpoint_job
    from watcher.cli.rendering import event_words
    from watcher.cli.session import CommandError, history_uri, open_client

    where = context.connection()
    with open_client(history_uri(where)) as client:
        checkpoints = client[where.history_database].get_collection(CHECKPOINTS, codec_options=RAW)
        query = {"_id": {"$regex": f"^{re.escape(stream)}(:|$)"}} if stream is not None else {}  # and its partitions
        found = list(checkpoints.find(query, sort=[("_id", 1)]))
        now = client.admin.command("hello")["localTime"]
    if not found:
        what = f"stream {stream!r}" if stream is not None else "any stream"
        raise CommandError(
            f"there is no checkpoint of {what} in {where.history_database}.\n`watcher run` makes one when it "
            "starts; `watcher config show` tells which database is asked.",
            exit_codes.NOT_FOUND,
        )
    if as_json:
        session.speak_utf8()
        for stored in found:
            event_words.json_line(stored)
        return
    session.survive_any_character()
    click.echo("\n\n".join(checkpoint_job.described(stored, now, zone=zone) for stored in found))


@checkpoint.command(
    "set",
    epilog="Exit status: 0 done, or shown what would be done, 2 wrong usage, 3 there is no checkpoint, 4 a deployment "
    "does not answer, 5 the checkpoint is of another deployment or other options, 6 the server cannot go on from "
    "there, 8 a daemon is running.",
)
@click.option("--stream", metavar="NAME", help="Name of the checkpoint. [default: as WATCHER_STREAM says]")
@click.option("--partition", metavar="I/N", help="Only this partition of it. [default: as WATCHER_PARTITION says]")
@click.option("--now", "to_now", is_flag=True, help="Go on from now: what is not recorded yet never will be.")
@click.option(
    "--at", "point", metavar="TIME", type=Time(asks=False), help="Go on with the events of this point in time."
)
@click.option("--token", metavar="TOKEN", help="Go on after this resume token: hexadecimal digits, or its JSON.")
@click.option("--adopt-options", is_flag=True, help="Stay, but go on with what INCLUDE and EXCLUDE now say.")
@click.option("--yes", is_flag=True, help="Do it; without this, only show what would be done.")
@click.option("--force", is_flag=True, help="Do it though a daemon is running; it goes on from there.")
@utc_option
@click.pass_obj
def set_(
    context: Context,
    *,
    stream: str | None,
    partition: str | None,
    to_now: bool,
    point: Any,
    token: str | None,
    adopt_options: bool,
    yes: bool,
    force: bool,
    zone: tzinfo | None,
) -> None:
    """Move the position of a stream. Stop the daemon first.

    Forward skips events, and records that as a gap. Backward has events read again, which changes nothing: what is
    recorded already is not recorded twice. The stream is really opened there, with the options in force, before
    anything is changed.

    TIME is ISO 8601 (without a zone it is local time, or UTC with --utc), words such as '2h ago', or a cluster time,
    seconds:increment.
    """
    if [to_now, point is not None, token is not None, adopt_options].count(True) != 1:
        raise click.UsageError("say where to: one of --now, --at TIME, --token TOKEN and --adopt-options")
    from watcher.cli.commands.operating import checkpoint_job

    wish = checkpoint_job.MoveOptions(to_now=to_now, point=point, token=token)
    checkpoint_job.run(context.settings(stream=stream, partition=partition), wish, yes=yes, force=force, zone=zone)
