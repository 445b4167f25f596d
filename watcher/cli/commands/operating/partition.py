"""`watcher partition`: how a stream is split, and splitting it in another way."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from change_history.partition import MOST
from watcher.cli import session
from watcher.cli.parsing.arguments import Whole
from watcher.cli.parsing.options import utc_option

if TYPE_CHECKING:
    from datetime import tzinfo

    from watcher.cli.session import Context
    from watcher.operations.repartition import Division


@click.command(
    epilog="Exit status: 0 done, or shown what would be done, 2 wrong usage, 4 a deployment does not answer, 5 a "
    "checkpoint is of another deployment or other options, 6 the server cannot go on from there, 7 the stream cannot "
    "be split so, 8 a daemon is running."
)
@click.argument("parts", type=Whole(1, MOST), required=False, metavar="[N]")
@click.option("--stream", metavar="NAME", help="Name of the stream. [default: as WATCHER_STREAM says]")
@click.option("--yes", is_flag=True, help="Do it; without this, only show what would be done.")
@click.option("--force", is_flag=True, help="Do it though daemons are running; these then end.")
@click.option("--json", "as_json", is_flag=True, help="One document, in canonical Extended JSON.")
@utc_option
@click.pass_obj
def partition(
    context: Context,
    *,
    parts: int | None,
    stream: str | None,
    yes: bool,
    force: bool,
    as_json: bool,
    zone: tzinfo | None,
) -> None:
    """Show how a stream is split, or split it into N partitions; 1 puts it together.

    Each partition has the documents whose `_id` hashes to it, a checkpoint and a lease of its own, and is recorded by
    `watcher run --partition I/N`. Stop the daemons first, and start N of them afterwards, for I from 1 to N.

    The new partitions begin where all former ones have read to. Some events are read again; none is lost, and none is
    recorded twice. It is done as a whole or not at all. A stream that has not begun yet needs no such command: the
    first daemon that comes with --partition splits it.
    """
    from config import log as logs
    from watcher.cli.commands.operating.deployments import in_words, reach
    from watcher.operations.position import time_of
    from watcher.operations.repartition import Repartition

    settings = context.settings(stream=stream)
    logs.start("critical", settings.log_format)  # the command itself says what is the matter
    with in_words(), ExitStack() as stack:
        repartition = Repartition(reach(settings, stack))
        division = repartition.division()
        document: dict[str, Any] = {"stream": settings.stream, **_document(division)}
        if parts == len(division.positions) and division.begun:
            parts = None  # that is how it is: nothing to do
        if parts is not None:
            document["target"] = {"parts": parts, "at": time_of(repartition.target(division, parts))}
        leaders = repartition.leaders()
        document["leaders"] = {name: str(holder) for name, holder in leaders.items()}
        if not as_json:
            _show(document, zone=zone)
        if parts is not None and yes:
            document["target"]["at"] = time_of(repartition.change(parts, by_force=force))
        document["done"] = parts is not None and yes
        if as_json:
            from change_history.bson import extended_json

            session.speak_utf8()
            click.echo(extended_json.dumps(document))
        elif parts is not None:
            _conclude(settings.stream, document)


def _document(division: Division) -> dict[str, Any]:
    from watcher.operations.position import time_of

    return {
        "parts": [
            {
                "checkpoint": name,
                "position": time_of(stored.position) if stored is not None else None,
                "events": stored.events if stored is not None else 0,
            }
            for name, stored in division.positions.items()
        ],
        "gaps_not_level": division.open_gaps,
    }


def _show(document: dict[str, Any], *, zone: tzinfo | None) -> None:
    from watcher.cli.rendering import terminal
    from watcher.words import times

    session.survive_any_character()
    rows = [
        (
            part["checkpoint"],
            times.clock_and_exact(part["position"], zone) if part["position"] else "not begun",
            str(part["events"]),
            document["leaders"].get(part["checkpoint"], "nobody"),
        )
        for part in document["parts"]
    ]
    terminal.show_table(("checkpoint", "position", "events", "leader"), rows)
    if target := document.get("target"):
        click.echo(f"To be {_so_many(target['parts'])}, from {times.clock_and_exact(target['at'], zone)} on.")
        if gaps := document["gaps_not_level"]:
            verb = "gap is" if gaps == 1 else "gaps are"
            click.echo(f"{gaps} {verb} not reconciled (`watcher gaps`). Splitting the stream does not do that.")


def _conclude(stream: str, document: dict[str, Any]) -> None:
    parts = document["target"]["parts"]
    name = "" if stream == "default" else f" --stream {stream}"
    if document["done"]:
        how = f" --partition I/{parts}, for I from 1 to {parts}" if parts > 1 else ""
        click.echo(f"Done. Now start: watcher run{name}{how}")
        return
    if document["leaders"]:
        click.echo("Daemons are at work on this stream. Stop them first, or depose them with --force.")
    click.echo("Nothing was changed. To do it, add --yes.")


def _so_many(parts: int) -> str:
    return f"{parts} partitions" if parts > 1 else "one whole"
