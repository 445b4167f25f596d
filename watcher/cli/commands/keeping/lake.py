"""`watcher lake`: history as a Delta Lake table, for whoever outgrows one machine for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from watcher.cli.parsing.arguments import DocumentId, Field, Namespace, Value, Whole
from watcher.cli.parsing.locations import TableLocation, store_option
from watcher.cli.parsing.options import Command, argument, is_given, option

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from watcher.cli.session import Context

_SHORTEST_S, _LONGEST_S = 1, 3600
location_option = click.option(
    "--to", "location", metavar="LOCATION", type=TableLocation(), required=True, help="Folder or s3://… of it."
)
_STATUS = (
    "2 wrong usage or settings, or deltalake is not installed, 3 there is no history, 4 the deployment or the store "
    "does not answer, 7 the table cannot be used, 8 another exporter writes to it."
)


def _check(given: Mapping[str, Any]) -> Iterator[str]:
    if ("namespace" in given) != ("document_id" in given):
        yield "say which document: NS ID."
    if "namespace" not in given and "values" not in given:
        yield "say what is to go: NS ID, or --value VALUE."
    if "namespace" not in given and ("fields" in given or "trail" in given):
        yield "--field and --trail are about a document: NS ID."
    if "fields" in given and given.get("trail", "fields") != "fields":
        yield "--field leaves the other fields, so it goes with --trail fields only."


@click.group()
def lake() -> None:
    """Append history to a Delta Lake table, each event exactly once.

    The table has a row for each change, as `watcher export` writes them, partitioned by day. It says itself how far it
    is, so an exporter can be killed and started anywhere. What is erased from history is erased from it; what expires
    stays, and `watcher show NS ID --at TIME --lake LOCATION` tells a document from it.
    """


@lake.command(epilog=f"Exit status: 0 done, {_STATUS}")
@location_option
@store_option
@click.option("--json", "as_json", is_flag=True, help="What was done as one line of JSON.")
@click.pass_obj
def once(context: Context, *, location: str, store: dict[str, str], as_json: bool) -> None:
    """Append what is there now, and end."""
    from watcher.cli.commands.keeping import lake_job

    lake_job.once(context, location, store, as_json=as_json)


@lake.command(epilog=f"Exit status: 0 stopped by a signal, {_STATUS}")
@location_option
@store_option
@click.option(
    "--interval",
    "interval_s",
    metavar="SECONDS",
    type=Whole(_SHORTEST_S, _LONGEST_S),
    default=30,
    show_default=True,
    help="Between two commits.",
)
@click.pass_obj
def run(context: Context, *, location: str, store: dict[str, str], interval_s: int) -> None:
    """Append what is there and what comes, until stopped."""
    from watcher.cli.commands.keeping import lake_job

    lake_job.run(context, location, store, interval_s)


@lake.command(
    cls=Command,
    check=_check,
    epilog=f"Exit status: 0 done, or shown what would be done, {_STATUS}",
)
@argument("namespace", metavar="[NS]", type=Namespace(), required=False)
@argument("document_id", metavar="[ID]", type=DocumentId(), required=False)
@location_option
@store_option
@option("--field", "fields", metavar="PATH", type=Field(), multiple=True, help="Only this field and what is below it.")
@option("--value", "values", metavar="VALUE", type=Value(), multiple=True, help="This value, wherever it stands.")
@option(
    "--trail",
    type=click.Choice(["fields", "times", "nothing"]),
    default="fields",
    show_default=True,
    help="What stays of each event of the document.",
)
@option("--yes", is_flag=True, help="Do it; without this, only count what would change.")
@click.pass_obj
def erase(
    context: Context,
    *,
    namespace: str | None,
    document_id: Any,
    location: str,
    store: dict[str, str],
    fields: tuple[str, ...],
    values: tuple[Any, ...],
    trail: str,
    yes: bool,
) -> None:
    """Erase in the table what `watcher erase` erases in the history.

    An exporter carries out the erasures of documents by itself while they stand. This is for values (--value), and for
    documents whose erasure has ended. Stop the exporter meanwhile: there is one writer at a time.
    """
    from watcher.cli.commands.keeping import lake_job

    named = is_given("document_id")
    what = lake_job.LakeEraseOptions(namespace, document_id if named else None, fields, values, trail)
    lake_job.erase(context, location, store, what, do_it=yes)


@lake.command(epilog=f"Exit status: 0 shown, {_STATUS}")
@location_option
@store_option
@click.option("--json", "as_json", is_flag=True, help="As one line of JSON.")
def status(*, location: str, store: dict[str, str], as_json: bool) -> None:
    """Show how far a table is, and how large."""
    from watcher.cli.commands.keeping import lake_job

    lake_job.status(location, store, as_json=as_json)
