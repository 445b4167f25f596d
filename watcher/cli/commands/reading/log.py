"""`watcher log`: what changed, oldest first, as it is recorded if wanted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from watcher.cli import exit_codes
from watcher.cli.parsing.arguments import DocumentId, Field, Namespace, Operation, TransactionName, Value, Whole
from watcher.cli.parsing.options import (
    Command,
    actor_options,
    argument,
    contradictions,
    is_given,
    option,
    window_options,
)
from watcher.cli.session import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import tzinfo

    from change_history.query.transactions import Name
    from change_history.reader import Reader
    from change_history.reconstruct.point_in_time import Instant
    from change_history.stored.event import Transaction
    from watcher.cli.session import Context

NEWEST_ON_TERMINAL = 100
"""How many events a terminal gets unless `--limit` says otherwise."""

_ENDLESS = {
    "until": "--follow waits for new events, --until excludes them",
    "reverse": "--follow prints new events last, --reverse first",
    "stat": "--follow does not end, --stat counts at the end",
}


_NOT_IMPORTED = (
    *("field", "operations", "transaction_name", "changed_from", "changed_to", "actor", "reason", "request"),
    *("since", "until", "stat", "follow"),
)
_WORDS = {"operations": "operation", "transaction_name": "transaction", "actor": "by"}


def _typed(names: list[str]) -> str:
    return ", ".join(f"--{_WORDS.get(name, name).replace('_', '-')}" for name in names)


def _check(given: Mapping[str, Any]) -> Iterator[str]:
    yield from contradictions(given)
    if given.get("follow"):
        yield from (f"{why}; leave one of them out." for option, why in _ENDLESS.items() if given.get(option))
    if given.get("oneline") and given.get("as_json"):
        yield "--oneline is for people, --json for programs; leave one of them out."
    if given.get("imported"):
        if "namespace" not in given:
            yield "--imported is about one collection: name NS."
        if others := [name for name in _NOT_IMPORTED if name in given]:
            yield f"--imported goes with NS, ID, --limit and --reverse; leave {_typed(others)} out."
    if given.get("oneline") and given.get("stat"):
        yield "--oneline shows each event, --stat only counts them; leave one of them out."


@click.command(
    cls=Command,
    check=_check,
    epilog="Exit status: 0 found, 2 wrong usage, 3 nothing recorded, 4 the deployment does not answer.",
)
@argument("namespace", metavar="[NS]", type=Namespace(), required=False)
@argument("document_id", metavar="[ID]", type=DocumentId(), required=False)
@option(
    "--field",
    metavar="PATH",
    type=Field(),
    help="Only this field and what is below it: address includes address.city.",
)
@option(
    "--operation",
    "operations",
    metavar="NAME",
    type=Operation(),
    multiple=True,
    help="Only insert, update, replace, delete, …; may be given several times.",
)
@option(
    "--transaction",
    "transaction_name",
    metavar="NAME",
    type=TransactionName(),
    help="Only this transaction: session:number as printed here, or an id of --oneline, of any event in it.",
)
@option("--changed-from", metavar="VALUE", type=Value(), help="Only changes from this value.")
@option(
    "--changed-to",
    metavar="VALUE",
    type=Value(),
    help="Only changes to this value. With --changed-from, both must hold of one change.",
)
@actor_options
@window_options
@option(
    "-n",
    "--limit",
    metavar="N",
    type=Whole(min=1),
    help=f"Only the newest N events. [default: {NEWEST_ON_TERMINAL} on a terminal, else all]",
)
@option("--reverse", is_flag=True, help="Newest first.")
@option("--oneline", is_flag=True, help="One line an event: its id, time, operation, document and fields.")
@option("--stat", is_flag=True, help="Only count: changes by field, by hour, by collection, by actor.")
@option(
    "--json",
    "as_json",
    is_flag=True,
    help="One history document a line, in canonical Extended JSON; with --stat, one count.",
)
@option(
    "-f",
    "--follow",
    is_flag=True,
    help="Go on with new events as they come, until Ctrl-C or the deployment stays away.",
)
@option(
    "--imported",
    is_flag=True,
    help="Not what was recorded, but what `watcher import` brought in of the application's own list.",
)
@click.pass_obj
def log(
    context: Context,
    *,
    namespace: str | None,
    document_id: Any,
    field: str | None,
    operations: tuple[str, ...],
    transaction_name: Name | None,
    changed_from: Any,
    changed_to: Any,
    actor: Any,
    reason: str | None,
    request: Any,
    since: Instant | None,
    until: Instant | None,
    limit: int | None,
    reverse: bool,
    oneline: bool,
    stat: bool,
    as_json: bool,
    follow: bool,
    imported: bool,
    zone: tzinfo | None,
) -> None:
    """Show what changed, newest last.

    NS is database.collection; without it, all that is recorded is shown. ID is Extended JSON, or bare: 24 hexadecimal
    digits are an ObjectId, digits an integer, 1.5 a double, true, false and null what they say, anything else a string
    ('"42"' is the string). Without it, the whole collection is shown. VALUE is written like an ID, or as an array; it
    is compared as MongoDB does: 3, NumberLong(3) and 3.0 are one value, an array is compared as a whole. With --field,
    of a change above the field only the field's part is compared. Then only the changes meant are shown.

    ACTOR and the request are written like a VALUE. What nobody knows the actor of is left out; `watcher stats --by
    actor` counts it.

    All conditions must hold. Where events were lost, a line `gap` stands in its place in time, whatever else is asked
    for (see `watcher gaps`).
    """
    # Imported here, not above: `--help` and a mistyped option shall not wait for the driver.
    from change_history import Selection
    from change_history.bson.values import ABSENT
    from watcher.cli.rendering import log_formats

    def given(name: str, value: Any) -> Any:
        return value if is_given(name) else ABSENT

    with context.history() as history:
        selection = Selection(
            namespace,
            given("document_id", document_id),
            field,
            since,
            until,
            operations,
            _transaction(history, transaction_name) if transaction_name is not None else None,
            given("changed_from", changed_from),
            given("changed_to", changed_to),
            actor=actor,
            reason=reason,
            request=request,
        )
        if selection.field is not None and selection.document_id is not ABSENT:
            selection = history.resolve(selection)
        log_format = log_formats.choose(
            selection, history.reverts, as_json=as_json, oneline=oneline, stat=stat, zone=zone
        )
        if imported:
            entries = history.imported(namespace or "", selection.document_id, limit=limit, newest_first=reverse)
            if not log_formats.print_all(entries, log_format, endless=False):
                advice = "nothing was imported of it; `watcher import` brings an application's own list in."
                raise CommandError(advice, exit_codes.NOT_FOUND)
            return
        default = None if as_json or stat or not sys.stdout.isatty() else NEWEST_ON_TERMINAL
        answer = log_formats.EventsAndGaps(history, selection, newest_first=reverse)
        events = answer.followed(limit or default) if follow else answer.recorded(limit, default)
        found = log_formats.print_all(events, log_format, endless=follow)
        answer.say_what_is_unknown()
        if not found and not follow:
            from watcher.cli.rendering.not_found import message

            raise CommandError(message(history, selection, zone), exit_codes.NOT_FOUND)


def _transaction(history: Reader, name: Name) -> Transaction:
    from change_history.query.transactions import AmbiguousTransactionError, UnknownTransactionError

    try:
        return history.transaction(name)
    except UnknownTransactionError as error:
        raise CommandError(f"{error}.", exit_codes.NOT_FOUND) from error
    except AmbiguousTransactionError as error:
        raise CommandError(f"{error}; write more of it.", exit_codes.USAGE) from error
