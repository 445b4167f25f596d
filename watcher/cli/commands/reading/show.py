"""`watcher show`: what a document was, or a whole collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from watcher.cli import exit_codes
from watcher.cli.parsing.at import AT_HELP, At, Query
from watcher.cli.parsing.command import Command, argument, option
from watcher.cli.parsing.parse import DocumentId, Namespace
from watcher.cli.parsing.time_options import utc_option
from watcher.cli.rendering import output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from change_history import History
    from change_history.reconstruct.point_in_time import PointInTime as Moment
    from watcher.cli.main import Context


def _check(given: Mapping[str, Any]) -> Iterator[str]:
    if "document_id" in given and "query" in given:
        yield "--query chooses among the documents of a collection; leave it out, or the ID."
    if "document_id" not in given and isinstance(given.get("at"), int):
        yield f"--at {given['at']} is the number of a version, which only a document has; name its ID."


@click.command(
    cls=Command,
    check=_check,
    epilog="Exit status: 0 shown, 2 wrong usage, 3 not there then or nothing recorded, 4 the deployment does not "
    "answer, 10 history cannot tell, or not all of it.",
    help=f"""Show a document as it was, or every document of a collection.

    NS is database.collection. ID is Extended JSON, or bare as in `watcher log`. Documents are printed on standard
    output, as Extended JSON in its readable form, those of a collection one a line in the order of their ids;
    everything that is to be said about them goes to standard error.

    {AT_HELP}

    Nothing is invented: where events were lost, that is said, and what history cannot tell is not shown.
    """,
)
@argument("namespace", metavar="NS", type=Namespace())
@argument("document_id", metavar="[ID]", type=DocumentId(), required=False)
@option("--at", metavar="MOMENT", type=At(), help="When. [default: now, the last that is recorded]")
@option(
    "--query",
    metavar="FILTER",
    type=Query(),
    help="Only documents that match this MongoDB filter, as they were then; Extended JSON.",
)
@option("--json", "as_json", is_flag=True, help="One document a line, in canonical Extended JSON.")
@utc_option
@click.pass_obj
def show(
    context: Context,
    *,
    namespace: str,
    document_id: Any,
    at: Moment | None,
    query: dict[str, Any] | None,
    as_json: bool,
    utc: bool,
) -> None:
    """Show a document as it was."""
    from watcher.cli.parsing import moments
    from watcher.cli.past import asked

    # A null is an id like any other, so None cannot stand for "no ID".
    named = click.get_current_context().get_parameter_source("document_id") is ParameterSource.COMMANDLINE
    zone = moments.zone_of(utc=utc)
    with asked(context.settings()) as history:
        if named:
            _show_document(history, namespace, document_id, at, zone, as_json=as_json)
        else:
            _show_collection(history, namespace, at, query, zone, as_json=as_json)


def _show_document(history: History, namespace: str, document_id: Any, at: Any, zone: Any, *, as_json: bool) -> None:
    from watcher.cli import past
    from watcher.cli.connection import CommandError
    from watcher.cli.rendering import state_text

    state = past.state(history, namespace, document_id, at, zone)
    if state.data is None:
        raise CommandError(state_text.absent(history, state, at, zone), exit_codes.NOT_FOUND)
    past.say(f"{state_text.named(namespace, document_id)}: {state_text.stands(state, zone)}")
    past.say_gaps(state.gaps, zone)
    _printer(as_json=as_json, pretty=True)(state.data)


def _show_collection(
    history: History, namespace: str, at: Any, query: dict[str, Any] | None, zone: Any, *, as_json: bool
) -> None:
    from watcher.cli import past
    from watcher.cli.connection import CommandError
    from watcher.cli.rendering import state_text, value_text

    collection = history.collection(namespace, at)
    shown = unknown = 0
    show_one = _printer(as_json=as_json, pretty=False)
    for told in collection.documents(query):
        if told.data is None:
            unknown += 1
            past.say(
                f"{state_text.named(namespace, told.document_id)} is left out, history cannot tell it: {told.unknown}."
            )
        else:
            shown += 1
            show_one(told.data)
    past.say_gaps(collection.gaps, zone)
    if collection.unknown is not None:
        past.say(f"Which documents {value_text.printable(namespace)} had is not known: {collection.unknown}.")
    if unknown or collection.unknown is not None:
        raise SystemExit(exit_codes.UNKNOWN)
    if shown:
        return
    if query and next(collection.documents(), None) is not None:
        raise CommandError(f"no document of {value_text.printable(namespace)} matched then.", exit_codes.NOT_FOUND)
    raise CommandError(state_text.nothing(history, collection, zone), exit_codes.NOT_FOUND)


def _printer(*, as_json: bool, pretty: bool) -> Callable[[bytes], None]:
    from change_history.bson import extended_json

    if as_json:
        output.speak_utf8()
        return lambda document: click.echo(extended_json.dumps_document(document))
    from rich.highlighter import JSONHighlighter
    from rich.text import Text

    from watcher.cli.rendering import readable_json
    from watcher.cli.rendering.render import PipedConsole

    output.survive_any_character()
    console = PipedConsole()
    write = readable_json.pretty if pretty else readable_json.line
    if not console.is_terminal:
        return lambda document: click.echo(write(document))
    paint = JSONHighlighter()
    return lambda document: console.print(paint(Text(write(document))), soft_wrap=True)
