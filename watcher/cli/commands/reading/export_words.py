"""What an export says beside the data: what is lost, what is not known, what went wrong."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import click

from change_history.bson.values import ABSENT
from change_history.export import tables
from change_history.export.parquet import NoParquetError
from change_history.export.part_file import BusyError
from change_history.export.resume import NotResumableError
from change_history.export.tables import Format
from change_history.reconstruct.state import UnknownStateError
from watcher.cli import exit_codes
from watcher.cli.connection import CommandError
from watcher.cli.parsing import moments
from watcher.cli.rendering import value_text
from watcher.cli.rendering.not_found import message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from change_history import History
    from change_history.reconstruct.point_in_time import Moment
    from watcher.cli.commands.reading.export_job import Job


def typed(moment: Moment | None) -> str:
    """A moment as it can be typed again, exactly; nothing for None."""
    if moment is None:
        return ""
    return moment.isoformat() if isinstance(moment, datetime) else moments.exact(moment)


def remarks(job: Job) -> None:
    """Tell, beside the data, what it does not say."""
    if lost := tables.loss(job.format, job.table):
        click.echo(f"{job.format}: {lost}", err=True)
    for reason, count in job.untold.items():
        click.echo(f"{count} documents cannot be told, and are {_UNTOLD[job.format]}: {reason}", err=True)
    if job.gaps:
        click.echo(f"{job.gaps} gaps lie before that moment: what was lost is unknown; see `watcher gaps`", err=True)


_UNTOLD = {Format.NDJSON: "left out", Format.CSV: "rows without a document", Format.PARQUET: "rows without a document"}


def nothing(history: History, job: Job) -> CommandError:
    """What to say of an empty answer."""
    selection = job.selection if job.at is None else replace(job.selection, until=job.at)
    if job.untold:
        return CommandError(f"history cannot tell it: {next(iter(job.untold))}", exit_codes.NOT_FOUND)
    if job.at is not None and next(history.stored(selection, limit=1), None) is not None:
        which = "no documents" if selection.document_id is ABSENT else "no such document"
        namespace = value_text.printable(selection.namespace or "")
        return CommandError(f"{namespace} had {which} at {moments.asked(job.at, job.zone)}.", exit_codes.NOT_FOUND)
    return CommandError(message(history, selection, job.zone), exit_codes.NOT_FOUND)


@contextmanager
def errors() -> Iterator[None]:
    """Turn what can go wrong into advice.

    Raises:
        CommandError: instead.
    """
    try:
        yield
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
