"""Doing an export: from history into a file or a pipe, and what is said beside the data."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO, cast

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from change_history.bson import extended_json, raw
from change_history.bson.values import ABSENT
from change_history.export import inference, part_file, source, spool, tables, typed
from change_history.export.part_file import BusyError, NotResumableError, PartFile
from change_history.export.tables import Format
from change_history.export.writers import NoParquetError, writer_of
from change_history.reconstruct.state import UnknownStateError
from watcher.cli import exit_codes, session
from watcher.cli.rendering import terminal
from watcher.cli.rendering.not_found import message
from watcher.cli.session import CommandError
from watcher.words import times, value_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import tzinfo
    from pathlib import Path

    from bson.raw_bson import RawBSONDocument

    from change_history import Selection
    from change_history.bson.raw import Value
    from change_history.export.tables import ExportTable
    from change_history.reader import Reader
    from change_history.reconstruct.point_in_time import Instant
    from watcher.cli.session import Context


@dataclass(slots=True)
class Job:
    """What to export.

    Attributes:
        format: of the file.
        selection: which events; with `at`, only its namespace and document count.
        changes: a row for each change, not for each event.
        at: the point in time of which the documents are wanted; None: their history.
        zone: of the times in what is said beside the data; None: the local one.
        untold: how many documents history could not tell, by the reason.
        misleading: how many rows have a sub-document that is written like another type.
        gaps: how many intervals of lost events lie behind the documents.
        flatten: spread sub-documents over dotted columns; CSV always does.
        schema: text of a file with the types of the columns; None: they are found in a first pass.
        write_schema: where to write the types that were found.
        raw_cells: leave a text in CSV as it is that a spreadsheet would take for a formula.
    """

    format: Format
    selection: Selection
    changes: bool = False
    at: Instant | None = None
    zone: tzinfo | None = None
    untold: Counter[str] = field(default_factory=Counter)
    gaps: int = 0
    misleading: int = 0
    flatten: bool = False
    schema: str | None = None
    write_schema: Path | None = None
    raw_cells: bool = False
    typed: typed.TypedRow | None = None

    @property
    def is_typed(self) -> bool:
        """Whether documents get a column for each field."""
        return self.at is not None and self.format in {Format.CSV, Format.PARQUET}

    @property
    def table(self) -> ExportTable:
        """The columns of its rows."""
        if self.at is not None:
            return tables.DOCUMENTS
        return tables.CHANGES if self.changes else tables.EVENTS

    def rows(self, history: Reader, first: bytes | None = None) -> Iterator[bytes]:
        """The rows, as BSON documents; of history from an event on if one is given."""
        if self.at is not None:
            yield from self._documents(history)
            return
        for stored in _shown(source.events(history, self.selection, first), history, self.selection):
            document = bytes(stored.raw)
            self.misleading += not extended_json.reads_back(document)
            yield document

    def documents(self, history: Reader) -> Iterator[tuple[Value, bytes | None, str | None]]:
        """The documents as they were: `_id`, the document or None, and why history cannot tell it."""
        documents = source.documents(
            history, self.selection.namespace or "", self.selection.document_id, cast("Instant", self.at)
        )
        self.gaps = len(documents.gaps)
        for document_id, document, unknown in terminal.counted(documents.found, "exporting"):
            if unknown is not None:
                self.untold[unknown] += 1
            yield document_id, document, unknown

    def _documents(self, history: Reader) -> Iterator[bytes]:
        for document_id, document, unknown in self.documents(history):
            if self.format is not Format.NDJSON:
                yield tables.of_document(document_id, document, unknown)
            elif document is not None:
                self.misleading += not extended_json.reads_back(document)
                yield document


def to_stdout(context: Context, job: Job) -> None:
    """Write to standard output."""
    if job.format.is_parquet and sys.stdout.isatty():
        raise CommandError("a Parquet file is nothing for a terminal; name a file with --output", exit_codes.USAGE)
    with context.history() as history, _errors(), session.until_closed():
        written = _write(job, history, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        if not written:
            raise _nothing(history, job)
        _remarks(job)


def to_file(context: Context, job: Job, path: Path, *, resume: bool) -> None:
    """Write into a file, which has `.part` after its name until it is complete."""
    with context.history() as history, _errors(), PartFile(path) as part:
        first = _begin(part, job, resume=resume)
        try:
            written = _write(job, history, part.file, first)
        except BaseException:
            part.file.flush()
            if job.format.is_parquet or job.at is not None or not part.path.stat().st_size:
                part.discard()
            else:
                click.echo(f"What was written so far is in {part.path}; the same with --resume goes on.", err=True)
            raise
        if not written:
            part.discard()
            raise _nothing(history, job)
        part.finish()
        _remarks(job)
        click.echo(
            f"{written} row{'' if written == 1 else 's'} {'more, ' if first is not None else ''}written to {path}",
            err=True,
        )
        if job.format is Format.NDJSON and path.suffix.lower() == ".json":
            click.echo(f"{path} is NDJSON, a JSON document a line, and no JSON array; .ndjson says so.", err=True)


def _begin(part: PartFile, job: Job, *, resume: bool) -> bytes | None:
    """Make the part file ready to be written to; the event to go on with, if it has rows already."""
    about = part.about() if resume else None
    wanted = _about(job)
    if resume and part.path.stat().st_size:
        different = sorted(key for key in _SAME if about is not None and about.get(key, "") != wanted[key])
        if about is None or different:
            other = ", ".join(different) or "form"
            raise part_file.NotResumableError(f"{part.path} is of another export (other {other})")
        since, until = (times.parse(about[key]) if about[key] else None for key in ("since", "until"))
        job.selection = replace(job.selection, since=since, until=until)
        place = part_file.resume_point(part.file, job.format, job.table)
        if place.event is not None:
            part.cut(place.size)
            return place.event
        wanted = about
    part.begin(wanted)
    return None


_SAME = ("namespace", "id", "format", "rows", "by", "reason", "request")


def _about(job: Job) -> dict[str, str]:
    """What is being exported, so that another command cannot go on with it by mistake."""
    selection = job.selection
    return {
        "namespace": selection.namespace or "",
        "id": extended_json.dumps(selection.document_id) if selection.document_id is not ABSENT else "",
        "format": job.format.value,
        "rows": "changes" if job.changes else "events",
        "by": extended_json.dumps(selection.actor) if selection.actor is not None else "",
        "reason": selection.reason or "",
        "request": extended_json.dumps(selection.request) if selection.request is not None else "",
        "since": times.typed_exactly(selection.since) if selection.since is not None else "",
        "until": times.typed_exactly(selection.until) if selection.until is not None else "",
    }


def _write(job: Job, history: Reader, file: BinaryIO, begun_at: bytes | None = None) -> int:
    """Write rows; how many. Without any, nothing is written, not even a header."""
    if job.is_typed:
        return _write_typed(job, history, file)
    found = job.rows(history, begun_at)
    first = next(found, None)
    if first is None:
        return 0
    writer = writer_of(job.format, file, job.table, begun=begun_at is not None, raw_cells=job.raw_cells)
    count = writer.write(first)
    for row in found:
        count += writer.write(row)
    writer.close()
    return count


def _write_typed(job: Job, history: Reader, file: BinaryIO) -> int:
    """Write documents with a column for each field. Without a schema they are kept in a temporary file meanwhile."""
    is_csv = job.format is Format.CSV
    found = job.documents(history)
    with spool.Spool() as kept:
        if job.schema is not None:
            fields, others = typed.load_schema(job.schema), True
        else:
            shape = inference.Shape()
            for entry in found:
                kept.add(entry)
                if entry[1] is not None:
                    shape.observe_document(entry[1])
            found = iter(kept)
            others = shape.has_others
            fields = shape.fields(flat=job.flatten or is_csv, csv=is_csv)
            if not fields:  # not one document that history can tell
                shape.observe_document(raw.from_fields([(b"_id", kept.an_id or raw.NULL_VALUE)]))
                fields = shape.fields()
        first = next(found, None)
        if first is None:
            return 0
        if job.write_schema is not None:
            job.write_schema.write_text(typed.dump_schema(fields), "utf-8", "surrogateescape")
        row = job.typed = typed.TypedRow(fields, flat=job.flatten or is_csv)
        writer = (
            typed.TypedCsvWriter(file, row, others=others, raw_cells=job.raw_cells)
            if is_csv
            else typed.TypedParquetWriter(file, row, others=others)
        )
        writer.write(*first)
        count = 1
        for entry in found:
            writer.write(*entry)
            count += 1
        writer.close()
    return count


def _remarks(job: Job) -> None:
    """Tell, beside the data, what it does not say."""
    if job.typed is not None:
        for line in job.typed.remarks():
            click.echo(value_text.printable(line), err=True)
    elif lost := tables.loss(job.format, job.table):
        click.echo(f"{job.format}: {lost}", err=True)
    untold = "left out" if job.format is Format.NDJSON else "rows without a document"
    for reason, count in job.untold.items():
        click.echo(f"{count} documents cannot be told, and are {untold}: {reason}", err=True)
    if job.misleading:
        rows = (
            f"{job.misleading} of them have a sub-document that Extended JSON writes like another type, as {{$oid: …}}"
        )
        click.echo(f"{rows}; `watcher show --bson` gives it exactly", err=True)
    if job.gaps:
        click.echo(
            f"{job.gaps} gaps lie before that point in time: what was lost is unknown; see `watcher gaps`", err=True
        )


def _nothing(history: Reader, job: Job) -> CommandError:
    """What to say of an empty answer."""
    selection = job.selection if job.at is None else replace(job.selection, until=job.at)
    if job.untold:
        return CommandError(f"history cannot tell it: {next(iter(job.untold))}", exit_codes.NOT_FOUND)
    if job.at is not None and next(history.stored(selection, limit=1), None) is not None:
        which = "no documents" if selection.document_id is ABSENT else "no such document"
        namespace = value_text.printable(selection.namespace or "")
        return CommandError(f"{namespace} had {which} at {times.asked(job.at, job.zone)}.", exit_codes.NOT_FOUND)
    return CommandError(message(history, selection, job.zone), exit_codes.NOT_FOUND)


@contextmanager
def _errors() -> Iterator[None]:
    """Turn what can go wrong into advice."""
    try:
        yield
    except typed.SchemaError as error:
        raise CommandError(f"--schema: {error}", exit_codes.USAGE) from error
    except NoParquetError as error:
        advice = f"{sys.executable} -m pip install pyarrow (the extra mongo-change-watcher[export] brings it)"
        raise CommandError(f"{error}; install it: {advice}", exit_codes.USAGE) from error
    except NotResumableError as error:
        raise CommandError(f"cannot go on: {error}; without --resume it begins anew", exit_codes.USAGE) from error
    except UnknownStateError as error:
        raise CommandError(str(error), exit_codes.NOT_FOUND) from error
    except BusyError as error:
        raise CommandError(str(error), exit_codes.BUSY) from error
    except OSError as error:
        raise CommandError(f"cannot write: {error}", exit_codes.UNEXPECTED) from error
    except KeyboardInterrupt as error:
        raise CommandError("stopped", exit_codes.ABORTED) from error


_EVERY = 200
"""So many events pass between two looks at the clock."""


def _shown(events: Iterable[RawBSONDocument], history: Reader, selection: Selection) -> Iterator[RawBSONDocument]:
    """Show how far events are, by their time: counting them first would take as long as a good part of the export."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from events
        return
    newest = next(history.stored(selection, limit=1), None)
    end = _second(newest) if newest is not None else 0
    columns = (TextColumn("exporting"), BarColumn(), TextColumn("{task.fields[count]:,}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, count=0)
        begin = end
        for count, stored in enumerate(events, start=1):
            if count == 1:
                begin = _second(stored)
                bar.update(task, total=max(end - begin, 1))
            if count % _EVERY == 0:
                bar.update(task, count=count, completed=max(_second(stored) - begin, 0))
            yield stored


def _second(stored: RawBSONDocument) -> int:
    return int(stored["cluster_time"].time)
