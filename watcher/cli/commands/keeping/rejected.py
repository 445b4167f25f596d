"""`watcher rejected`: events that could not be stored."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from watcher.cli import exit_codes, session
from watcher.cli.parsing.options import utc_option

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import tzinfo

    from bson import Binary

    from watcher.cli.session import Context
    from watcher.gaps.rejected import RejectedEvents, RetryOutcome

_COLUMNS = ("id", "rejected", "namespace", "document", "cluster time", "bytes", "error")
_ID_BYTES = 16
_ID_WIDTH = 40
_MANY = 20


@click.group()
def rejected() -> None:
    """List events that could not be stored, and try them again."""


@rejected.command(
    "list",
    short_help="List the events that are kept aside.",
    epilog="Exit status: 0 also where there are none, 2 wrong usage, 4 no answer.",
)
@click.option("--json", "as_json", is_flag=True, help="One whole document a line, in canonical Extended JSON.")
@utc_option
@click.pass_obj
def list_(context: Context, *, as_json: bool, zone: tzinfo | None) -> None:
    """List the events that are kept aside, oldest first: each is there whole, and in no history yet."""
    from change_history.stored.names import REJECTED
    from change_history.stored.reading import RAW
    from watcher.cli.rendering import event_words, terminal
    from watcher.cli.session import history_uri, open_client

    where = context.connection()
    with open_client(history_uri(where)) as client:
        collection = client[where.history_database].get_collection(REJECTED, codec_options=RAW)
        if as_json:
            session.speak_utf8()
            for stored in collection.find({}, sort=[("_id", 1)]):
                event_words.json_line(stored)
            return
        session.survive_any_character()
        kept = {"$ifNull": ["$event", "$entry"]}
        size = {"$cond": [{"$eq": [{"$type": kept}, "binData"]}, {"$binarySize": kept}, None]}
        stages: list[dict[str, Any]] = [
            {"$sort": {"_id": 1}},
            {"$set": {"bytes": size}},
            {"$unset": ["event", "entry"]},
        ]
        rows = [_row(stored, zone) for stored in collection.aggregate(stages)]
    if rows:
        terminal.show_table(_COLUMNS, rows)
        click.echo("`watcher rejected retry --all` tries them again, once the cause is gone.")
    else:
        click.echo("no rejected events")


@rejected.command(
    short_help="Bring rejected events into history.",
    epilog="Exit status: 0 all of them are in history now, 2 wrong usage, 4 no answer, 9 some remain.",
)
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.pass_obj
def retry(context: Context, *, ids: tuple[str, ...], everything: bool) -> None:
    """Bring rejected events into history, each in its right place, now that the cause is gone.

    ID is what `watcher rejected list` shows. What still cannot be stored stays, with the reason of today. May be done
    while the daemon runs.
    """
    if bool(ids) == everything:
        raise click.UsageError("say which: the ids that `watcher rejected list` shows, or --all")
    wanted = [_id(text) for text in ids]
    from config import log as logs
    from watcher.cli.session import history_uri, open_client
    from watcher.erasure.active import Active
    from watcher.events import fast_path
    from watcher.gaps.rejected import RejectedEvents

    settings = context.settings()
    logs.start("critical", settings.log_format)  # the command itself says what is the matter
    with open_client(history_uri(settings.connection)) as client:
        database = client[settings.history_database]
        redaction = fast_path.redaction(settings.redact, settings.hash_key)
        chance = RejectedEvents(database, redaction, Active(database).entry)
        outcomes = list(_tried(chance, wanted if ids else chance.ids()))
    missing = [] if everything else sorted(set(wanted) - {outcome.id for outcome in outcomes})
    remaining = [outcome for outcome in outcomes if outcome.error is not None]
    for outcome in remaining:
        click.echo(f"{outcome.id.hex()}  remains: {outcome.error}", err=True)
    for event_id in missing:
        click.echo(f"{event_id.hex()}  is not there: see `watcher rejected list`", err=True)
    click.echo(f"{len(outcomes) - len(remaining)} brought into history, {len(remaining)} remain")
    if remaining or missing:
        raise SystemExit(exit_codes.REMAINING)


def _tried(chance: RejectedEvents, ids: Sequence[Binary | bytes]) -> Iterator[RetryOutcome]:
    """Try events again, with a progress bar if they are many and somebody watches."""
    if len(ids) < _MANY:
        yield from chance.retry(ids)
        return
    from watcher.cli.rendering import terminal

    with terminal.bar("trying again", len(ids)) as advance:
        for outcome in chance.retry(ids):
            yield outcome
            advance(1)


def _id(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != _ID_BYTES:
        raise click.UsageError(f"{text!r} is no id: 32 hexadecimal digits, as `watcher rejected list` shows them")
    return found


def _row(stored: Any, zone: Any) -> tuple[str, ...]:
    from change_history.bson.values import document_to_python
    from watcher.words import times
    from watcher.words.value_text import printable, text_of

    found = document_to_python(bytes(stored.raw))
    when, position, size = found.get("rejected_at"), found.get("cluster_time"), found.get("bytes")
    return (
        bytes(found["_id"]).hex(),
        when.astimezone(zone).isoformat(" ", "seconds") if isinstance(when, datetime) else "",
        printable(str(found.get("namespace", ""))),
        text_of(found["document_id"], _ID_WIDTH) if "document_id" in found else "",
        times.exact(position) if position is not None else "",
        str(size) if size is not None else "over 4 MB",
        printable(str(found.get("error", ""))),
    )
