"""`watcher stats`: how much is recorded, and where most of it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from watcher.cli import exit_codes, session
from watcher.cli.parsing.arguments import Namespace, Whole
from watcher.cli.parsing.options import Command, argument, contradictions, option, window_options
from watcher.cli.session import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import tzinfo

    from change_history import Selection
    from change_history.query.stats import Everything, Stats
    from change_history.reader import Reader
    from change_history.reconstruct.point_in_time import Instant
    from watcher.cli.session import Context

TOP = 10
"""How many documents and fields are named unless `--top` says otherwise."""

_UNKNOWN_ZONE = 40485


def _check(given: Mapping[str, Any]) -> Iterator[str]:
    yield from contradictions(given)
    if "by" in given and "top" in given:
        yield "--top is about the busiest documents and fields, and --by actor shows neither; leave one of them out."


@click.command(
    cls=Command,
    check=_check,
    epilog="Exit status: 0 found, 2 wrong usage, 3 nothing recorded, 4 the deployment does not answer.",
)
@argument("namespace", metavar="[NS]", type=Namespace(), required=False)
@window_options
@option(
    "--top",
    metavar="N",
    type=Whole(1, 1000),
    default=TOP,
    show_default=True,
    help="So many of the busiest documents and fields.",
)
@option(
    "--by",
    type=click.Choice(["actor"]),
    help="Count who did it instead, how that is known, and of how much nobody knows it.",
)
@option("--json", "as_json", is_flag=True, help="One count a line, in canonical Extended JSON.")
@click.pass_obj
def stats(
    context: Context,
    *,
    namespace: str | None,
    since: Instant | None,
    until: Instant | None,
    zone: tzinfo | None,
    top: int,
    by: str | None,
    as_json: bool,
) -> None:
    """Count what is recorded: documents, events, changes and bytes, by collection and by day; and what is busiest.

    NS is database.collection; without it, everything is counted. Whatever is recorded counts, also how documents were
    when watching began. A change is one field of one event. Bytes are those of the history documents before the server
    compresses them. Days are those of the local zone, or of UTC with --utc. The busiest documents are those with the
    most events, the busiest fields those with the most changes; positions in arrays are left out: items.$[].qty.

    With --by actor, what somebody did is counted: not how documents were when watching began. What is known of who did
    it is in docs/actor.md; `watcher doctor` says what would make more of it known.

    The server counts, in one pass over the events.
    """
    from change_history import Selection
    from watcher.cli.rendering import counts, not_found

    with context.history() as history:
        counting = history.stats(namespace, since=since, until=until)
        if by is not None:
            _by_actor(history, counting, Selection(namespace, since=since, until=until), zone, as_json=as_json)
            return
        found = _count(counting, top=top, zone=zone)
        if not found.collections:
            selection = Selection(namespace, since=since, until=until)
            raise CommandError(not_found.message(history, selection, zone), exit_codes.NOT_FOUND)
        lost = sum(1 for _ in history.stored_gaps(namespace, since=since, until=until))
    if as_json:
        session.speak_utf8()
        counts.stats_json(found)
    else:
        session.survive_any_character()
        counts.stats_tables(found, zone, with_namespaces=namespace is None)
    if lost:
        from watcher.words.value_text import words

        click.echo(f"What happened in {words(lost, 'gap')} is not known: see `watcher gaps`.", err=True)


def _by_actor(history: Reader, counting: Stats, selection: Selection, zone: tzinfo | None, *, as_json: bool) -> None:
    from watcher.cli.rendering import counts, not_found, terminal

    with terminal.working("counting who did it"):
        found = counting.by_actor()
    if not found.events:
        raise CommandError(not_found.message(history, selection, zone), exit_codes.NOT_FOUND)
    session.prepare_output(as_json=as_json)
    if as_json:
        counts.actors_json(found)
    else:
        counts.actors_tables(found)


def _count(counting: Stats, *, top: int, zone: tzinfo | None) -> Everything:
    from pymongo.errors import OperationFailure

    from watcher.cli.rendering import terminal
    from watcher.words import times

    with terminal.working("counting collections, days, documents, fields"):
        try:
            return counting.everything(times.zone_name(zone), top)
        except OperationFailure as error:
            if error.code != _UNKNOWN_ZONE:  # the server's list of zones is older than ours
                raise
            return counting.everything(times.offset(), top)
