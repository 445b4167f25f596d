"""`watcher show`: what a document was, or a whole collection."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

import click

from watcher.cli import exit_codes, session
from watcher.cli.parsing.arguments import AT_HELP, At, DocumentId, Namespace, Query
from watcher.cli.parsing.locations import TableLocation, store_option
from watcher.cli.parsing.options import Command, argument, is_given, option, utc_option
from watcher.cli.session import CommandError, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import tzinfo

    from change_history.reader import Reader
    from change_history.reconstruct.point_in_time import Instant, PointInTime
    from watcher.cli.session import Context


def _check(given: Mapping[str, Any]) -> Iterator[str]:
    if "as_json" in given and "as_bson" in given:
        yield "--json and --bson are two forms; leave one of them out."
    if "as_bson" in given and sys.stdout.isatty():
        yield "--bson is nothing for a terminal; write it into a file, or a pipe to `bsondump`."
    if "document_id" in given and "query" in given:
        yield "--query chooses among the documents of a collection; leave it out, or the ID."
    if "lake" in given and ("document_id" not in given or isinstance(given.get("at"), int)):
        yield "--lake tells one document, as of a time: name its ID, and no version."
    if "store" in given and "lake" not in given:
        yield "--store is about the table that --lake names."
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
@option("--at", metavar="POINT", type=At(), help="When. [default: now, the last that is recorded]")
@option(
    "--query",
    metavar="FILTER",
    type=Query(),
    help="Only documents that match this MongoDB filter, as they were then; Extended JSON.",
)
@option("--json", "as_json", is_flag=True, help="One document a line, in canonical Extended JSON.")
@option(
    "--bson", "as_bson", is_flag=True, help="Documents as BSON, to the byte, as `bsondump` and `mongorestore` read it."
)
@option(
    "--lake",
    metavar="LOCATION",
    type=TableLocation(),
    help="Ask the Delta Lake table there, which keeps what has expired.",
)
@store_option
@utc_option
@click.pass_obj
def show(
    context: Context,
    *,
    namespace: str,
    document_id: Any,
    at: PointInTime | None,
    query: dict[str, Any] | None,
    as_json: bool,
    as_bson: bool,
    zone: tzinfo | None,
    lake: str | None,
    store: dict[str, str],
) -> None:
    """Show a document as it was."""
    from watcher.cli.rendering import states

    named = is_given("document_id")
    if lake is not None:
        from watcher.cli.commands.keeping import lake_job

        document = lake_job.document(lake, store, namespace, document_id, cast("Instant | None", at))
        _show_one(document, namespace, document_id, _printer(as_json, as_bson, pretty=True))
        return
    with states.open_history(context) as history:
        if named:
            _show_document(history, namespace, document_id, at, zone, _printer(as_json, as_bson, pretty=True))
        else:
            _show_collection(history, namespace, at, query, zone, _printer(as_json, as_bson, pretty=False))


def _show_one(document: bytes, namespace: str, document_id: Any, show_one: Callable[[bytes], bool]) -> None:
    from watcher.cli.rendering import states

    if not show_one(document):
        say(f"{states.named(namespace, document_id)} {_MISLEADING}")
    states.say_withheld(document)


def _show_document(
    history: Reader, namespace: str, document_id: Any, at: Any, zone: Any, show_one: Callable[[bytes], bool]
) -> None:
    from watcher.cli.rendering import states

    state = states.state(history, namespace, document_id, at, zone)
    if state.data is None:
        raise CommandError(states.why_absent(history, state, at, zone), exit_codes.NOT_FOUND)
    say(f"{states.named(namespace, document_id)}: {states.version_text(state, zone)}")
    states.say_gaps(state.gaps, zone)
    _show_one(state.data, namespace, document_id, show_one)


def _show_collection(
    history: Reader,
    namespace: str,
    at: Any,
    query: dict[str, Any] | None,
    zone: Any,
    show_one: Callable[[bytes], bool],
) -> None:
    from watcher.cli.rendering import states
    from watcher.words import value_text

    collection = history.collection(namespace, at)
    shown = unknown = 0
    for told in collection.documents(query):
        if told.data is None:
            unknown += 1
            say(f"{states.named(namespace, told.document_id)} is left out, history cannot tell it: {told.unknown}.")
        else:
            shown += 1
            if not show_one(told.data):
                say(f"{states.named(namespace, told.document_id)} {_MISLEADING}")
    states.say_gaps(collection.gaps, zone)
    if collection.unknown is not None:
        say(f"Which documents {value_text.printable(namespace)} had is not known: {collection.unknown}.")
    if unknown or collection.unknown is not None:
        raise SystemExit(exit_codes.UNKNOWN)
    if shown:
        return
    if query and next(collection.documents(), None) is not None:
        raise CommandError(f"no document of {value_text.printable(namespace)} matched then.", exit_codes.NOT_FOUND)
    raise CommandError(states.why_empty(history, collection, zone), exit_codes.NOT_FOUND)


_MISLEADING = "has a sub-document that Extended JSON writes like another type, as {$oid: …}; --bson gives it exactly."


def _printer(as_json: bool, as_bson: bool, *, pretty: bool) -> Callable[[bytes], bool]:  # noqa: FBT001 - two options
    """Print a document; whether what is printed tells it from every other one."""
    from change_history.bson import extended_json

    if as_bson:
        return lambda document: bool(sys.stdout.buffer.write(document))
    write = _text_printer(as_json=as_json, pretty=pretty)

    def show_one(document: bytes) -> bool:
        write(document)
        return extended_json.reads_back(document)

    return show_one


def _text_printer(*, as_json: bool, pretty: bool) -> Callable[[bytes], None]:
    from change_history.bson import extended_json

    if as_json:
        session.speak_utf8()
        return lambda document: _write(extended_json.dumps_document(document))
    from watcher.cli.rendering import states
    from watcher.cli.rendering.lines import is_plain

    session.survive_any_character()
    write = states.pretty if pretty else states.pretty_line
    if is_plain():
        return lambda document: _write(write(document))
    from rich.highlighter import JSONHighlighter
    from rich.text import Text

    from watcher.cli.rendering.terminal import PipedConsole

    console, paint = PipedConsole(), JSONHighlighter()
    if not console.is_terminal:
        return lambda document: _write(write(document))
    return lambda document: console.print(paint(Text(write(document))), soft_wrap=True)


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
