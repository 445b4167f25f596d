"""`watcher erase`: removes the values of a document, or a value wherever it stands, from all that is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from watcher.cli.parsing.arguments import DocumentId, Field, Namespace, Query, Value
from watcher.cli.parsing.options import Command, argument, is_given, option, utc_option

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import tzinfo

    from watcher.cli.session import Context

_ALONE = {"show_all": "--list", "go_on": "--continue"}
_SHORTEST = 3
_WHAT = ("namespace", "document_id", "where", "values")


def _check(given: Mapping[str, Any]) -> Iterator[str]:
    alone = [word for name, word in _ALONE.items() if name in given]
    if alone and (len(alone) > 1 or any(name in given for name in (*_WHAT, "fields", "end"))):
        yield f"{' and '.join(alone)}: to be used alone."
    if alone:
        return
    yield from _values(given.get("values", ()))
    yield from _documents(given)


def _values(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if value is None or isinstance(value, bool) or (isinstance(value, str) and len(value) < _SHORTEST):
            yield f"--value {value!r} stands nearly everywhere; name a number, or a text of {_SHORTEST} characters."


def _documents(given: Mapping[str, Any]) -> Iterator[str]:
    if "document_id" in given and "where" in given:
        yield "ID and --where both say which documents; leave one of them out."
    if "end" in given:
        if "document_id" not in given or len({"where", "values", "fields"} & set(given)):
            yield "--end is about one document, named as it was when it was erased: NS ID --end."
        return
    if "namespace" in given and not {"document_id", "where"} & set(given):
        yield "say which documents of NS: an ID, or --where FILTER."
    if not any(name in given for name in _WHAT):
        yield "say what is to go: NS ID, NS --where FILTER, or --value VALUE; or --list what was erased."
    if "fields" in given and given.get("trail") not in {None, "fields"}:
        yield "--field leaves the other fields, so it goes with --trail fields only."
    if ("fields" in given or "trail" in given) and "namespace" not in given:
        yield "--field and --trail are about documents; name them."


@click.command(
    cls=Command,
    check=_check,
    epilog="Exit status: 0 done, or shown what would be done; 2 wrong usage, 3 nothing is recorded of it, 4 the "
    "deployment does not answer, 8 its history expires at the moment, 9 some of it is left, and said.",
)
@argument("namespace", metavar="[NS]", type=Namespace(), required=False)
@argument("document_id", metavar="[ID]", type=DocumentId(), required=False)
@option("--where", metavar="FILTER", type=Query(), help="Every document of NS that ever matched this MongoDB filter.")
@option("--field", "fields", metavar="PATH", type=Field(), multiple=True, help="Only this field and what is below it.")
@option(
    "--value",
    "values",
    metavar="VALUE",
    type=Value(),
    multiple=True,
    help="Also this value, wherever it stands, in any collection; a text also as a part of a longer one.",
)
@option(
    "--trail",
    type=click.Choice(["fields", "times", "nothing"]),
    default="fields",
    show_default=True,
    help="What stays of the events: that they happened, when and to which fields; only when; nothing.",
)
@option("--reason", metavar="TEXT", help="Why; it is kept, so do not name the person.")
@option("--end", is_flag=True, help="From here on, record the document as any other again.")
@option("--list", "show_all", is_flag=True, help="Show what was erased, by whom, when and why.")
@option("--continue", "go_on", is_flag=True, help="Go on with what was interrupted.")
@option("--yes", is_flag=True, help="Do it.")
@option("--json", "as_json", is_flag=True, help="One document a line, in canonical Extended JSON.")
@utc_option
@click.pass_obj
def erase(
    context: Context,
    *,
    namespace: str | None,
    document_id: Any,
    where: dict[str, Any] | None,
    fields: tuple[str, ...],
    values: tuple[Any, ...],
    trail: str,
    reason: str | None,
    end: bool,
    show_all: bool,
    go_on: bool,
    yes: bool,
    as_json: bool,
    zone: tzinfo | None,
) -> None:
    """Remove the values of a document from all that is recorded; without --yes, only show what would go.

    From history, also under former and later names of its collection, from chunks, snapshots, rejected and imported
    events. Names of fields and the structure stay, unless --trail says less, so that history still tells when what
    happened; the `_id` stays with the events. Where that names a person, use --trail nothing. A --value is looked for
    everywhere, in the names of fields too.

    Events of the document that are recorded later are erased too, until --end. The watched document itself is not
    touched: delete it there first.

    NS is database.collection. ID is Extended JSON, or bare as in `watcher log`. What cannot be reached from here is
    named at the end.
    """
    from watcher.cli.commands.keeping import erase_job

    settings = context.settings()
    if show_all:
        erase_job.show(settings, as_json=as_json, zone=zone)
    elif go_on:
        erase_job.go_on(settings, as_json=as_json)
    elif end:
        erase_job.end(settings, namespace or "", document_id, yes=yes)
    else:
        wish = erase_job.EraseOptions(
            namespace or "",
            [document_id] if is_given("document_id") else [],
            where,
            fields,
            values,
            trail,
            reason,
        )
        erase_job.run(settings, wish, yes=yes, as_json=as_json)
