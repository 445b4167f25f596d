"""`watcher snapshots` at work: goes through the documents, shows how far it is, and says what became of it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from bson import Binary
from pymongo import ReadPreference

from change_history import Selection
from change_history.bson import extended_json
from change_history.bson.values import to_python, to_raw
from change_history.reader import Reader
from change_history.reconstruct.snapshot_maker import SPACING, Document, Snapshots, WrongSnapshot
from watcher.cli import exit_codes, session
from watcher.cli.rendering import not_found, terminal
from watcher.cli.session import CommandError, history_uri, open_client
from watcher.words import times
from watcher.words.value_text import printable, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from config.settings import Settings

_COLUMNS = ("document", "cluster time", "id", "what is wrong")


def rebuild(
    settings: Settings, namespace: str | None, document_ids: Sequence[Any], *, keep: bool, as_json: bool
) -> None:
    """Make snapshots anew, or with `keep` only what is missing; of one namespace or document if one is named."""
    only = to_raw(document_ids[0]) if document_ids else None
    with _opened(settings) as (history, kept):
        kept.make_index()
        names = [namespace] if namespace is not None else kept.namespaces()
        if namespace is not None:
            _refuse_unknown(history, namespace, document_ids)
        if not keep:
            for name in names:
                kept.discard(name, only)
        documents = [document for name in names for document in kept.long_lived(name, only)]
        session.prepare_output(as_json=as_json)
        made = 0
        with terminal.bar("making snapshots", sum(document.entries for document in documents)) as advance:
            for document in documents:
                there = 0
                for stands in kept.fill(document):
                    there += stands
                    advance(SPACING)
                made += there
                if as_json:
                    click.echo(_line(document, entries=document.entries, snapshots=there))
    if not as_json:
        click.echo(f"{words(len(documents), 'long-lived document')}, {words(made, 'snapshot')}")


def verify(settings: Settings, namespace: str | None, *, repair: bool, as_json: bool) -> None:
    """Compare snapshots with history; with `repair` make those anew that are wrong.

    Raises:
        SystemExit: some are wrong, and were not repaired.
    """
    count = 0
    wrong: list[WrongSnapshot] = []
    with _opened(settings) as (history, kept):
        names = [namespace] if namespace is not None else kept.namespaces()
        documents = [document for name in names for document in kept.documents(name)]
        if namespace is not None and not documents:
            _refuse_unknown(history, namespace, ())
        session.prepare_output(as_json=as_json)
        with terminal.bar("comparing snapshots", sum(document.entries for document in documents)) as advance:
            for document in documents:
                found = list(kept.verify(document))
                if repair and found:
                    _repair(kept, document, found)
                count, wrong = count + document.entries, wrong + found
                advance(document.entries)
                if as_json:
                    for difference in found:
                        click.echo(_difference_line(difference, repaired=repair))
    if not as_json:
        if wrong:
            terminal.show_table(_COLUMNS, map(_row, wrong))
        done = ", repaired" if repair and wrong else ""
        compared = f"{words(count, 'snapshot')} of {words(len(documents), 'document')} compared"
        click.echo(f"{compared}, {len(wrong):,} wrong{done}")
    if wrong and not repair:
        raise SystemExit(exit_codes.DIFFERENT)


def _repair(kept: Snapshots, document: Document, wrong: Sequence[WrongSnapshot]) -> None:
    for difference in wrong:
        kept.remove(difference)
    for _ in kept.fill(document):
        pass


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Reader, Snapshots]]:
    with open_client(history_uri(settings.connection)) as client:
        database = client.get_database(settings.history_database, read_preference=ReadPreference.PRIMARY)
        yield Reader(client, settings.history_database), Snapshots(database)


def _refuse_unknown(history: Reader, namespace: str, document_ids: Sequence[Any]) -> None:
    selection = Selection(namespace, *document_ids)
    if next(history.stored(selection, limit=1), None) is None:
        raise CommandError(not_found.message(history, selection), exit_codes.NOT_FOUND)


def _line(document: Document, **more: Any) -> str:
    named = {"namespace": document.namespace, "document_id": to_python(document.id)}
    return extended_json.dumps(named | more)


def _difference_line(difference: WrongSnapshot, *, repaired: bool) -> str:
    return _line(
        difference.document,
        snapshot=Binary(difference.snapshot),
        cluster_time=difference.cluster_time,
        wrong=difference.said,
        repaired=repaired,
    )


def _row(difference: WrongSnapshot) -> tuple[str, ...]:
    name = f"{difference.document.namespace} {extended_json.dumps_raw(difference.document.id)}"
    return (
        printable(name),
        times.exact(difference.cluster_time),
        difference.snapshot.hex(),
        printable(difference.said),
    )
