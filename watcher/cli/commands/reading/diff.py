"""`watcher diff`: what is different between two points in time of a document, or of a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from watcher.cli.parsing.arguments import AT_HELP, At, DocumentId, Namespace
from watcher.cli.parsing.options import Command, argument, option, utc_option

if TYPE_CHECKING:
    from datetime import tzinfo

    from watcher.cli.session import Context

_OF_COLLECTION, _OF_DOCUMENT = 2, 3
_FORMS = "write NS ID A B for a document, NS A B for a collection; B may be `now`, the last that is recorded"


def _read(words: tuple[str, ...]) -> tuple[list[Any], Any, Any]:
    """The ID, if there is one, in a list, and the two points in time.

    Raises:
        click.UsageError: they are none, or too many or too few.
    """
    ctx = click.get_current_context()
    if len(words) not in {_OF_COLLECTION, _OF_DOCUMENT}:
        raise click.UsageError(f"after NS come two or three arguments, not {len(words)}; {_FORMS}")
    of_document = len(words) == _OF_DOCUMENT
    try:
        ids = [DocumentId().convert(words[0], None, ctx)] if of_document else []
        a, b = (At(versions=of_document).convert(word, None, ctx) for word in words[-2:])
    except click.BadParameter as problem:
        if of_document:
            raise click.UsageError(problem.message, ctx) from problem
        said = f"one point in time is missing, if {words[0]} is the ID of a document; {_FORMS}."
        raise click.UsageError(
            f"{said}\nWith two arguments after NS both are points in time of a collection: {problem.message}", ctx
        ) from problem
    return ids, a, b


@click.command(
    cls=Command,
    epilog="Exit status: 0 compared, whether or not they differ, 2 wrong usage, 3 it was there at neither, 4 the "
    "deployment does not answer, 10 history cannot tell, or not all of it.",
    help=f"""Show what is different between two points in time of a document, or of a collection.

    \b
    watcher diff NS ID A B    from one point in time to another, of one document
    watcher diff NS A B       of all documents of a collection, in the order of their ids

    The number of arguments decides which of the two is meant. NS is database.collection. ID is Extended JSON, or bare
    as in `watcher log`. A may be later than B.

    A line with - tells what was, + what came, ~ what only stands in another place. Elements of arrays are told by their
    `_id` where they have one.

    {AT_HELP}
    """,
)
@argument("namespace", metavar="NS", type=Namespace())
@argument("words", metavar="[ID] A B", nargs=-1, required=True)
@option("--json", "as_json", is_flag=True, help="One difference a line, in canonical Extended JSON.")
@option("--patch", is_flag=True, help="RFC 6902 JSON Patch of the documents in canonical Extended JSON.")
@utc_option
@click.pass_obj
def diff(
    context: Context, *, namespace: str, words: tuple[str, ...], as_json: bool, patch: bool, zone: tzinfo | None
) -> None:
    """Show what is different between two points in time."""
    if as_json and patch:
        raise click.UsageError("--json and --patch are two forms of the answer; leave one of them out.")
    ids, a, b = _read(words)
    from watcher.cli.commands.reading import diff_job
    from watcher.cli.rendering.states import open_history

    output = (
        diff_job.OutputFormat.JSON if as_json else diff_job.OutputFormat.PATCH if patch else diff_job.OutputFormat.TEXT
    )
    with open_history(context) as history:
        if ids:
            diff_job.of_document(history, namespace, ids[0], (a, b), output, zone)
        else:
            diff_job.of_collection(history, namespace, (a, b), output, zone)
