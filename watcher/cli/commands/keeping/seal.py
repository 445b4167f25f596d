"""`watcher seal`: seals made now, listed for keeping elsewhere, and proofs of single events."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watcher.cli import exit_codes, session
from watcher.cli.parsing.arguments import DocumentId, Namespace, Whole
from watcher.cli.session import CommandError, history_uri, open_client

if TYPE_CHECKING:
    from watcher.cli.session import Context

_FEWEST_DIGITS = 8
_DIGITS = 32


@click.group(
    invoke_without_command=True,
    epilog="Exit status: 0 sealed, 2 wrong usage or settings, 3 nothing is recorded yet, 4 the deployment does not "
    "answer, 11 the last seal cannot be read.",
)
@click.pass_context
def seal(ctx: click.Context) -> None:
    """Seal what has entered history and is not sealed yet, now.

    The daemon does so by itself where WATCHER_SEAL is on. The subcommands read seals. What a seal proves, and what not:
    docs/seals.md.
    """
    if ctx.invoked_subcommand is not None:
        return
    from pymongo import ReadPreference

    from change_history.seals.store import Store
    from config import log as logs
    from watcher.cli.commands.operating import deployments
    from watcher.sealing.sealer import seal_now
    from watcher.sealing.supervised import terms_of

    settings = ctx.obj.settings()
    logs.start("error", settings.log_format)
    with deployments.in_words():
        terms = terms_of(settings)
        with open_client(history_uri(settings.connection)) as client:
            database = client.get_database(settings.history_database, read_preference=ReadPreference.PRIMARY)
            try:
                before = Store(database).last()
                if before is not None and before.signature and terms.key is None:
                    advice = "earlier seals are signed, and this one would not be; WATCHER_SEAL_KEY_FILE names the key"
                    raise CommandError(advice, exit_codes.USAGE)
                last = seal_now(database, terms)
            except ValueError as error:
                raise CommandError(
                    f"the last seal cannot be read: {error}\n`watcher verify` says more", exit_codes.DIFFERENT
                ) from error
    if last is None:
        raise CommandError("no stream has recorded anything yet: `watcher run` does", exit_codes.NOT_FOUND)
    signed = "signed" if last.signature else "not signed"
    click.echo(f"seal {last.seal.number} of {last.seal.time}, {signed}, digest {last.digest}")


@seal.command(
    epilog="Exit status: 0 also where there are none, 2 wrong usage, 4 no answer, 11 a seal cannot be read; the others "
    "are printed."
)
@click.option("--after", metavar="NUMBER", type=Whole(0), default=0, help="Only seals after this one.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Append to FILE.")
@click.pass_obj
def export(context: Context, *, after: int, output: Path | None) -> None:
    """Print the seals, to be kept elsewhere.

    One line of JSON each. Keep them where the history's administrator cannot write: only `watcher verify --against
    FILE` finds a history whose end was cut off, or that was replaced as a whole.
    """
    from change_history.seals.store import Store, read_stored

    where = context.connection()
    session.speak_utf8()
    unreadable: list[str] = []
    with (
        open_client(history_uri(where)) as client,
        session.until_closed(),
        output.open("a", encoding="utf-8") if output is not None else nullcontext() as file,
    ):
        for found in Store(client[where.history_database]).each(after):
            try:
                line = read_stored(found).line
            except ValueError as error:
                unreadable.append(f"seal {found['_id']} cannot be read: {error}")
            else:
                click.echo(line, file=file)
    if unreadable:
        raise CommandError("\n".join([*unreadable, "`watcher verify` says more"]), exit_codes.DIFFERENT)


@seal.command(
    epilog="Exit status: 0 printed, 2 wrong usage, 3 there is no such event, or no proof of it, 4 no answer.",
)
@click.argument("namespace", metavar="NS", type=Namespace())
@click.argument("document_id", metavar="ID", type=DocumentId())
@click.argument("event", metavar="EVENT")
@click.pass_obj
def prove(context: Context, *, namespace: str, document_id: Any, event: str) -> None:
    """Print the proof of one event, for a third party.

    It proves that the event was in history when it was sealed. EVENT is the event's id, in hexadecimal, as `watcher
    show` and `blame` print it; its beginning will do. The proof is a JSON document. Whoever has it, and the seal's
    digest or the public key, checks it by the forty lines of Python in docs/seals.md, with nothing of ours.
    """
    import json

    from change_history.seals.proof import NotProvableError, prove

    where = context.connection()
    with open_client(history_uri(where)) as client:
        database = client[where.history_database]
        entry_id = _found(database, namespace, document_id, event)
        try:
            proof = prove(database, entry_id)
        except NotProvableError as error:
            raise CommandError(f"no proof: {error}", exit_codes.NOT_FOUND) from error
    session.speak_utf8()
    click.echo(json.dumps(proof, indent=2, ensure_ascii=False))


def _found(database: Any, namespace: str, document_id: Any, event: str) -> bytes:
    """The whole id of an event of a document."""
    from bson import Binary

    from change_history.stored.names import HISTORY
    from change_history.stored.reading import as_query, is_document

    digits = event.lower()
    if not _FEWEST_DIGITS <= len(digits) <= _DIGITS or set(digits) - set("0123456789abcdef"):
        raise click.UsageError(f"{event!r} is no event id: 8 to 32 hexadecimal digits, as `watcher blame` prints them")
    first, last = (bytes.fromhex(digits.ljust(_DIGITS, digit)) for digit in "0f")
    query = {
        "namespace": {"$eq": namespace},
        "document_id": is_document(document_id),
        "_id": {"$gte": Binary(first), "$lte": Binary(last)},
    }
    found = [bytes(each["_id"]) for each in database[HISTORY].find(as_query(query), {"_id": 1}, limit=2)]
    if not found:
        raise CommandError(f"nothing is recorded of this document as event {event}", exit_codes.NOT_FOUND)
    if len(found) > 1:
        raise CommandError(f"several events of this document begin with {event}: give more digits", exit_codes.USAGE)
    return found[0]
